import { expect } from 'chai'
import fc from 'fast-check'
import { DAY, dayAt, isTimeZone, parseDay, startOfDay } from '#src/domain/tasks/calendar.ts'

const dayOf = (date: string): number => parseDay(date) as number
const startOf = (date: string, zone: string): string => new Date(startOfDay(dayOf(date), zone)).toISOString()
const dateAt = (moment: string, zone: string): string =>
  new Date(dayAt(Date.parse(moment), zone) * DAY).toISOString().slice(0, 10)

describe('A full date', () => {
  const accepted = {
    '1970-01-01': 0,
    '1969-12-31': -1,
    '2024-02-29': 19_782,
    '2000-02-29': 11_016,
    '0001-01-01': -719_162,
    '9999-12-31': 2_932_896,
  }
  for (const [date, day] of Object.entries(accepted)) {
    it(`is ${day} days from 1970 for ${date}`, () => expect(parseDay(date)).to.equal(day))
  }

  const refused = [
    ...['', '2026', '2026-01', '2026-1-1', '26-01-01', '02026-01-01', '+002026-01-01', '-2026-01-01', '2026-001'],
    ...['2026-00-01', '2026-13-01', '2026-01-00', '2026-01-32', '2026-02-29', '1900-02-29', '2026-04-31', '0000-01-01'],
    ...['2026-01-01T00:00:00Z', '2026-01-01 ', ' 2026-01-01', '2026-01-01\n', '2026/01/01', '٢٠٢٦-٠١-٠١', 'today'],
  ]
  for (const text of refused) {
    it(`is not ${JSON.stringify(text)}`, () => expect(parseDay(text)).to.equal(undefined))
  }
})

describe('A time zone', () => {
  for (const name of [
    'UTC',
    'utc',
    'Europe/Berlin',
    'america/new_york',
    'Etc/GMT+5',
    'America/Port-au-Prince',
    'EST',
  ]) {
    it(`is ${name}`, () => expect(isTimeZone(name)).to.equal(true))
  }

  const refused = [
    ...['', 'Nowhere', 'Z', 'Local', '+05:30', '-08', 'GMT+5', 'Europe/Berlin ', 'Europe/Berlin\n', '../etc/passwd'],
    ...['PST', 'BST', 'ist', 'SystemV/PST8', 'a'.repeat(51)],
  ]
  for (const name of refused) {
    it(`is not ${JSON.stringify(name)}`, () => expect(isTimeZone(name)).to.equal(false))
  }
})

describe('A day in a time zone', () => {
  const starts: readonly (readonly [string, string, string, string])[] = [
    ['in UTC', '2026-01-31', 'UTC', '2026-01-31T00:00:00.000Z'],
    ['in winter', '2026-01-31', 'Europe/Berlin', '2026-01-30T23:00:00.000Z'],
    ['of the change to summer time', '2026-03-29', 'Europe/Berlin', '2026-03-28T23:00:00.000Z'],
    ['after the change to summer time', '2026-03-30', 'Europe/Berlin', '2026-03-29T22:00:00.000Z'],
    ['of the change to winter time', '2026-10-25', 'Europe/Berlin', '2026-10-24T22:00:00.000Z'],
    ['after the change to winter time', '2026-10-26', 'Europe/Berlin', '2026-10-25T23:00:00.000Z'],
    ['whose midnight is skipped', '2018-11-04', 'America/Sao_Paulo', '2018-11-04T03:00:00.000Z'],
    ['after a midnight that is skipped', '2018-11-05', 'America/Sao_Paulo', '2018-11-05T02:00:00.000Z'],
    [
      'whose midnight comes once, after 23:00 came twice',
      '2018-02-18',
      'America/Sao_Paulo',
      '2018-02-18T03:00:00.000Z',
    ],
    ['whose midnight comes twice', '2020-11-01', 'America/Havana', '2020-11-01T04:00:00.000Z'],
    [
      'of which one minute comes before 23:01 of the day before',
      '2006-10-29',
      'America/St_Johns',
      '2006-10-29T02:30:00.000Z',
    ],
    ['that a zone skipped', '2011-12-30', 'Pacific/Apia', '2011-12-30T10:00:00.000Z'],
    ['after one that a zone skipped', '2011-12-31', 'Pacific/Apia', '2011-12-30T10:00:00.000Z'],
    ['14 hours ahead', '2026-01-31', 'Pacific/Kiritimati', '2026-01-30T10:00:00.000Z'],
    ['at an offset of 5:45', '2026-01-31', 'Asia/Kathmandu', '2026-01-30T18:15:00.000Z'],
    ['of local mean time', '1800-01-01', 'Europe/Berlin', '1799-12-31T23:06:32.000Z'],
    ['of the first years, which are UTC everywhere', '0001-01-01', 'Asia/Tokyo', '0001-01-01T00:00:00.000Z'],
    ['of the last year', '9999-12-31', 'Asia/Tokyo', '9999-12-30T15:00:00.000Z'],
  ]
  for (const [what, date, zone, expected] of starts) {
    it(`begins at its first moment: ${what}`, () => expect(startOf(date, zone)).to.equal(expected))
  }

  const moments: readonly (readonly [string, string, string])[] = [
    ['2026-01-30T22:59:59.999Z', 'Europe/Berlin', '2026-01-30'],
    ['2026-01-30T23:00:00.000Z', 'Europe/Berlin', '2026-01-31'],
    ['2011-12-30T09:59:59.999Z', 'Pacific/Apia', '2011-12-29'],
    ['2011-12-30T10:00:00.000Z', 'Pacific/Apia', '2011-12-31'],
    ['2006-10-29T02:30:00.000Z', 'America/St_Johns', '2006-10-29'],
    ['2006-10-29T02:31:00.000Z', 'America/St_Johns', '2006-10-29'],
    ['1969-12-31T23:59:59.999Z', 'UTC', '1969-12-31'],
    ['0001-01-01T00:00:00.000Z', 'America/New_York', '0001-01-01'],
  ]
  for (const [moment, zone, date] of moments) {
    it(`is ${date} in ${zone} at ${moment}`, () => expect(dateAt(moment, zone)).to.equal(date))
  }

  it('includes the moments from its beginning to that of the next (property-based)', () => {
    const zone = fc.constantFrom(
      ...['UTC', 'Europe/Berlin', 'America/St_Johns', 'America/Sao_Paulo', 'Pacific/Apia', 'Africa/Casablanca'],
      ...['Australia/Lord_Howe', 'Asia/Kathmandu', 'America/Juneau', 'Asia/Manila', 'Pacific/Kwajalein'],
    )
    const moment = fc.oneof(
      fc.integer({ min: Date.UTC(1, 0), max: Date.UTC(10_000, 0) }),
      fc.integer({ min: Date.UTC(1960, 0), max: Date.UTC(2040, 0) }),
    )
    fc.assert(
      fc.property(zone, moment, (zone, moment) => {
        const day = dayAt(moment, zone)
        expect(startOfDay(day, zone)).to.be.at.most(moment)
        expect(startOfDay(day + 1, zone)).to.be.above(moment)
      }),
    )
  })
})
