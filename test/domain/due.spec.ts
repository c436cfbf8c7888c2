import { expect } from 'chai'
import { dueRule, MAX_DUE, parseDue } from '#src/domain/tasks/due.ts'

const momentOf = (text: string) => {
  const due = parseDue(text)
  return due && new Date(due.moment).toISOString()
}

describe('A due time', () => {
  const days = { '2026-01-31': '2026-01-31T23:59:59.999Z', '0001-01-01': '0001-01-01T23:59:59.999Z' }
  for (const [text, end] of Object.entries(days)) {
    it(`lasts all day for ${text}, and stands at the end of the day in UTC`, () => {
      expect(parseDue(text)).to.deep.equal({ moment: Date.parse(end), allDay: true })
    })
  }

  const instants = {
    '2026-01-31T09:30:00Z': '2026-01-31T09:30:00.000Z',
    '2026-01-31t09:30:00z': '2026-01-31T09:30:00.000Z',
    '2026-01-31T09:30:00+05:45': '2026-01-31T03:45:00.000Z',
    '2026-01-31T09:30:00-08:00': '2026-01-31T17:30:00.000Z',
    '2026-01-31T09:30:00-00:00': '2026-01-31T09:30:00.000Z',
    '2026-01-31T09:30:00.5Z': '2026-01-31T09:30:00.500Z',
    '2026-01-31T09:30:00.123456789+00:00': '2026-01-31T09:30:00.123Z',
    '2026-01-31T09:30:00.99999999999999Z': '2026-01-31T09:30:00.999Z',
    '2024-02-29T23:59:59.999Z': '2024-02-29T23:59:59.999Z',
    '2026-01-31T00:00:00+23:59': '2026-01-30T00:01:00.000Z',
    '0001-01-01T00:00:00+23:59': '0000-12-31T00:01:00.000Z',
    '9999-12-31T23:59:59-23:59': '+010000-01-01T23:58:59.000Z',
    // Leap seconds, of which RFC 3339 gives the first two as examples.
    '1990-12-31T23:59:60Z': '1990-12-31T23:59:59.999Z',
    '1990-12-31T15:59:60-08:00': '1990-12-31T23:59:59.999Z',
    '2016-12-31T23:59:60.75Z': '2016-12-31T23:59:59.999Z',
    '2017-01-01t00:59:60.1+01:00': '2016-12-31T23:59:59.999Z',
  }
  for (const [text, moment] of Object.entries(instants)) {
    it(`is the moment ${moment} for ${text}`, () => {
      expect(momentOf(text)).to.equal(moment)
      expect(parseDue(text)).to.include({ allDay: false })
      expect(dueRule(text)).to.equal(undefined)
    })
  }

  const refused = [
    ...['', 'tomorrow', '2026-02-29', '2026-1-31', '0000-01-01', '20260131', '20260131T093000Z', '1769852400'],
    ...['2026-01-31T09:30:00', '2026-01-31T09:30Z', '2026-01-31T09Z', '2026-01-31 09:30:00Z', '2026-01-31T9:30:00Z'],
    ...['2026-01-31T24:00:00Z', '2026-01-31T09:60:00Z', '2026-01-31T09:30:61Z', '2026-02-30T09:30:00Z'],
    ...['2026-01-31T09:30:00.Z', '2026-01-31T09:30:00,5Z', '2026-01-31T09:30:00+5', '2026-01-31T09:30:00+0545'],
    ...['2026-01-31T09:30:00+24:00', '2026-01-31T09:30:00+05:60', '2026-01-31T09:30:00Z[Europe/Berlin]'],
    ...['2026-01-31T09:30:00Z ', ' 2026-01-31', '2026-01-31T09:30:00Z\n', '+002026-01-31T09:30:00Z'],
    ...['2026-01-31T09:30:60Z', '2026-01-30T23:59:60Z', '1990-12-31T23:59:60-08:00', '2016-12-31T23:58:60Z'],
  ]
  for (const text of refused) {
    it(`is not ${JSON.stringify(text)}`, () => {
      expect(parseDue(text)).to.equal(undefined)
      expect(dueRule(text)?.code).to.equal('not_a_due_date')
    })
  }

  it(`has at most ${MAX_DUE} characters`, () => {
    const longest = `2026-01-31T09:30:00.${'1'.repeat(MAX_DUE - 21)}Z`
    expect(dueRule(longest)).to.equal(undefined)
    expect(dueRule(longest.replace('.', '.1'))?.code).to.equal('too_long')
    expect(parseDue(longest.replace('.', '.1'))).to.equal(undefined)
  })

  it('is text', () => {
    for (const value of [null, undefined, 0, true, [], ['2026-01-31'], {}, new Date(0)]) {
      expect(dueRule(value)?.code).to.equal('not_text')
    }
    expect(dueRule('2026-01-31\0')?.code).to.equal('malformed_text')
  })
})
