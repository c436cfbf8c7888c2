import * as v from 'valibot'
import { boolean, type Rule } from '../../../domain/rules.ts'
import { MAX_DUE } from '../../../domain/tasks/due.ts'
import { MAX_TAGS, PRIORITIES, type Priority, TAG_LIMITS } from '../../../domain/tasks/task.ts'
import {
  CONTAINING_LIMITS,
  type Condition,
  filterRules,
  type TaskFilter,
  VIEWS,
  type View,
} from '../../../domain/tasks/task-filter.ts'
import {
  MAX_SORT_KEYS,
  NEWEST_FIRST,
  SORT_FIELDS,
  type Sort,
  type SortField,
  sortRule,
} from '../../../domain/tasks/task-order.ts'
import { LIMIT, type Position, SKIP, START, type TaskPage, type TaskQuery } from '../../../domain/tasks/task-query.ts'
import { digest } from '../endpoint/conditional.ts'
import { flag, numeral, ruleSchema, withDetail } from '../endpoint/validation.ts'
import { type Cursor, decodeCursor, encodeCursor, positionIn } from './cursor.ts'

/** The parsed query of a request for the list of tasks. */
export interface ListRequest {
  readonly filter: TaskFilter
  readonly page: Omit<TaskQuery, 'conditions'>
  /** See `queryOf`. */
  readonly parameters: string
}

const dueBound = (rule: Rule, description: string) =>
  v.exactOptional(
    ruleSchema<string>(
      withDetail(rule, 'not_a_due_date', (detail) => `${detail}; write + as %2B`),
      { type: 'string', maxLength: MAX_DUE, description, examples: ['2026-02-02'] },
    ),
  )

const filterParameters = {
  completed: v.exactOptional(
    flag(filterRules.completed, {
      description: 'Only completed tasks (`true`) or open ones (`false`).',
      examples: [false],
    }),
  ),
  priority: v.exactOptional(
    ruleSchema<Priority>(filterRules.priority, {
      type: 'string',
      enum: PRIORITIES,
      description: 'Only tasks of this priority.',
      examples: ['high'],
    }),
  ),
  tag: v.exactOptional(
    ruleSchema<readonly string[]>(filterRules.tags, {
      type: 'array',
      items: { type: 'string', minLength: TAG_LIMITS.min },
      maxItems: MAX_TAGS,
      description: 'Only tasks with this tag. Repeat the parameter for tasks that have all of several tags.',
      examples: [['work']],
    }),
  ),
  due_before: dueBound(filterRules.dueBefore, 'Only tasks due before this instant or the beginning of this day.'),
  due_after: dueBound(filterRules.dueAfter, 'Only tasks due at or after this instant or the beginning of this day.'),
  overdue: v.exactOptional(
    flag(filterRules.overdue, {
      description: 'Only open tasks that were due before now (`true`), or only all others (`false`).',
      examples: [true],
    }),
  ),
  q: v.exactOptional(
    ruleSchema<string>(filterRules.containing, {
      type: 'string',
      maxLength: CONTAINING_LIMITS.max,
      description: 'Only tasks whose title or description contains this text, ignoring case.',
      examples: ['release'],
    }),
  ),
  view: v.exactOptional(
    ruleSchema<View>(filterRules.view, {
      type: 'string',
      enum: VIEWS,
      description:
        'Only open tasks that are due before tomorrow begins (`today`), or in the seven days after today (`upcoming`).',
      examples: ['today'],
    }),
  ),
  time_zone: v.exactOptional(
    ruleSchema<string>(filterRules.timeZone, {
      type: 'string',
      description:
        'IANA name of the time zone in which days begin and end; by default the `time_zone` of your account.',
      examples: ['Europe/Berlin'],
    }),
  ),
} satisfies v.ObjectEntries

type FilterParameter = keyof typeof filterParameters

/** The member of a filter that each parameter sets. */
const filterMembers: Readonly<Record<FilterParameter, keyof TaskFilter>> = {
  completed: 'completed',
  priority: 'priority',
  tag: 'tags',
  due_before: 'dueBefore',
  due_after: 'dueAfter',
  overdue: 'overdue',
  q: 'containing',
  view: 'view',
  time_zone: 'timeZone',
}
const FILTER_PARAMETERS = Object.keys(filterMembers) as readonly FilterParameter[]

const snakeCase = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

const sortFields: ReadonlyMap<string, SortField> = new Map(SORT_FIELDS.map((field) => [snakeCase(field), field]))
const sortKey = `-?(?:${[...sortFields.keys()].join('|')})`

const parseSort = (text: string) =>
  text.split(',', MAX_SORT_KEYS + 1).map((key) => {
    const descending = key.startsWith('-')
    return { field: sortFields.get(descending ? key.slice(1) : key), descending }
  })

const formatSort = (sort: Sort) =>
  sort.map(({ field, descending }) => `${descending ? '-' : ''}${snakeCase(field)}`).join(',')

const DEFAULT_SORT = formatSort(NEWEST_FIRST)

