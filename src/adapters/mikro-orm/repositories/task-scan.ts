/** Evaluates a query in steps of a bounded number of rows, where one statement would occupy the process for too long. */
import { sql } from 'kysely'
import { comparePlaces, type Place, totalOrder } from '../../../domain/tasks/task-order.ts'
import { isEdge, type TaskQuery, type TaskRows } from '../../../domain/tasks/task-query.ts'
import { bigint, type PreparedQuery, preparedQuery } from '../prepared-query.ts'
import { type TaskRow, toTask } from '../records.ts'
import type { Steps, Store } from '../store.ts'
import { singleListQueries } from '../task-lists.ts'
import { BoundedHeap } from './bounded-heap.ts'
import { type MatchRow, placeOfPosition, type TaskListQueries } from './task-list-query.ts'

type Run = Parameters<Steps<unknown>>[0]

export type TasksById = PreparedQuery<{ readonly ownerId: number; readonly ids: readonly number[] }, TaskRow>

interface Step {
  readonly ownerId: number
  /** The first id. */
  readonly from: number
  readonly rows: number
}

function scanQueries(kysely: Store['kysely']) {
  const idsOf = (ownerId: number) => kysely.selectFrom('tasks').select('id').where('owner_id', '=', bigint(ownerId))
  return {
    list: singleListQueries(kysely).read,
    /** The last id of a step; null beyond the last task. */
    upwards: preparedQuery(({ ownerId, from, rows }: Step) =>
      kysely
        .selectFrom(idsOf(ownerId).where('id', '>=', bigint(from)).orderBy('id').limit(bigint(rows)).as('step'))
        .select(sql<number | null>`max(id)`.as('last')),
    ),
    downwards: preparedQuery(({ ownerId, from, rows }: Step) =>
      kysely
        .selectFrom(idsOf(ownerId).where('id', '<=', bigint(from)).orderBy('id', 'desc').limit(bigint(rows)).as('step'))
        .select(sql<number | null>`min(id)`.as('last')),
    ),
  }
}

/** A task that meets the conditions. */
interface Match {
  readonly id: number
  readonly place: Place
}

/** Collects the matches nearest to a position. */
class Collected {
  readonly nearest: BoundedHeap<Match>
  readonly #query: TaskQuery
  readonly #place: Place
  /** Number of matches on the other side of the position. */
  others = 0
  total = 0

  constructor(query: TaskQuery) {
    const { skip, limit } = query
    this.#query = query
    this.#place = placeOfPosition(query)
    this.nearest = new BoundedHeap(skip + limit + 1, (one, other) => this.#order(one.place, other.place))
  }

  add(matches: readonly Match[]): void {
    this.total += matches.length
    for (const match of matches) {
      if (isEdge(this.#place) || this.#order(match.place, this.#place) > 0) this.nearest.add(match)
      else this.others++
    }
  }

  #order(one: Place, other: Place): number {
    return comparePlaces(one, other, this.#query.sort) * ('after' in this.#query.position ? 1 : -1)
  }
}

export class TaskScan {
  readonly #queries: ReturnType<typeof scanQueries>
  readonly #listQueries: TaskListQueries
  readonly #anyOf: TasksById
  readonly #rowsPerStep: number

  constructor({ kysely }: Store, listQueries: TaskListQueries, anyOf: TasksById, rowsPerStep: number) {
    this.#queries = scanQueries(kysely)
    this.#listQueries = listQueries
    this.#anyOf = anyOf
    this.#rowsPerStep = rowsPerStep
  }

  async read(run: Run, ownerId: number, query: TaskQuery): Promise<TaskRows> {
    const [list] = await run(this.#queries.list({ owner: ownerId }))
    const collected = await this.#collect(run, ownerId, query)
    const { skip, limit, count, position } = query
    const { nearest, others, total } = collected
    const forward = 'after' in position
    const nearer = others > 0 || (skip > 0 && nearest.size > 0)
    const further = nearest.isFull
    const afterSkipped = Array.from({ length: Math.max(nearest.size - skip, 0) }, () => nearest.takeLast() as Match)
    const ids = afterSkipped
      .reverse()
      .slice(0, limit)
      .map(({ id }) => id)
    const tasks = new Map((await run(this.#anyOf({ ownerId, ids }))).map((row) => [row.id, toTask(row)]))
    const found = (forward ? ids : ids.reverse()).flatMap((id) => tasks.get(id) ?? [])
    return {
      tasks: found,
      hasPrevious: forward ? nearer : further,
      hasNext: forward ? further : nearer,
      revision: list?.revision ?? 0,
      ...(count && { total }),
    }
  }

  /** In the order of creation, the scan begins at the position and goes both ways, because either can end early. */
  async #collect(run: Run, ownerId: number, query: TaskQuery): Promise<Collected> {
    const { sort, position, count, skip } = query
    const collected = new Collected(query)
    const place = placeOfPosition(query)
    const [key] = totalOrder(sort)
    const byId = key?.field === 'createdAt'
    const upwards = byId && key.descending !== 'after' in position
    const ends = upwards ? [0, LAST_ID] : [LAST_ID, 0]
    const start = byId && !isEdge(place) ? (place[0] as number) : ends[0]
    for await (const matches of this.#steps(run, ownerId, query, start as number, upwards)) {
      collected.add(matches)
      if (byId && !count && collected.nearest.isFull) break
    }
    const nearerIsKnown = () => !count && (collected.others > 0 || (skip > 0 && collected.nearest.size > 0))
    if (start === ends[0] || nearerIsKnown()) return collected
    for await (const matches of this.#steps(run, ownerId, query, (start as number) + (upwards ? -1 : 1), !upwards)) {
      collected.add(matches)
      if (nearerIsKnown()) break
    }
    return collected
  }

  /** Yields the matches of each step. */
  async *#steps(run: Run, ownerId: number, query: TaskQuery, start: number, upwards: boolean): AsyncGenerator<Match[]> {
    const lastOf = upwards ? this.#queries.upwards : this.#queries.downwards
    for (let from = start; ; ) {
      const [step] = await run(lastOf({ ownerId, from, rows: this.#rowsPerStep }))
      const last = step?.last
      if (last === null || last === undefined) return
      const [low, high] = upwards ? [from, last] : [last, from]
      const rows = await run(this.#listQueries.matches(ownerId, query, low, high))
      yield rows.map(toMatch)
      from = last + (upwards ? 1 : -1)
    }
  }
}

const LAST_ID = Number.MAX_SAFE_INTEGER

function toMatch({ id, ...values }: MatchRow): Match {
  return { id, place: Object.values(values) }
}
