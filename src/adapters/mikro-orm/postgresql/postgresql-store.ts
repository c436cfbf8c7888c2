import { AsyncResource } from 'node:async_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { Batcher } from '../group-commit.ts'
import type { Tables } from '../records.ts'
import {
  type AnyTransaction,
  type Committed,
  readsNothing,
  type Store,
  type Transaction,
  withStoreErrors,
} from '../store.ts'
import { isConflict } from '../store-errors.ts'
import { listGroupQueries } from '../task-lists.ts'
import { LockedGroups, oneGroupPerOwner } from './locked-groups.ts'
import type { SharedConnections } from './postgresql-connections.ts'
import { type Job, runWrites } from './postgresql-groups.ts'

/** While the server is busy with one group, the next is on its way to it. */
const GROUPS_AT_ONCE = 2

export interface StoreConnections {
  /** Its groups follow each other on one connection. */
  readonly writer: SharedConnections
  /** One of size 1 for each group of transactions that read; it has the connection to itself. */
  readonly deciders: readonly SharedConnections[]
  readonly readers: SharedConnections
}

export function postgresqlStore(kysely: Kysely<Tables>, { writer, deciders, readers }: StoreConnections): Store {
  const blind = new Batcher(runWrites(writer), GROUPS_AT_ONCE)
  const locked = new LockedGroups(deciders, listGroupQueries(kysely))
  const deciding = new Batcher(locked.run, deciders.length, oneGroupPerOwner)
  let retrying = 0
  const retry = async (conflict: unknown, run: () => Promise<unknown>) => {
    retrying++
    try {
      return await retryConflict(conflict, run)
    } finally {
      retrying--
    }
  }
  const read: Store['read'] = async (query) => {
    try {
      return (await readers.run(query)).rows
    } catch (error) {
      // Where a pooler's sessions are serializable, a read can conflict as well.
      return (await retryConflict(error, () => readers.run(query))).rows
    }
  }
  const commit = async (transaction: AnyTransaction): Promise<unknown> => {
    const job: Job = { transaction, request: new AsyncResource('TRANSACTION') }
    const group = readsNothing(transaction) ? blind : deciding
    try {
      return await group.add(job)
    } catch (error) {
      return retry(error, () => group.add(job))
    }
  }
  return {
    kysely,
    writableWith: true,
    // The text of a timestamp depends on DateStyle and TimeZone, that of a float on extra_float_digits.
    milliseconds: (column) => sql`cast(date_part('epoch', ${sql.ref(column)}) * 1000 as bigint)`,
    read: (query) => withStoreErrors(read(query)),
    async transact<Seen extends object, Result>(transaction: Transaction<Seen, Result>) {
      const { rows, result } = await withStoreErrors<Committed>(commit(transaction as unknown as AnyTransaction))
      return result(rows) as Result
    },
    pending: () => ({
      reads: readers.unanswered,
      writes: blind.unanswered + deciding.unanswered + retrying,
    }),
  }
}

const MAX_RETRIES = 5
/** Milliseconds before the first retry, at most; twice as many before each further one. */
const FIRST_PAUSE = 10

/**
 * Runs again, after a random pause, what conflicted with another transaction.
 *
 * @param error why it failed; any but a conflict is thrown as it is
 */
async function retryConflict<Result>(error: unknown, run: () => Promise<Result>): Promise<Result> {
  let reason = error
  for (let retries = 0; isConflict(reason) && retries < MAX_RETRIES; retries++) {
    await delay(Math.random() * FIRST_PAUSE * 2 ** retries)
    try {
      return await run()
    } catch (error) {
      reason = error
    }
  }
  throw reason
}
