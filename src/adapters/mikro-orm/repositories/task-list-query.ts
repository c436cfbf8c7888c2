/** SQL for TaskQuery: built once for each shape, that is for all queries that differ in values only. */
import { type RawBuilder, type SqlBool, sql } from 'kysely'
import { LRUCache } from 'lru-cache'
import { PRIORITIES } from '../../../domain/tasks/task.ts'
import type { Condition, Conditions } from '../../../domain/tasks/task-filter.ts'
import {
  type Place,
  type Sort,
  type SortField,
  type SortKey,
  type SortValue,
  totalOrder,
} from '../../../domain/tasks/task-order.ts'
import { isEdge, type TaskQuery, type TaskRows } from '../../../domain/tasks/task-query.ts'
import { bigint, type PreparedQuery, preparedQuery, type Statement } from '../prepared-query.ts'
import { NO_DUE, type TaskRow, tagLine, taskColumns, toTask } from '../records.ts'
import type { Store } from '../store.ts'

/** The values of a query by position; placeholders while the SQL is built. */
type Values = readonly unknown[]

interface ConditionSql<Value> {
  values(value: Value): Values
  holds(values: Values, store: Store): RawBuilder<boolean>
}

const dueMoment = sql.ref<number>('due_moment')
const beforeDueBound = (allDay: unknown, timed: unknown) =>
  sql<boolean>`${dueMoment} < case when due_all_day then ${bigint(allDay as number)} else ${bigint(timed as number)} end`

/** The SQL of each condition. `first` and `last` bound the due times of both kinds, so that an index can serve the condition. */
const conditionSql: { readonly [Name in keyof Conditions]: ConditionSql<Conditions[Name]> } = {
  completed: {
    values: (completed) => [completed],
    holds: ([completed]) => sql`completed = ${completed}`,
  },
  priority: {
    values: (priority) => [PRIORITIES.indexOf(priority)],
    holds: ([priority]) => sql`priority = ${bigint(priority as number)}`,
  },
  tags: {
    values: (tags) => tags.map(tagLine),
    holds: (lines, { contains }) =>
      sql.join<boolean>(
        lines.map((line) => contains('tags', line)),
        sql` and `,
      ),
  },
  dueBefore: {
    values: ({ allDay, timed }) => [allDay, timed, Math.max(allDay, timed)],
    holds: ([allDay, timed, last]) =>
      sql`${beforeDueBound(allDay, timed)} and ${dueMoment} < ${bigint(last as number)}`,
  },
  dueFrom: {
    values: ({ allDay, timed }) => [allDay, timed, Math.min(allDay, timed)],
    holds: ([allDay, timed, first]) =>
      sql`not ${beforeDueBound(allDay, timed)} and ${dueMoment} >= ${bigint(first as number)} and ${dueMoment} < ${sql.lit(NO_DUE)}`,
  },
  notOverdue: {
    values: ({ allDay, timed }) => [allDay, timed],
    holds: ([allDay, timed]) => sql`(completed or not ${beforeDueBound(allDay, timed)})`,
  },
  containing: {
    values: (folded) => [folded],
    holds: ([folded], { contains }) => sql`${contains('search', folded)}`,
  },
}

const valuesOf = ({ name, value }: Condition): Values =>
  (conditionSql[name] as ConditionSql<typeof value>).values(value)

/** The columns of the sort fields; null for a task without a value. */
const sortColumns = ({
  milliseconds,
}: Store): { readonly [Field in SortField]: RawBuilder<number | string | null> } => ({
  createdAt: sql.ref('id'),
  updatedAt: milliseconds('updated_at'),
  due: sql`nullif(${dueMoment}, ${sql.lit(NO_DUE)})`,
  priority: sql.ref('priority'),
  title: sql.ref('title'),
  completedAt: milliseconds('completed_at'),
})

/** Beyond every value of a numeric sort key. */
const LAST = NO_DUE

/**
 * With one direction for all keys, an index serves the comparison of rows. The direction is that of the title if it is a key,
 * otherwise that of the first key; numbers with the other direction are negated.
 */
