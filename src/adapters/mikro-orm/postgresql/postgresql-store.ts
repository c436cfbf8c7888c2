import { AsyncResource } from 'node:async_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { Batcher } from '../group-commit.ts'
import { statement } from '../prepared-query.ts'
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

/** While the server executes one group, the next is in transit. */
const GROUPS_IN_FLIGHT = 2

export interface StoreConnections {
  /** One connection, on which groups that read nothing follow each other. */
  readonly writer: SharedConnections
  /** A connection for each concurrent group that reads before it writes. */
  readonly deciders: readonly SharedConnections[]
  readonly readers: SharedConnections
}

export function postgresqlStore(kysely: Kysely<Tables>, { writer, deciders, readers }: StoreConnections): Store {
  const writeOnly = new Batcher(runWrites(writer), { maxGroups: GROUPS_IN_FLIGHT })
  const locked = new LockedGroups(deciders, listGroupQueries(kysely))
  const deciding = new Batcher(locked.run, { maxGroups: deciders.length, admission: oneGroupPerOwner })
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
      // If a pooler's sessions are serializable, a read can conflict as well.
      return (await retryConflict(error, () => readers.run(query))).rows
    }
  }
  let lastSerial: Promise<unknown> = Promise.resolve()
  /** Runs one at a time: in one group, serial transactions would share its lock and not see each other's writes. */
  const commitSerial = (transaction: AnyTransaction): Promise<unknown> => {
    const locking = { ...transaction, reads: { serial: SERIAL_LOCK, ...transaction.reads } }
    const committed = lastSerial.then(() => commit(locking))
    lastSerial = committed.catch(() => {})
    return committed
  }
  const commit = async (transaction: AnyTransaction): Promise<unknown> => {
    const job: Job = { transaction, request: new AsyncResource('TRANSACTION') }
    const group = readsNothing(transaction) ? writeOnly : deciding
    try {
      return await group.add(job)
    } catch (error) {
      return retry(error, () => group.add(job))
    }
  }
  return {
    kysely,
    writableWith: true,
    byCodePoint: (column) => sql`${sql.ref(column)} collate "C"`,
    contains: (column, part) => sql`strpos(${sql.ref(column)}, ${part}) > 0`,
    isAnyOf: (column, ids) => sql`${sql.ref(column)} = any(cast(${ids} as bigint[]))`,
    // The text of a timestamp depends on DateStyle and TimeZone, and the text of a float on extra_float_digits.
    milliseconds: (column) => sql`cast(date_part('epoch', ${sql.ref(column)}) * 1000 as bigint)`,
    read: (query) => withStoreErrors(read(query)),
    async transact<Seen extends object, Result>(transaction: Transaction<Seen, Result>) {
      const run = transaction.serial ? commitSerial : commit
      const { rows, result } = await withStoreErrors<Committed>(run(transaction as unknown as AnyTransaction))
      return result(rows) as Result
    },
    pending: () => ({
      reads: readers.pending,
      writes: writeOnly.pending + deciding.pending + retrying,
    }),
  }
}

/**
 * Locks out serial transactions of other instances until this one ends. It is the first read after the lists are locked, so
 * the later ones see what the previous holder committed. The key is an arbitrary number, the same in every release.
 */
const SERIAL_LOCK = statement<unknown>('select pg_advisory_xact_lock(7235175)')

const MAX_RETRIES = 5
/** Maximum milliseconds before the first retry; doubled before each further one. */
const FIRST_PAUSE = 10

/**
 * Retries, after random pauses, work that conflicted with another transaction.
 *
 * @param error the reason for the failure, thrown unchanged unless it is a conflict
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
