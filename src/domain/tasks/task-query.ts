import { boolean, enforce, type Rule, wholeNumber } from '../rules.ts'
import type { Task } from './task.ts'
import type { Condition } from './task-filter.ts'
import { isPlace, NEWEST_FIRST, type Place, placeOf, type Sort, sortRule } from './task-order.ts'

export const LIMIT = { min: 1, max: 200, default: 100 }
export const SKIP = { min: 0, max: Number.MAX_SAFE_INTEGER, default: 0 }

/**
 * Keyset pagination: the page beside a place, whether or not a task stands there. Such a page costs the same at any
 * depth, and tasks added or removed between pages do not shift it.
 */
export type Position = { readonly after: Place } | { readonly before: Place }

/** Stands for an end of the list: the page after it is the first one, and the page before it the last. */
export const EDGE: Place = []
export const START: Position = { after: EDGE }

/** Which of an owner's tasks to read. */
export interface TaskQuery {
  /** A task must meet all of them. */
  readonly conditions: readonly Condition[]
  readonly sort: Sort
  readonly position: Position
  /** Number of tasks to skip, counted from the position. */
  readonly skip: number
  readonly limit: number
  /** Whether to count all tasks that meet the conditions. */
  readonly count: boolean
}

const DEFAULTS: TaskQuery = {
  conditions: [],
  sort: NEWEST_FIRST,
  position: START,
  skip: SKIP.default,
  limit: LIMIT.default,
  count: false,
}

const queryRules = {
  sort: sortRule,
  skip: wholeNumber(SKIP.min, SKIP.max),
  limit: wholeNumber(LIMIT.min, LIMIT.max),
  count: boolean,
}

/** @param sort if it breaks its own rule, every position is accepted */
const positionRule =
  (sort: Sort): Rule =>
  (value) => {
    const position = value as Position
    const place = 'after' in position ? position.after : position.before
    const fits = sortRule(sort) !== undefined || isEdge(place) || isPlace(place, sort)
    return fits ? undefined : { code: 'not_a_position', detail: 'must be a position in a list of this order' }
  }

export const isEdge = (place: Place): boolean => Array.isArray(place) && place.length === 0

/**
 * A query with the default for each member that is absent: the newest tasks.
 *
 * @throws InvalidInput
 */
export function taskQuery(given: Partial<TaskQuery> = {}): TaskQuery {
  const query = { ...DEFAULTS, ...given }
  enforce({ ...queryRules, position: positionRule(query.sort) }, query)
  return query
}

/** The rows that a store reads for a query, all in one snapshot. */
export interface TaskRows {
  /** At most `limit`, in the order of the query, whichever side of the position they are on. */
  readonly tasks: readonly Task[]
  /**
   * Whether tasks that meet the conditions come before these; skipped tasks count. If no task is left after the position,
   * whether any task meets the conditions.
   */
  readonly hasPrevious: boolean
  /**
   * Whether tasks that meet the conditions come after these; skipped tasks count. If no task is left before the position,
   * whether any task meets the conditions.
   */
  readonly hasNext: boolean
  /** The revision of the owner's list. */
  readonly revision: number
  /** Number of tasks that meet the conditions, if the query counts them. */
  readonly total?: number
}

export interface TaskPage extends Pick<TaskRows, 'tasks' | 'revision' | 'total'> {
  /** Position of the page before this one, if there is one. */
  readonly previous?: Position
  /** Position of the page after this one, if there is one. */
  readonly next?: Position
}

/** A page beyond an end of the list holds no task and leads back from that end. */
export function pageOf({ hasPrevious, hasNext, ...page }: TaskRows, { sort }: TaskQuery): TaskPage {
  const placeAt = (index: 0 | -1) => {
    const task = page.tasks.at(index)
    return task ? placeOf(task.snapshot(), sort) : EDGE
  }
  return {
    ...page,
    ...(hasPrevious && { previous: { before: placeAt(0) } }),
    ...(hasNext && { next: { after: placeAt(-1) } }),
  }
}
