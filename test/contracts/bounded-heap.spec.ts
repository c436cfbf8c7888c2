import { expect } from 'chai'
import fc from 'fast-check'
import { BoundedHeap } from '#src/adapters/mikro-orm/repositories/bounded-heap.ts'

const numbers = fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 200, size: 'max' })
const capacities = fc.integer({ min: 1, max: 100 })

describe('A bounded heap', () => {
  it('keeps the first values in order, and returns the last of them first (property-based)', () => {
    fc.assert(
      fc.property(numbers, capacities, fc.boolean(), (values, capacity, descending) => {
        const compare = (one: number, other: number) => (one - other) * (descending ? -1 : 1)
        const heap = new BoundedHeap(capacity, compare)
        for (const value of values) heap.add(value)
        const first = values.toSorted(compare).slice(0, capacity)
        expect([heap.size, heap.isFull]).to.deep.equal([first.length, first.length === capacity])
        expect(Array.from(first, () => heap.takeLast())).to.deep.equal(first.reverse())
        expect([heap.size, heap.takeLast()]).to.deep.equal([0, undefined])
      }),
    )
  })

  it('compares a value with a logarithmic number of others, in any order of the values', () => {
    const capacity = 2 ** 12
    for (const order of [
      (index: number) => index,
      (index: number) => -index,
      (index: number) => (index * 7919) % 10_007,
    ]) {
      let compared = 0
      const heap = new BoundedHeap<number>(capacity, (one, other) => {
        compared++
        return one - other
      })
      for (let index = 0; index < 2 * capacity; index++) {
        compared = 0
        heap.add(order(index))
        expect(compared).to.be.at.most(2 * 12 + 1)
      }
    }
  })
})
