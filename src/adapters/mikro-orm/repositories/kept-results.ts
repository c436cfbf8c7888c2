/** SQL for the results of requests with an idempotency key. */
import { sql } from 'kysely'
import { IdempotencyKeyReused } from '../../../domain/errors.ts'
import type { IdempotencyKey } from '../../../domain/tasks/idempotency.ts'
import type { Written } from '../../../domain/tasks/ports.ts'
import { Task, type TaskDraft, type TaskSnapshot } from '../../../domain/tasks/task.ts'
import { bigint, preparedQuery } from '../prepared-query.ts'
import type { Store } from '../store.ts'

/** A task as it is written, or null if it is removed. The statement that inserts a new task assigns its id. */
export type WrittenTask = TaskSnapshot | (TaskDraft & Pick<TaskSnapshot, 'revision'>) | null

interface KeptResult extends IdempotencyKey {
  readonly ownerId: number
  /** JSON of a WrittenTask for each write. */
  readonly result: string
  /** The revisions of new tasks. */
  readonly added: readonly number[]
  readonly now: Date
}

interface KeyOfOwner extends Pick<IdempotencyKey, 'scope' | 'key'> {
  readonly ownerId: number
  /** Ignores earlier results. */
  readonly since: Date
}

export function keptResultQueries({ kysely, isAnyOf }: Store) {
  /** Finds the new tasks by revision, because their ids are assigned in the same transaction. */
  const newIds = ({ ownerId, added }: KeptResult) =>
    kysely
      .selectFrom('tasks')
      .select(sql<string>`coalesce(string_agg(cast(id as text), ',' order by revision), '')`.as('new_ids'))
      .where('owner_id', '=', bigint(ownerId))
      .where(isAnyOf('revision', added))
  return {
    read: preparedQuery(({ ownerId, scope, key, since }: KeyOfOwner) =>
      kysely
        .selectFrom('idempotency_keys')
        .select(['fingerprint', 'result', 'new_ids'])
        .where('owner_id', '=', bigint(ownerId))
        .where('scope', '=', scope)
        .where('key', '=', key)
        .where('created_at', '>', since as never),
    ),
    /** Replaces an expired result. */
    keep: preparedQuery((kept: KeptResult) =>
      kysely
        .insertInto('idempotency_keys')
        .values({
          owner_id: kept.ownerId,
          scope: kept.scope,
          key: kept.key,
          fingerprint: kept.fingerprint,
          result: kept.result,
          new_ids: newIds(kept),
          created_at: kept.now,
        })
        .onConflict((conflict) =>
          conflict.columns(['owner_id', 'scope', 'key']).doUpdateSet(({ ref }) => ({
            fingerprint: ref('excluded.fingerprint'),
            result: ref('excluded.result'),
            new_ids: ref('excluded.new_ids'),
            created_at: ref('excluded.created_at'),
          })),
        ),
    ),
  }
}

interface KeptRow {
  readonly fingerprint: string
  readonly result: string
  readonly new_ids: string
}

/** The columns of the result of a write. */
export const toKeptResult = (tasks: readonly WrittenTask[]): Pick<KeptResult, 'result' | 'added'> => ({
  result: JSON.stringify(tasks),
  added: tasks.flatMap((task) => (task === null || 'id' in task ? [] : [task.revision])),
})

/** @throws IdempotencyKeyReused when the row has another fingerprint */
export function toWritten(row: KeptRow, { fingerprint }: IdempotencyKey): Written {
  if (row.fingerprint !== fingerprint) throw new IdempotencyKeyReused()
  const newIds = row.new_ids.split(',').map(Number).values()
  const tasks: readonly WrittenTask[] = JSON.parse(row.result, reviveTime)
  return tasks.map((task) => {
    if (task === null) return undefined
    return Task.restore('id' in task ? task : { ...task, id: newIds.next().value as number })
  })
}

/** JSON has no times: they are the members whose name ends in `At`. */
const reviveTime = (name: string, value: unknown) =>
  name.endsWith('At') && typeof value === 'string' ? new Date(value) : value
