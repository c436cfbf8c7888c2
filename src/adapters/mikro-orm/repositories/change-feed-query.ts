import { sql } from 'kysely'
import {
  type ChangePage,
  type ListHead,
  pageOfChanges,
  type SyncPosition,
  type Tombstone,
} from '../../../domain/tasks/change-feed.ts'
import type { Task } from '../../../domain/tasks/task.ts'
import { bigint, preparedQuery, type Statement } from '../prepared-query.ts'
import { type TaskColumns, type TaskRow, taskColumns, taskColumnTypes, toTask } from '../records.ts'
import type { Store } from '../store.ts'

interface Range {
  readonly ownerId: number
  readonly since: number
  /** Maximum number of tasks, and the same of tombstones. */
  readonly limit: number
}

/** A task, or a tombstone, which has `deleted_at`. A list without a change is one row without an id. */
export type ChangeRow = TaskRow & {
  readonly deleted_at: number | null
  readonly epoch: string
  readonly list_revision: number
  readonly forgotten: number
}

/** Times are read as numbers. */
function readType(name: string): string {
  const type = taskColumnTypes[name as keyof TaskColumns]
  return type === undefined || type === 'timestamptz' ? 'bigint' : type
}

/**
 * Bounds a range that has no end. PostgreSQL then expects few rows, and plans the statement once: with an open range, it
 * expected a third of the list, and planned each execution again to find that there are fewer.
 */
const LAST_REVISION = sql.lit(Number.MAX_SAFE_INTEGER)

/** One statement, because two could see two states of the list. Each half has an index in the order of revisions. */
export function changesQuery({ kysely, milliseconds }: Store): (range: Range) => Statement<ChangeRow> {
  const none = (name: string) => sql<never>`cast(null as ${sql.raw(readType(name))})`.as(name)
  const names = taskColumns(milliseconds).map((column) => String(typeof column === 'string' ? column : column.alias))
  const query = preparedQuery(({ ownerId, since, limit }: Range) => {
    const tasks = kysely
      .selectFrom('tasks')
      .select(taskColumns(milliseconds))
      .select(none('deleted_at'))
      .where('owner_id', '=', bigint(ownerId))
      .where('revision', '>', bigint(since))
      .where('revision', '<=', LAST_REVISION)
      .orderBy('revision')
      .limit(bigint(limit))
    const tombstones = kysely
      .selectFrom('tombstones')
      .select(names.map((name) => (name === 'id' || name === 'revision' ? name : none(name))))
      .select(milliseconds('deleted_at').as('deleted_at'))
      .where('owner_id', '=', bigint(ownerId))
      .where('revision', '>', bigint(since))
      .where('revision', '<=', LAST_REVISION)
      .orderBy('revision')
      .limit(bigint(limit))
    const changes = kysely
      .selectFrom(tasks.as('item'))
      .selectAll()
      .unionAll(kysely.selectFrom(tombstones.as('deletion')).selectAll() as never)
    return kysely
      .selectFrom('task_lists as list')
      .leftJoin(changes.as('change'), (join) => join.onTrue())
      .where('list.owner_id', '=', bigint(ownerId))
      .selectAll('change')
      .select(['list.epoch', 'list.forgotten', 'list.revision as list_revision'])
  })
  return query as unknown as (range: Range) => Statement<ChangeRow>
}

/** @param since absent for a first synchronization, which needs no deletions */
export function toChangePage(
  rows: readonly ChangeRow[],
  head: ListHead,
  since: SyncPosition | undefined,
  limit: number,
): ChangePage {
  const changes = rows
    .filter(({ id, deleted_at }) => id !== null && (since !== undefined || deleted_at === null))
    .sort((one, other) => one.revision - other.revision)
  return pageOfChanges(changes.map(toChange), head, since, limit)
}

const toChange = (row: ChangeRow): Task | Tombstone =>
  row.deleted_at === null ? toTask(row) : { id: row.id, revision: row.revision, deletedAt: new Date(row.deleted_at) }
