import * as v from 'valibot'

/** A time in a response: RFC 3339, UTC, milliseconds. */
export const timestamp = v.pipe(v.string(), v.metadata({ format: 'date-time' }))

const DAY = 86_400_000
const twoDigits = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, '0'))
const threeDigits = Array.from({ length: 1_000 }, (_, number) => String(number).padStart(3, '0'))

let lastDay = Number.NaN
let lastDate = ''

/**
 * Like `toISOString`, but five times as fast: it caches the last date, because the tasks of a page mostly share a day.
 * `toISOString` took a quarter of the time of a list request.
 */
export function toTimestamp(date: Date): string {
  const time = date.getTime()
  const day = Math.floor(time / DAY)
  if (day !== lastDay) {
    lastDate = date.toISOString().slice(0, -'00:00:00.000Z'.length)
    lastDay = day
  }
  const ms = time - day * DAY
  const seconds = Math.floor(ms / 1_000)
  const minutes = Math.floor(seconds / 60)
  const clock = `${twoDigits[Math.floor(minutes / 60)]}:${twoDigits[minutes % 60]}:${twoDigits[seconds % 60]}`
  return `${lastDate}${clock}.${threeDigits[ms % 1_000]}Z`
}
