import { setTimeout as delay } from 'node:timers/promises'
import BetterSqlite3 from 'better-sqlite3'
import { type Kysely, sql } from 'kysely'
import { OutcomeUnknown, StoreUnavailable } from '../../../domain/errors.ts'
import { Batches, type Job, type RunBatch } from '../group-commit.ts'
import type { Statement } from '../prepared-query.ts'
import type { Tables } from '../records.ts'
import { type Store, translated } from '../store.ts'
import { codeOf } from '../store-errors.ts'
import { BUSY_TIMEOUT, type OpenFiles, refuseForeign } from './sqlite-file.ts'

/** Milliseconds until the lock is asked for again. */
const PAUSE = 1

/**
 * Opens the file, and creates it where there is none. While it waits for another process, this whole one does.
 *
 * @throws ForeignFile
 */
export function openSqlite(path: string, timeout = BUSY_TIMEOUT): BetterSqlite3.Database {
  refuseForeign(path)
  // To become a database with a log, it waits whatever it does later.
  const database = new BetterSqlite3(path, { timeout: BUSY_TIMEOUT })
  try {
    database.pragma('journal_mode = WAL')
    // With WAL the default, NORMAL, may lose the last commits in a power cut.
    database.pragma('synchronous = FULL')
    database.pragma('foreign_keys = ON')
    database.pragma(`busy_timeout = ${timeout}`)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/** A connection that only reads: what is committed, whatever the writer is about. Nobody waits for anybody there. */
export function openSqliteReader(path: string): BetterSqlite3.Database {
  const database = openSqlite(path)
  database.pragma('query_only = ON')
  return database
}

/** A connection for writes. It never waits inside SQLite, because that would block the event loop, and with it readers. */
export const openSqliteWriter = (path: string) => openSqlite(path, 0)

export type Run = <Row>(query: Statement<Row>) => Row[]
export type Work = (run: Run) => unknown

/** One connection writes to the file, and another reads from it meanwhile. Nothing waits within a transaction. */
export function sqliteStore(
  kysely: Kysely<Tables>,
  writer: BetterSqlite3.Database,
  reader: BetterSqlite3.Database,
  files: OpenFiles,
): Store {
  const reads = new Batches(readInPlace(files, inOneSnapshot(reader)))
  const writes = new Batches(writeInPlace(files, inOneCommit(writer)))
  return {
    kysely,
    milliseconds: (column) => sql.ref(column),
    read: (query) => translated(reads.add((run) => run(query))),
    write: (query) => translated(writes.add((run) => run(query))),
    change: (_row, query, decide) =>
      translated(
        writes.add((run) => {
          const { result, write } = decide(run(query))
          if (write) run(write)
          return result
        }),
      ),
    pending: () => ({ reads: reads.unanswered, writes: writes.unanswered }),
  }
}

function readInPlace<Work>(files: OpenFiles, run: RunBatch<Work>): RunBatch<Work> {
  return (jobs) => {
    if (!files.inPlace) throw new StoreUnavailable(undefined)
    return run(jobs)
  }
}

/** Compares before a group of writes, and before it is acknowledged: nothing is written to a file that is gone. */
function writeInPlace<Work>(files: OpenFiles, run: RunBatch<Work>): RunBatch<Work> {
  return async (jobs) => {
    if (!files.compare()) throw new StoreUnavailable(undefined)
    const answers = await run(jobs)
    // A file that was moved away may come back with this group in it.
    if (!files.compare()) throw new OutcomeUnknown(undefined)
    return answers
  }
}

/** Each read alone would lock the file and look for what was written since the one before it. */
export function inOneSnapshot(database: BetterSqlite3.Database): RunBatch<Work> {
  const run = runner(database)
  const alone = (work: Work) => work(run)
  const together = database.transaction((jobs: readonly Job<Work>[]) =>
    jobs.map((job) => attempt(job, alone, database)),
  )
  return (jobs) => only(jobs, alone) ?? together(jobs)
}

/**
 * One after the other in a transaction that takes the write lock first, each in a savepoint, so that one that fails
 * takes back its own writes and no other's.
 */
export function inOneCommit(database: BetterSqlite3.Database): RunBatch<Work> {
  const run = runner(database)
  const alone = (work: Work) => work(run)
  // Within another transaction better-sqlite3 makes a savepoint of it.
  const inSavepoint = database.transaction(alone)
  const committed = committing(
    database,
    (jobs: readonly Job<Work>[]) => only(jobs, alone) ?? jobs.map((job) => attempt(job, inSavepoint, database)),
  )
  return (jobs) => whenUnlocked(() => committed(jobs))
}

/** @throws OutcomeUnknown when the commit fails in a way that may leave a whole transaction in the log */
function committing<Given, Result>(database: BetterSqlite3.Database, work: (given: Given) => Result) {
  let done = false
  const { immediate } = database.transaction((given: Given) => {
    const result = work(given)
    done = true
    return result
  })
  return (given: Given): Result => {
    done = false
    try {
      return immediate(given)
    } catch (error) {
      // What is thrown after the work was done is thrown by the commit.
      throw done && leavesCommitOpen(error) ? new OutcomeUnknown(error) : error
    }
  }
}

/** A single job needs no surrounding transaction. */
function only([job, another]: readonly Job<Work>[], alone: (work: Work) => unknown) {
  if (job === undefined || another !== undefined) return undefined
  const result = alone(job.work)
  return [() => job.resolve(result)]
}

/** @returns what to tell the job once the transaction is over */
function attempt(
  { work, resolve, reject }: Job<Work>,
  alone: (work: Work) => unknown,
  database: BetterSqlite3.Database,
) {
  try {
    const result = alone(work)
    return () => resolve(result)
  } catch (error) {
    if (database.inTransaction) return () => reject(error)
    // SQLite took back the whole transaction by itself, as it may when the disk is full: no other job is to blame.
    reject(error)
    throw new StoreUnavailable(error)
  }
}

/** While another process writes, the lock is asked for again and again. Before it is there nothing was done. */
function whenUnlocked<Result>(work: () => Result): Result | Promise<Result> {
  try {
    return work()
  } catch (error) {
    if (!isLocked(error)) throw error
    return again(work)
  }
}

async function again<Result>(work: () => Result): Promise<Result> {
  const end = performance.now() + BUSY_TIMEOUT
  for (;;) {
    await delay(PAUSE)
    try {
      return work()
    } catch (error) {
      if (!isLocked(error) || performance.now() > end) throw error
    }
  }
}

/**
 * After an error of the disk a commit may be whole in the log, where recovery finds it. Not after one of writing: the
 * last frame is the one that commits, and it is not whole.
 */
const leavesCommitOpen = (error: unknown) => /^SQLITE_IOERR(?!_WRITE)/.test(codeOf(error) ?? '')

const isLocked = (error: unknown) => codeOf(error)?.startsWith('SQLITE_BUSY')

/** Compiling a statement costs more than running it. There are as many as the repositories have queries. */
function runner(database: BetterSqlite3.Database): Run {
  const statements = new Map<string, BetterSqlite3.Statement<unknown[]>>()
  const prepared = (sql: string) => {
    const statement = statements.get(sql) ?? database.prepare(sql)
    statements.set(sql, statement)
    return statement
  }
  return <Row>({ sql, parameters }: Statement<Row>) => prepared(sql).all(parameters.map(encode)) as Row[]
}

/** SQLite knows neither dates nor booleans: they are kept as milliseconds, and as 0 or 1. */
const encode = (value: unknown) => (value instanceof Date || typeof value === 'boolean' ? Number(value) : value)
