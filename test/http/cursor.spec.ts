import { expect } from 'chai'
import fc from 'fast-check'
import { decodeCursor, encodeCursor, positionIn } from '#src/adapters/http/routes/cursor.ts'
import { NEWEST_FIRST, type Place, type Sort } from '#src/domain/tasks/task-order.ts'
import type { Position } from '#src/domain/tasks/task-query.ts'
import { positions, sorts } from '#test/domain/random-tasks.ts'

const NOW = Date.parse('2026-02-01T00:00:00.000Z')
const QUERY = 'completed=false'

const decode = (cursor: string, query = '', sort: Sort = NEWEST_FIRST) => {
  const decoded = decodeCursor(cursor)
  return decoded && positionIn(decoded, query, sort)
}
const fromText = (text: string) => Buffer.from(text).toString('base64url')

describe('A cursor', () => {
  const cases = fc.tuple(positions(NOW, 99), sorts, fc.constantFrom('', QUERY))

  it('decodes to the position it encodes, for every sort (property-based)', () => {
    fc.assert(
      fc.property(cases, ([position, sort, query]) => {
        expect(decode(encodeCursor(position(sort), query), query, sort)).to.deep.equal(position(sort))
      }),
    )
  })

  it('fits no other query (property-based)', () => {
    fc.assert(
      fc.property(cases, ([position, sort, query]) => {
        expect(decode(encodeCursor(position(sort), query), `${query}&tag=a`, sort)).to.equal(undefined)
      }),
    )
  })

  it('of the longest title is accepted', () => {
    const sort: Sort = [{ field: 'title', descending: false }]
    for (const character of ['\u0001', '🙂']) {
      const position: Position = { after: [character.repeat(255), Number.MAX_SAFE_INTEGER] }
      expect(decode(encodeCursor(position, QUERY), QUERY, sort)).to.deep.equal(position)
    }
  })

  it('of release 1.0 is a position in the list of the newest tasks', () => {
    expect(decode(fromText('<42'))).to.deep.equal({ after: [42] })
    expect(decode(fromText('>42'))).to.deep.equal({ before: [42] })
    expect(decode(fromText('<9007199254740991'))).to.deep.equal({ after: [Number.MAX_SAFE_INTEGER] })
    expect(decode(fromText('<9007199254740992'))).to.equal(undefined)
    expect(decode(fromText('<042'))).to.equal(undefined)
    expect(decode(fromText('<42'), QUERY)).to.equal(undefined)
  })

  it('is rejected in any other spelling that base64 decodes to the same bytes', () => {
    const cursor = encodeCursor({ after: [7] }, '')
    const bytes = Buffer.from(cursor, 'base64url')
    // Padding and characters that Node's decoder skips.
    const spellings = [`${cursor}=`, ` ${cursor}`, `${cursor}\n`, `${cursor}.`, `${cursor[0]}*${cursor.slice(1)}`]
    for (const spelling of spellings) {
      expect(Buffer.from(spelling, 'base64url'), spelling).to.deep.equal(bytes)
      expect(decode(spelling), spelling).to.equal(undefined)
    }
    expect(decode('PDc')).to.deep.equal({ after: [7] })
    expect(decode('PDd'), 'bits beyond the last byte').to.equal(undefined)
  })

  const places: readonly unknown[][] = [[-1], [1.5], ['7'], [null], [7, 7], [[7]], [{}], [2 ** 53]]
  for (const place of places) {
    it(`is rejected if its place is ${JSON.stringify(place)}`, () => {
      expect(decode(encodeCursor({ after: place as unknown as Place }, ''))).to.equal(undefined)
    })
  }

  for (const text of ['', 'null', '{}', '[]', '[""]', '["","beside",7]', '[7,"after",7]', '"after"', '[', '\ufffd']) {
    it(`is rejected if it holds ${JSON.stringify(text)}`, () => {
      expect(decode(fromText(text))).to.equal(undefined)
    })
  }
})
