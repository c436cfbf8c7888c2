import { all, atMostUnits, type Rule, wellFormed } from '../rules.ts'
import { DAY, parseDay } from './calendar.ts'

/** Characters of a due text: an RFC 3339 instant with nanoseconds and an offset has 35. */
export const MAX_DUE = 40

const INSTANT = /^(\d{4}-\d{2}-\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.\d+)?(?:Z|[+-](\d{2}):(\d{2}))$/i

/** When a task is due: at a moment, or on a day, whatever the zone of the reader. */
export interface Due {
  /** Milliseconds since 1970; for a day, its last millisecond in UTC. */
  readonly moment: number
  readonly allDay: boolean
}

/** Parses a full date or an RFC 3339 instant; `undefined` for any other text. */
export function parseDue(text: string): Due | undefined {
  if (text.length > MAX_DUE) return undefined
  const day = parseDay(text)
  if (day !== undefined) return { moment: (day + 1) * DAY - 1, allDay: true }
  const moment = parseInstant(text)
  return moment === undefined ? undefined : { moment, allDay: false }
}

function parseInstant(text: string): number | undefined {
  const [, date = '', hour, minute, second, offsetHour = 0, offsetMinute = 0] = INSTANT.exec(text) ?? []
  const exists = parseDay(date) !== undefined && Number(hour) < 24 && Number(minute) < 60 && Number(second) <= 60
  if (!exists || Number(offsetHour) > 23 || Number(offsetMinute) > 59) return undefined
  if (second !== '60') return Date.parse(text.toUpperCase())
  // `Date` has no leap second, so it becomes the millisecond before.
  const moment = Date.parse(text.toUpperCase().replace(/:60(?:\.\d+)?(?=[Z+-])/, ':59.999'))
  return endsMonth(moment) ? moment : undefined
}

/** Leap seconds occur only at the end of a month in UTC (RFC 3339, section 5.7). */
const endsMonth = (moment: number) => new Date(moment + 1).toISOString().endsWith('-01T00:00:00.000Z')

export const dueRule: Rule = all(atMostUnits(MAX_DUE, MAX_DUE), wellFormed, (value) =>
  parseDue(value as string) === undefined
    ? { code: 'not_a_due_date', detail: 'must be a date such as 2026-01-31 or an RFC 3339 instant with Z or an offset' }
    : undefined,
)
