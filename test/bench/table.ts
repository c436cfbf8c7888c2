/** Formats the results as Markdown. */
import { availableParallelism, cpus } from 'node:os'
import type { Comparison, Measured } from './load.ts'
import type { Goal } from './rows.ts'

export interface Result extends Comparison {
  readonly row: string
  readonly what: string
  readonly against: string
  readonly goal: Goal
  readonly met: boolean | undefined
}

/** A result that is not a comparison of loads. */
export interface Fact {
  readonly row: string
  readonly what: string
  readonly value: string
  readonly goal?: string
  readonly met?: boolean
}

export interface Report {
  readonly date: string
  readonly machine: string
  /** Load average of the minute before the run. Near 0, the machine was idle. */
  readonly loadAverage: number
  readonly results: readonly Result[]
  readonly facts: readonly Fact[]
}

export const machine = `${availableParallelism()} cores (${cpus()[0]?.model}), Node.js ${process.version}, ${process.platform}`

export function meets({ ratio, p99Ratio }: Comparison, goal: Goal): boolean | undefined {
  if (goal.ratio === undefined && goal.p99Ratio === undefined) return undefined
  return ratio >= (goal.ratio ?? 0) && p99Ratio <= (goal.p99Ratio ?? Number.POSITIVE_INFINITY)
}

const whole = (number: number) => Math.round(number).toLocaleString('en')
const two = (number: number) => number.toFixed(2)
const verdict = (met: boolean | undefined) => (met === undefined ? '' : met ? 'met' : 'NOT MET')
const both =
  (show: (measured: Measured) => string) =>
  ({ a, b }: Result) =>
    `${show(a)} / ${show(b)}`

const columns: Readonly<Record<string, (result: Result) => string>> = {
  row: ({ row }) => row,
  'what is measured': ({ what }) => what,
  against: ({ against }) => against,
  'requests/s': both(({ requestsPerSecond }) => whole(requestsPerSecond)),
  'p50 ms': both(({ p50 }) => two(p50)),
  'p99 ms': both(({ p99 }) => two(p99)),
  'µs of CPU': both(({ cpu }) => whole(cpu)),
  ratio: ({ ratio, middleHalf }) => `${two(ratio)} (${middleHalf.map(two).join('–')})`,
  goal: ({ goal }) => (goal.ratio === undefined ? '' : `≥ ${two(goal.ratio)}`),
  'p99 ratio': ({ p99Ratio }) => two(p99Ratio),
  'its goal': ({ goal }) => (goal.p99Ratio === undefined ? '' : `≤ ${two(goal.p99Ratio)}`),
  '': ({ met }) => verdict(met),
}

const factColumns: Readonly<Record<string, (fact: Fact) => string>> = {
  row: ({ row }) => row,
  'what is measured': ({ what }) => what,
  value: ({ value }) => value,
  goal: ({ goal = '' }) => goal,
  '': ({ met }) => verdict(met),
}

/** An aligned Markdown table. */
function table<Line>(lines: readonly Line[], shown: Readonly<Record<string, (line: Line) => string>>): string {
  if (lines.length === 0) return ''
  const cells = [Object.keys(shown), ...lines.map((line) => Object.values(shown).map((show) => show(line)))]
  const widths = Object.keys(shown).map((_, column) => Math.max(3, ...cells.map((row) => row[column]?.length ?? 0)))
  const text = cells.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] as number)).join(' | ')} |`)
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`
  return `${[text[0], rule, ...text.slice(1)].join('\n')}\n\n`
}

export function printed({ date, machine, loadAverage, results, facts }: Report): string {
  return `${date}, ${machine}, load average ${two(loadAverage)} before the run. Of two numbers,
the second belongs to the comparison; brackets contain the middle half of the ratios.

${table(results, columns)}${table(facts, factColumns)}`
}
