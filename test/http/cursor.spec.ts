import { expect } from 'chai'
import fc from 'fast-check'
import { decodeCursor, encodeCursor } from '#src/adapters/http/routes/cursor.ts'
import type { Position } from '#src/domain/tasks/task-query.ts'

describe('A cursor', () => {
  const positions: fc.Arbitrary<Position> = fc.oneof(
    fc.record({ olderThan: fc.maxSafeNat() }),
    fc.record({ newerThan: fc.maxSafeNat() }),
  )

  it('decodes to the position it encodes (property-based)', () => {
    fc.assert(
      fc.property(positions, (position) => {
        expect(decodeCursor(encodeCursor(position))).to.deep.equal(position)
      }),
    )
  })

  it('is rejected in any other spelling that base64 decodes to the same bytes', () => {
    const cursor = encodeCursor({ olderThan: 7 })
    const bytes = Buffer.from(cursor, 'base64url')
    // Padding, bits beyond the last byte, and characters that Node's decoder skips.
    const spellings = [`${cursor}=`, 'PDd', ` ${cursor}`, `${cursor}\n`, `${cursor}.`, `P*${cursor.slice(1)}`]
    for (const spelling of spellings) {
      expect(Buffer.from(spelling, 'base64url'), spelling).to.deep.equal(bytes)
      expect(decodeCursor(spelling), spelling).to.equal(undefined)
    }
    expect(decodeCursor(cursor)).to.deep.equal({ olderThan: 7 })
  })
})