const isDescending = (keys: Sort) => (keys.find(({ field }) => field === 'title') ?? keys[0])?.descending === true

/** The value for null, which comes last in the direction of the key. */
const lastOf = ({ descending }: SortKey) => (descending ? -LAST : LAST)

function orderColumn(key: SortKey, descending: boolean, store: Store): RawBuilder<unknown> {
  const { field } = key
  if (field === 'title') return store.byCodePoint('title')
  const nullable = field === 'due' || field === 'completedAt'
  const value = nullable
    ? sql<number>`coalesce(${sortColumns(store)[field]}, ${sql.lit(lastOf(key))})`
    : sortColumns(store)[field]
  // The column itself has an index.
  const column = field === 'due' && !key.descending ? dueMoment : value
  return key.descending === descending ? column : sql`-(${column})`
}

function orderValues(place: Place, sort: Sort): Values {
  const keys = totalOrder(sort)
  const descending = isDescending(keys)
  return place.map((value, index) => {
    const key = keys[index] as SortKey
    if (typeof value === 'string') return value
    return key.descending === descending ? (value ?? lastOf(key)) : -(value ?? lastOf(key))
  })
}

export const placeOfPosition = ({ position }: TaskQuery) => ('after' in position ? position.after : position.before)

/** A row of the page. An empty page is one row without a task. */
type ListRow = { [Name in keyof TaskRow]: TaskRow[Name] | null } & {
  list_revision: number
  other_side: SqlBool
  total: number | null
}

/** Maximum number of cached shapes: enough for those that clients send often. */
const MAX_SHAPES = 500

export type MatchRow = { id: number } & Record<`place_${number}`, SortValue>

/** Whether an index finds the page without reading many other rows. */
export function isIndexed({ conditions, sort, count }: TaskQuery): boolean {
  const [first] = sort as [SortKey]
  const ordered = first.field === 'createdAt' || (first.field === 'due' && !first.descending && sort.length === 1)
  return ordered && conditions.every(({ name }) => name === 'completed') && !(count && conditions.length > 0)
}

export class TaskListQueries {
  readonly #store: Store
  readonly #shapes = new LRUCache<string, PreparedQuery<Values, ListRow>>({ max: MAX_SHAPES })
  readonly #matches = new LRUCache<string, PreparedQuery<Values, MatchRow>>({ max: MAX_SHAPES })

  constructor(store: Store) {
    this.#store = store
  }

  /** Everything that TaskRows has, in one statement. */
  page(ownerId: number, query: TaskQuery): Statement<ListRow> {
    const { conditions, sort, limit, skip } = query
    const shape = shapeOf(query)
    const prepared = this.#shapes.get(shape) ?? preparedQuery((values: Values) => this.#build(query, values))
    this.#shapes.set(shape, prepared)
    return prepared([
      ownerId,
      limit + 1,
      skip,
      ...orderValues(placeOfPosition(query), sort),
      ...conditions.flatMap(valuesOf),
    ])
  }

  /** The ids and places of the owner's tasks that meet the conditions, with ids from `low` to `high`, both included. */
  matches(ownerId: number, query: TaskQuery, low: number, high: number): Statement<MatchRow> {
    const names = query.conditions.map((condition) => condition.name + valuesOf(condition).length)
    const fields = totalOrder(query.sort).map(({ field }) => field)
    const shape = `matches ${names} ${fields}`
    const prepared = this.#matches.get(shape) ?? preparedQuery((values: Values) => this.#buildMatches(query, values))
    this.#matches.set(shape, prepared)
    return prepared([ownerId, low, high, ...query.conditions.flatMap(valuesOf)])
  }