const sort = ruleSchema<Sort>(
  withDetail(sortRule, 'unknown_value', () => `must have these keys only: ${[...sortFields.keys()].join(', ')}`),
  {
    type: 'string',
    pattern: `^${sortKey}(?:,${sortKey}){0,${MAX_SORT_KEYS - 1}}$`,
    default: DEFAULT_SORT,
    description: `What to sort by: at most ${MAX_SORT_KEYS} different keys, each with \`-\` to descend. Null is last in both directions.`,
    examples: ['-priority,due'],
  },
  (text) => parseSort(String(text)),
)

const cursor = ruleSchema<Cursor>(
  (cursor) => (cursor === undefined ? { code: 'not_a_cursor', detail: 'must be taken from a Link header' } : undefined),
  {
    type: 'string',
    description:
      'Opaque start of a page, taken from a `Link` header; valid for the same query only. Cannot be combined with `skip`.',
    examples: [encodeCursor({ after: [42] }, '')],
  },
  (text) => decodeCursor(String(text)),
)

const parameters = v.strictObject({
  ...filterParameters,
  sort: v.exactOptional(sort),
  skip: v.exactOptional(
    numeral(SKIP.min, SKIP.max, {
      default: SKIP.default,
      description: 'Number of tasks to skip.',
      examples: [200],
    }),
  ),
  limit: v.exactOptional(
    numeral(LIMIT.min, LIMIT.max, {
      default: LIMIT.default,
      description: 'Maximum number of tasks to return.',
      examples: [20],
    }),
  ),
  cursor: v.exactOptional(cursor),
  count: v.exactOptional(
    flag(boolean, {
      default: false,
      description: 'Whether to count all tasks that match and return their number in `X-Total-Count`.',
      examples: [true],
    }),
  ),
})
type Parameters = v.InferOutput<typeof parameters>

function filterOf(given: Parameters): TaskFilter {
  const members = FILTER_PARAMETERS.flatMap((name) => (name in given ? [[filterMembers[name], given[name]]] : []))
  return Object.fromEntries(members)
}

/** The parameters that all pages of one query share, each spelled in one way; empty for the newest tasks. */
function queryOf(given: Parameters): string {
  const shared = new URLSearchParams()
  for (const name of FILTER_PARAMETERS) {
    for (const value of [given[name] ?? []].flat()) shared.append(name, String(value))
  }
  const order = formatSort(given.sort ?? NEWEST_FIRST)
  if (order !== DEFAULT_SORT) shared.append('sort', order)
  return shared.toString()
}

const positionOf = ({ cursor, sort = NEWEST_FIRST, ...filter }: Parameters) =>
  cursor ? positionIn(cursor, queryOf({ sort, ...filter }), sort) : START

/** The parameters of the list of tasks. */
export const listParameters = v.pipe(
  parameters,
  v.forward(
    v.check(({ cursor, skip }) => cursor === undefined || skip === undefined, 'must not be combined with skip'),
    ['cursor'],
  ),
  v.forward(
    v.check((given) => positionOf(given) !== undefined, 'must be used with the query that it was given for'),
    ['cursor'],
  ),
  v.transform(
    (given): ListRequest => ({
      filter: filterOf(given),
      parameters: queryOf(given),
      page: {
        sort: given.sort ?? NEWEST_FIRST,
        position: positionOf(given) ?? START,
        skip: given.skip ?? SKIP.default,
        limit: given.limit ?? LIMIT.default,
        count: given.count ?? false,
      },
    }),
  ),
)

type LinkedRequest = Pick<ListRequest, 'parameters'> & { readonly page: Pick<TaskQuery, 'limit' | 'count'> }

/** The pages beside a page, for a `Link` header (RFC 8288). */
export function linkHeader(
  path: string,
  { parameters, page: { limit, count } }: LinkedRequest,
  { next, previous }: Pick<TaskPage, 'next' | 'previous'>,
): { readonly Link?: string } {
  const others = `&limit=${limit}${parameters && `&${parameters}`}${count ? '&count=true' : ''}`
  const link = (rel: string, position: Position) =>
    `<${path}?cursor=${encodeCursor(position, parameters)}${others}>; rel="${rel}"`
  const links = [next && link('next', next), previous && link('prev', previous)].filter(Boolean)
  return links.length > 0 ? { Link: links.join(', ') } : {}
}

/**
 * Returns a function from the revision of a list to its entity tag. The tag has the revision and a digest of everything else
 * that the response depends on; the conditions hold the bounds of the current day. Returns `undefined` for a list that
 * changes without a write.
 *
 * @param representation what determines how the tasks are shown
 */
export function listTag(
  { filter, parameters, page }: ListRequest,
  conditions: readonly Condition[],
  representation: string,
): ((revision: number) => string) | undefined {
  if (filter.overdue !== undefined) return undefined
  const query = digest(JSON.stringify([parameters, page, conditions, representation]))
  return (revision) => `${revision}-${query}`
}
