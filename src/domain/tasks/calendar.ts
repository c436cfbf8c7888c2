/**
 * Days in a time zone of the IANA database. A day is a whole number of days since 1970-01-01; a moment is in milliseconds
 * since 1970.
 */

export const DAY = 86_400_000
/** Milliseconds; more than any zone ever differed from UTC. */
const MOST_FROM_UTC = 26 * 3_600_000

const FULL_DATE = /^\d{4}-\d{2}-\d{2}$/
const MAX_ZONE = 50
const ZONE = /^[A-Za-z][A-Za-z0-9_+\-/]*$/
/** Names that `Intl` accepts although the IANA database lacks them; it reads BST as the time of Dhaka. */
const NOT_IANA =
  /^(?:ACT|AET|AGT|ART|AST|BET|BST|CAT|CNT|CST|CTT|EAT|ECT|IET|IST|JST|MIT|NET|NST|PLT|PNT|PRT|PST|SST|VST|SystemV\/.*)$/i
/** Before the year 101 every zone counts as UTC, because `Date.UTC` maps years below 100 to the twentieth century. */
const ZONES_BEGIN = Date.UTC(101, 0)

/** Parses a `full-date` of RFC 3339 from year 1 on; `undefined` for any other text. */
export function parseDay(text: string): number | undefined {
  if (!FULL_DATE.test(text) || text.startsWith('0000')) return undefined
  const midnight = new Date(text)
  const exists = !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(text)
  return exists ? midnight.getTime() / DAY : undefined
}

/** Maximum number of cached formatters. Creating one takes far longer than using it, and each takes 45 KiB. */
const MAX_FORMATTERS = 100
/** By zone; the least recently used first. */
const formatters = new Map<string, Intl.DateTimeFormat>()

function formatterOf(zone: string): Intl.DateTimeFormat {
  const formatter =
    formatters.get(zone) ??
    // Like RFC 3339, this calendar applies the Gregorian rules to dates before their introduction.
    new Intl.DateTimeFormat('en-CA-u-ca-iso8601', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    })
  formatters.delete(zone)
  formatters.set(zone, formatter)
  if (formatters.size > MAX_FORMATTERS) formatters.delete(formatters.keys().next().value as string)
  return formatter
}

export function isTimeZone(name: string): boolean {
  if (name.length > MAX_ZONE || !ZONE.test(name) || NOT_IANA.test(name)) return false
  try {
    formatterOf(name)
    return true
  } catch {
    return false
  }
}

/** The local time of a zone at a moment, to the second, as the moment at which UTC shows that time. */
function wallClock(moment: number, zone: string): number {
  if (zone === 'UTC' || moment < ZONES_BEGIN) return moment
  const [year = 0, month = 0, ...rest] = formatterOf(zone).format(moment).split(/\D+/).map(Number)
  return Date.UTC(year, month - 1, ...rest)
}

/** The day on which a moment falls: the last one that has begun. */
export function dayAt(moment: number, zone: string): number {
  const day = Math.floor(wallClock(moment, zone) / DAY)
  // Clocks that are set back across midnight show the previous day again.
  return startOfDay(day + 1, zone) <= moment ? day + 1 : day
}

/**
 * The first moment of a day: the first of its midnights, or, where clocks skip midnight or the whole day (as in Samoa on 30
 * December 2011), the moment of the change.
 */
export function startOfDay(day: number, zone: string): number {
  const midnight = day * DAY
  const before = midnight - MOST_FROM_UTC
  const after = midnight + MOST_FROM_UTC
  const starts = [before, after]
    .map((moment) => midnight - (wallClock(moment, zone) - moment))
    .filter((start) => wallClock(start, zone) === midnight)
  return starts.length > 0 ? Math.min(...starts) : clockChange(before, after, midnight, zone)
}

/** Finds, by binary search, the first moment at which clocks that are set forward show this time or a later one. */
function clockChange(before: number, after: number, time: number, zone: string): number {
  let low = before
  let high = after
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (wallClock(middle, zone) < time) low = middle
    else high = middle
  }
  return high
}
