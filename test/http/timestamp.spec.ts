import { expect } from 'chai'
import fc from 'fast-check'
import { toTimestamp } from '#src/adapters/http/endpoint/timestamp.ts'

describe('A timestamp', () => {
  it('equals toISOString for any time (property-based)', () => {
    fc.assert(
      fc.property(fc.date({ noInvalidDate: true }), (time) => {
        expect(toTimestamp(time)).to.equal(time.toISOString())
      }),
    )
  })

  it('has the right date at both ends of a day', () => {
    for (const time of ['2026-02-28T23:59:59.999Z', '2026-03-01T00:00:00.000Z', '1969-12-31T23:59:59.999Z']) {
      expect(toTimestamp(new Date(time))).to.equal(time)
    }
  })
})
