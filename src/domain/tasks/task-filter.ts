import { boolean, enforce, oneOf, optional, type Rule, text } from '../rules.ts'
import { DAY, dayAt, isTimeZone, parseDay, startOfDay } from './calendar.ts'
import { type Due, dueRule, parseDue } from './due.ts'
import { normalizedTags, type Priority, type TaskSnapshot, taskRules } from './task.ts'

export const VIEWS = ['today', 'upcoming'] as const
/** Open tasks that are due before tomorrow begins, or in the seven days after today. */
export type View = (typeof VIEWS)[number]

export const CONTAINING_LIMITS = { min: 0, max: 255 }
const DAYS_AHEAD = 7

/** Conditions on tasks, all of which a task must meet. */
export interface TaskFilter {
  readonly completed?: boolean
  readonly priority?: Priority
  /** A task has all of them. */
  readonly tags?: readonly string[]
  /** A date, meaning its beginning, or an RFC 3339 instant; excludes the bound. */
  readonly dueBefore?: string
  /** As `dueBefore`, but includes the bound. */
  readonly dueAfter?: string
  /** Whether a task is open and was due before now. */
  readonly overdue?: boolean
  /** Part of the title or of the description, ignoring case. */
  readonly containing?: string
  readonly view?: View
  /** Name of the IANA time zone in which days begin and end; UTC when absent. */
  readonly timeZone?: string
}

export const timeZoneRule: Rule = (value) =>
  typeof value === 'string' && isTimeZone(value)
    ? undefined
    : { code: 'unknown_time_zone', detail: 'must be a time zone of the IANA database, for example Europe/Berlin' }

/** The rule for each member. */
export const filterRules: Readonly<Record<keyof TaskFilter, Rule>> = {
  completed: optional(boolean),
  priority: optional(taskRules.priority),
  tags: optional(taskRules.tags),
  dueBefore: optional(dueRule),
  dueAfter: optional(dueRule),
  overdue: optional(boolean),
  containing: optional(text(CONTAINING_LIMITS)),
  view: optional(oneOf(VIEWS)),
  timeZone: optional(timeZoneRule),
}

/**
 * A bound for due times in milliseconds since 1970, so that a store compares numbers and needs no calendar: in every zone
 * an all-day task stands at the end of its day in UTC, and its bound stands there as well.
 */
export interface DueBound {
  /** For tasks that are due at a moment. */
  readonly timed: number
  /** For all-day tasks: the beginning in UTC of the day on which the bound falls. */
  readonly allDay: number
}

/** The conditions that a store evaluates, and the value that each compares with. */
export interface Conditions {
  readonly completed: boolean
  readonly priority: Priority
  /** At least one; the task has all of them. */
  readonly tags: readonly string[]
  /** Has a due time, which is before the bound. */
  readonly dueBefore: DueBound
  /** Has a due time, which is at the bound or after it. */
  readonly dueFrom: DueBound
  /** Completed, or not due before the bound. */
  readonly notOverdue: DueBound
  /** A folded text that is part of the folded title or of the folded description. */
  readonly containing: string
}

export type Condition = {
  readonly [Name in keyof Conditions]: { readonly name: Name; readonly value: Conditions[Name] }
}[keyof Conditions]

const OPEN: Condition = { name: 'completed', value: false }

/**
 * The conditions that a filter stands for at a moment. Equal filters give equal conditions on one day of their zone,
 * unless they ask for `overdue`.
 *
 * @throws InvalidInput
 */
export function conditionsOf(filter: TaskFilter, now: Date): readonly Condition[] {
  enforce(filterRules, filter)
  const { completed, priority, tags = [], dueBefore, dueAfter, overdue, containing = '', view } = filter
  const zone = filter.timeZone ?? 'UTC'
  const conditions: Condition[] = []
  if (completed !== undefined) conditions.push({ name: 'completed', value: completed })
  if (priority !== undefined) conditions.push({ name: 'priority', value: priority })
  if (tags.length > 0) conditions.push({ name: 'tags', value: normalizedTags(tags) })
  if (dueBefore !== undefined) conditions.push({ name: 'dueBefore', value: parseBound(dueBefore, zone) })
  if (dueAfter !== undefined) conditions.push({ name: 'dueFrom', value: parseBound(dueAfter, zone) })
  if (overdue === true) conditions.push(OPEN, { name: 'dueBefore', value: dueBound(now.getTime(), zone) })
  if (overdue === false) conditions.push({ name: 'notOverdue', value: dueBound(now.getTime(), zone) })
  if (containing !== '') conditions.push({ name: 'containing', value: fold(containing) })
  if (view !== undefined) conditions.push(...viewConditions(view, now.getTime(), zone))
  return conditions
}

function viewConditions(view: View, now: number, zone: string): readonly Condition[] {
  const tomorrow = dayAt(now, zone) + 1
  const dueBefore = (day: number): Condition => ({ name: 'dueBefore', value: dueBound(startOfDay(day, zone), zone) })
  if (view === 'today') return [OPEN, dueBefore(tomorrow)]
  const dueFrom: Condition = { name: 'dueFrom', value: dueBound(startOfDay(tomorrow, zone), zone) }
  return [OPEN, dueFrom, dueBefore(tomorrow + DAYS_AHEAD)]
}

function parseBound(text: string, zone: string): DueBound {
  const day = parseDay(text)
  return dueBound(day === undefined ? (parseDue(text) as Due).moment : startOfDay(day, zone), zone)
}

const dueBound = (moment: number, zone: string): DueBound => ({ timed: moment, allDay: dayAt(moment, zone) * DAY })

/** Folds the case of a text, in any script. */
export const fold = (text: string): string => text.normalize('NFC').toUpperCase().normalize('NFC')

/** No folded text has a lower-case letter of ASCII, so no match crosses it. */
const SEPARATOR = 'x'

/** The folded title and description, in which a folded text is searched. */
export const searchText = ({ title, description }: Pick<TaskSnapshot, 'title' | 'description'>): string =>
  description === null ? fold(title) : fold(title) + SEPARATOR + fold(description)

const isDueBefore = ({ moment, allDay }: Due, bound: DueBound) => moment < (allDay ? bound.allDay : bound.timed)

const dueOf = ({ due }: TaskSnapshot): Due | undefined => (due === null ? undefined : parseDue(due))

type Matcher<Name extends keyof Conditions> = (task: TaskSnapshot, value: Conditions[Name]) => boolean

const matchers: { readonly [Name in keyof Conditions]: Matcher<Name> } = {
  completed: (task, completed) => task.completed === completed,
  priority: (task, priority) => task.priority === priority,
  tags: (task, tags) => tags.every((tag) => task.tags.includes(tag)),
  dueBefore(task, bound) {
    const due = dueOf(task)
    return due !== undefined && isDueBefore(due, bound)
  },
  dueFrom(task, bound) {
    const due = dueOf(task)
    return due !== undefined && !isDueBefore(due, bound)
  },
  notOverdue: (task, bound) => task.completed || !matchers.dueBefore(task, bound),
  containing: (task, folded) => searchText(task).includes(folded),
}

/** Defines the conditions: every store must give the same result. */
export const matches = (task: TaskSnapshot, { name, value }: Condition): boolean =>
  (matchers[name] as Matcher<typeof name>)(task, value as never)
