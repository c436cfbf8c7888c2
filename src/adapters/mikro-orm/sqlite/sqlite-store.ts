import cluster from 'node:cluster'
import { setTimeout as delay } from 'node:timers/promises'
import BetterSqlite3 from 'better-sqlite3'
import { type Kysely, sql } from 'kysely'
import { OutcomeUnknown, StoreUnavailable } from '../../../domain/errors.ts'
import { Batcher, fulfilled, type RunGroup, rejected, type Settled } from '../group-commit.ts'
import type { Tables } from '../records.ts'
import {
  type AnyTransaction,
  type Committed,
  readsNothing,
  type Steps,
  type Store,
  type Transaction,
  withStoreErrors,
} from '../store.ts'
import { codeOf } from '../store-errors.ts'
import { singleListQueries } from '../task-lists.ts'
import { LongReads } from './long-reads.ts'
import { BUSY_TIMEOUT, type OpenFiles, refuseForeign } from './sqlite-file.ts'
import { type Run, runner } from './sqlite-run.ts'

/** Milliseconds between two attempts to take the write lock. */
const RETRY_DELAY = 1

/**
 * Opens the file. Creates a missing file, except in a worker. Waiting for SQLite's lock blocks the event loop.
 *
 * @throws ForeignFile
 */
export function openSqlite(path: string, timeout = BUSY_TIMEOUT): BetterSqlite3.Database {
  refuseForeign(path)
  // Switching to WAL needs the lock, even if `timeout` is 0.
  // The primary process created the file. If the file was removed since, a worker must not replace it with an empty one.
  const database = new BetterSqlite3(path, { timeout: BUSY_TIMEOUT, fileMustExist: cluster.isWorker })
  try {
    database.pragma('journal_mode = WAL')
    // NORMAL, the default with WAL, may lose the last commits in a power cut.
    database.pragma('synchronous = FULL')
    // In pages; about the first block of the log's index. The default of 1,000 merges pages that soon change again.
    database.pragma('wal_autocheckpoint = 4000')
    database.pragma('foreign_keys = ON')
    database.pragma(`busy_timeout = ${timeout}`)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** A connection that reads committed data only. Readers never block in WAL mode. */
export function openSqliteReader(path: string): BetterSqlite3.Database {
  const database = openSqlite(path)
  database.pragma('query_only = ON')
  return database
}

/** A connection for writes. It never waits in SQLite, because waiting would block the event loop and all readers. */
export const openSqliteWriter = (path: string) => openSqlite(path, 0)

export type Job = (run: Run) => unknown

export interface SqliteConnections {
  readonly writer: BetterSqlite3.Database
  readonly reader: BetterSqlite3.Database
  /** Each keeps a snapshot while others read. */
  readonly steppers: readonly BetterSqlite3.Database[]
}

/** One connection writes to the file while others read it. Transactions that write run synchronously. */
export function sqliteStore(
  kysely: Kysely<Tables>,
  { writer, reader, steppers }: SqliteConnections,
  files: OpenFiles,
): Store {
  const reads = new Batcher(readInPlace(files, readInOneSnapshot(reader)))
  const longReads = new LongReads(steppers)
  // A request reads its user before it writes, so pending reads announce writes, which can share the commit.
  const expectsMore = () => reads.pending > 0
  const writes = new Batcher(writeInPlace(files, runInOneTransaction(writer)), { expectsMore })
  const lists = singleListQueries(kysely)
  return {
    kysely,
    milliseconds: (column) => sql.ref(column),
    byCodePoint: (column) => sql.ref(column),
    contains: (column, part) => sql`instr(${sql.ref(column)}, ${part}) > 0`,
    isAnyOf: (column, ids) => sql`${sql.ref(column)} in (select value from json_each(${ids}))`,
    writableWith: false,
    read: (query) => withStoreErrors(reads.add((run) => run(query))),
    async transact<Seen extends object, Result>(transaction: Transaction<Seen, Result>) {
      const job = (run: Run) => perform(transaction as unknown as AnyTransaction, run, lists)
      const { rows, result } = await withStoreErrors<Committed>(writes.add(job))
      return result(rows) as Result
    },
    readInSteps: (owner, steps) => withStoreErrors(longReads.add(owner, whileInPlace(files, steps))),
    pending: () => ({ reads: reads.pending + longReads.pending, writes: writes.pending }),
  }
}

function perform(transaction: AnyTransaction, run: Run, lists: ReturnType<typeof singleListQueries>): Committed {
  const { owner, reads } = transaction
  const locks = owner !== undefined && !readsNothing(transaction)
  const [list] = locks ? run(lists.read({ owner })) : []
  const seen = Object.fromEntries(Object.entries(reads).map(([name, query]) => [name, run(query)]))
  const { writes, list: next, result } = transaction.decide(seen, list)
  const rows = writes.map(run)
  if (locks && next !== undefined) run(lists.set({ owner, ...next }))
  return { rows, result }
}

function readInPlace<Job>(files: OpenFiles, run: RunGroup<Job>): RunGroup<Job> {
  return (jobs) => {
    if (!files.inPlace) throw new StoreUnavailable(undefined)
    return run(jobs)
  }
}

const whileInPlace =
  <Result>(files: OpenFiles, steps: Steps<Result>): Steps<Result> =>
  async (run) => {
    if (!files.inPlace) throw new StoreUnavailable(undefined)
    return steps(run)
  }

/** Checks the files before a group of writes and again before the group is acknowledged. */
function writeInPlace(files: OpenFiles, run: RunGroup<Job>): RunGroup<Job> {
  return async (jobs) => {
    if (!files.compare()) throw new StoreUnavailable(undefined)
    const outcomes = await run(jobs)
    // A file that was moved away may be moved back, and would then contain this group.
    if (!files.compare()) throw new OutcomeUnknown(undefined)
    return outcomes
  }
}

/** Shares one snapshot, because each single read would lock the file and look for new commits. */
export function readInOneSnapshot(database: BetterSqlite3.Database): RunGroup<Job> {
  const run = runner(database)
  const runSingle = (job: Job) => job(run)
  const runGroup = database.transaction((jobs: readonly Job[]) => jobs.map((job) => settle(job, runSingle, database)))
  return (jobs) => singleJob(jobs, runSingle) ?? runGroup(jobs)
}

/**
 * Runs jobs one after the other in a transaction that takes the write lock first. Each job has a savepoint, so that a failing
 * job rolls back its own writes only.
 */
export function runInOneTransaction(database: BetterSqlite3.Database): RunGroup<Job> {
  const run = runner(database)
  const runSingle = (job: Job) => job(run)
  // better-sqlite3 turns a transaction within another one into a savepoint.
  const runInSavepoint = database.transaction(runSingle)
  const commit = committing(
    database,
    (jobs: readonly Job[]) => singleJob(jobs, runSingle) ?? jobs.map((job) => settle(job, runInSavepoint, database)),
  )
  return (jobs) => whenUnlocked(() => commit(jobs))
}

/** @throws OutcomeUnknown when the commit fails in a way that may leave the whole transaction in the WAL */
function committing<Given, Result>(database: BetterSqlite3.Database, work: (given: Given) => Result) {
  let worked = false
  const { immediate } = database.transaction((given: Given) => {
    const result = work(given)
    worked = true
    return result
  })
  return (given: Given): Result => {
    worked = false
    try {
      return immediate(given)
    } catch (error) {
      // Only the commit can fail after the work.
      throw worked && mayHaveCommitted(error) ? new OutcomeUnknown(error) : error
    }
  }
}

/** A single job needs no savepoint. */
function singleJob([job, another]: readonly Job[], runSingle: (job: Job) => unknown): Settled[] | undefined {
  return job === undefined || another !== undefined ? undefined : [fulfilled(runSingle(job))]
}

/** @throws StoreUnavailable when SQLite has rolled back the whole transaction */
function settle(job: Job, run: (job: Job) => unknown, database: BetterSqlite3.Database): Settled {
  try {
    return fulfilled(run(job))
  } catch (error) {
    // SQLite rolls back by itself when the disk is full, for example.
    if (!database.inTransaction) throw new StoreUnavailable(error)
    return rejected(error)
  }
}

/** Retries while another process holds the write lock. Nothing was done until the lock is acquired. */
function whenUnlocked<Result>(work: () => Result): Result | Promise<Result> {
  try {
    return work()
  } catch (error) {
    if (!isLocked(error)) throw error
    return retryWhileLocked(work)
  }
}

async function retryWhileLocked<Result>(work: () => Result): Promise<Result> {
  const deadline = performance.now() + BUSY_TIMEOUT
  for (;;) {
    await delay(RETRY_DELAY)
    try {
      return work()
    } catch (error) {
      if (!isLocked(error) || performance.now() > deadline) throw error
    }
  }
}

/**
 * After an I/O error, recovery may find a complete commit in the WAL, except after a failed write, whose last frame, the commit,
 * is incomplete.
 */
const mayHaveCommitted = (error: unknown) => /^SQLITE_IOERR(?!_WRITE)/.test(codeOf(error) ?? '')

const isLocked = (error: unknown) => codeOf(error)?.startsWith('SQLITE_BUSY')
