import { nullable, type Rule, text, wholeNumber } from '../rules.ts'
import { parseDue } from './due.ts'
import { PRIORITIES, type TaskSnapshot, TITLE_LIMITS } from './task.ts'

/** A value to sort by: a number, a text, compared by code point, or null, which comes last in both directions. */
export type SortValue = number | string | null

interface Field {
  valueOf(task: TaskSnapshot): SortValue
  /** The rule for a value of this field, for example in a cursor. */
  readonly rule: Rule
}

const moment = wholeNumber(Date.UTC(-1, 0), Date.UTC(10_001, 0))

const fields = {
  /** Ids ascend in the order of creation, whatever the clocks of several instances say. */
  createdAt: { valueOf: ({ id }) => id, rule: wholeNumber(0, Number.MAX_SAFE_INTEGER) },
  updatedAt: { valueOf: ({ updatedAt }) => updatedAt.getTime(), rule: moment },
  due: { valueOf: ({ due }) => (due === null ? null : (parseDue(due)?.moment ?? null)), rule: nullable(moment) },
  priority: { valueOf: ({ priority }) => PRIORITIES.indexOf(priority), rule: wholeNumber(0, PRIORITIES.length - 1) },
  title: { valueOf: ({ title }) => title, rule: text({ ...TITLE_LIMITS, min: 0 }) },
  completedAt: { valueOf: ({ completedAt }) => completedAt?.getTime() ?? null, rule: nullable(moment) },
} as const satisfies Record<string, Field>

export type SortField = keyof typeof fields
export const SORT_FIELDS = Object.keys(fields) as readonly SortField[]
export const MAX_SORT_KEYS = 3

export interface SortKey {
  readonly field: SortField
  readonly descending: boolean
}

/** The keys in the order in which they are compared. */
export type Sort = readonly SortKey[]

export const NEWEST_FIRST: Sort = [{ field: 'createdAt', descending: true }]

export const sortRule: Rule = (value) => {
  const names = (value as Sort).map(({ field }) => field)
  if (names.length < 1 || names.length > MAX_SORT_KEYS) {
    return { code: 'out_of_range', detail: `must have 1 to ${MAX_SORT_KEYS} keys` }
  }
  if (!names.every((name) => SORT_FIELDS.includes(name))) {
    return { code: 'unknown_value', detail: 'must have known keys only' }
  }
  return new Set(names).size < names.length ? { code: 'repeated', detail: 'must have each key once' } : undefined
}

/**
 * The keys of a total order: those of the sort up to `createdAt`, which is unique to each task, or else all of them, then
 * `createdAt` in the direction of the last.
 */
export function totalOrder(sort: Sort): Sort {
  const decisive = sort.findIndex(({ field }) => field === 'createdAt')
  if (decisive >= 0) return sort.slice(0, decisive + 1)
  return [...sort, { field: 'createdAt', descending: sort.at(-1)?.descending === true }]
}

/** Where a task stands in a sorted list: its value for each key of the total order. */
export type Place = readonly SortValue[]

export const placeOf = (task: TaskSnapshot, sort: Sort): Place =>
  totalOrder(sort).map(({ field }) => fields[field].valueOf(task))

export function isPlace(value: unknown, sort: Sort): value is Place {
  const keys = totalOrder(sort)
  return (
    Array.isArray(value) &&
    value.length === keys.length &&
    keys.every(({ field }, index) => fields[field].rule(value[index]) === undefined)
  )
}

/** @returns a negative number when `one` comes first, a positive one when `other` does */
export function comparePlaces(one: Place, other: Place, sort: Sort): number {
  for (let index = 0; index < one.length; index++) {
    const { descending } = (sort[index] ?? sort.at(-1)) as SortKey
    const order = compareValues(one[index] as SortValue, other[index] as SortValue, descending ? -1 : 1)
    if (order !== 0) return order
  }
  return 0
}

function compareValues(one: SortValue, other: SortValue, direction: 1 | -1): number {
  if (one === other) return 0
  if (one === null) return 1
  if (other === null) return -1
  const order = typeof one === 'string' ? compareCodePoints(one, other as string) : one - (other as number)
  return order * direction
}

const FIRST_SURROGATE = 0xd800
const LAST_SURROGATE = 0xdfff

/** `<` compares UTF-16 code units, in which astral characters come before U+E000 to U+FFFF. */
function compareCodePoints(one: string, other: string): number {
  let index = 0
  while (index < one.length && one.charCodeAt(index) === other.charCodeAt(index)) index++
  return rank(one.charCodeAt(index)) - rank(other.charCodeAt(index))
}

/** Ranks a code unit in the order of code points; the end of a text comes first. */
function rank(unit: number): number {
  if (Number.isNaN(unit)) return -1
  return unit >= FIRST_SURROGATE && unit <= LAST_SURROGATE ? unit + LAST_SURROGATE : unit
}