  #buildMatches({ conditions, sort }: TaskQuery, values: Values) {
    const [ownerId, low, high] = [0, 1, 2].map((index) => bigint(values[index] as number))
    const columns = sortColumns(this.#store)
    let matching = this.#store.kysely
      .selectFrom('tasks')
      .select('id')
      .select(totalOrder(sort).map(({ field }, index) => columns[field].as(`place_${index}`)))
      .where('owner_id', '=', ownerId as RawBuilder<number>)
      .where('id', '>=', low as RawBuilder<number>)
      .where('id', '<=', high as RawBuilder<number>)
    for (const holds of this.#holding(conditions, values, 3)) matching = matching.where(holds)
    return matching
  }

  /** @param first position of their first value */
  #holding(conditions: readonly Condition[], values: Values, first: number): RawBuilder<boolean>[] {
    let next = first
    return conditions.map((condition) => {
      const own = valuesOf(condition).map(() => values[next++])
      return (conditionSql[condition.name] as ConditionSql<unknown>).holds(own, this.#store)
    })
  }

  #build(query: TaskQuery, values: Values) {
    const { kysely, milliseconds } = this.#store
    const { conditions, sort, position, skip, count } = query
    const [ownerId, limit, skipped] = [0, 1, 2].map((index) => bigint(values[index] as number))
    const keys = totalOrder(sort)
    const descending = isDescending(keys)
    const columns = keys.map((key) => orderColumn(key, descending, this.#store))
    const place = placeOfPosition(query).map((_, index) => {
      const value = values[3 + index]
      return keys[index]?.field === 'title' ? sql`${value}` : bigint(value as number)
    })
    const holding = this.#holding(conditions, values, 3 + place.length)
    let matching = kysely.selectFrom('tasks').where('owner_id', '=', ownerId as RawBuilder<number>)
    for (const holds of holding) matching = matching.where(holds)
    const forward = 'after' in position
    const ascending = forward !== descending
    const compared = (operator: string) =>
      sql<boolean>`(${sql.join(columns)}) ${sql.raw(operator)} (${sql.join(place)})`
    let page = matching.select(taskColumns(milliseconds)).limit(limit as RawBuilder<number>)
    if (place.length > 0) page = page.where(compared(ascending ? '>' : '<'))
    for (const column of columns) page = page.orderBy(column, ascending ? 'asc' : 'desc')
    if (skip > 0) page = page.offset(skipped as RawBuilder<number>)
    let other = matching.select(sql.lit(1).as('one'))
    if (skip === 0 && place.length > 0) other = other.where(compared(ascending ? '<=' : '>='))
    const total = () =>
      conditions.length === 0
        ? sql.ref<number>('list.size')
        : matching.select(({ fn }) => fn.countAll<number>().as('total'))
    // There is one list, so the rows keep the order of the page.
    return kysely
      .selectFrom('task_lists as list')
      .leftJoin(page.as('page'), (join) => join.onTrue())
      .where('list.owner_id', '=', ownerId as RawBuilder<number>)
      .selectAll('page')
      .select('list.revision as list_revision')
      .select(({ exists, lit }) => (skip > 0 || place.length > 0 ? exists(other) : lit(false)).as('other_side'))
      .select(count ? total().as('total') : sql.lit(0).as('total'))
  }
}

function shapeOf(query: TaskQuery): string {
  const { conditions, sort, position, skip, count } = query
  const names = conditions.map((condition) => condition.name + valuesOf(condition).length)
  const keys = sort.map(({ field, descending }) => (descending ? '-' : '') + field)
  const side = 'after' in position ? 'after' : 'before'
  return `${names} ${keys} ${side} ${isEdge(placeOfPosition(query))} ${skip > 0} ${count}`
}

export function toTaskRows(rows: readonly ListRow[], { position, skip, limit, count }: TaskQuery): TaskRows {
  const [first] = rows
  const found = first === undefined || first.id === null ? [] : rows
  const tasks = found.slice(0, limit).map((row) => toTask(row as TaskRow))
  const further = found.length > limit
  const nearer = (skip > 0 && tasks.length > 0) || Boolean(first?.other_side)
  const forward = 'after' in position
  return {
    tasks: forward ? tasks : tasks.reverse(),
    hasPrevious: forward ? nearer : further,
    hasNext: forward ? further : nearer,
    revision: first?.list_revision ?? 0,
    ...(count && { total: first?.total ?? 0 }),
  }
}
