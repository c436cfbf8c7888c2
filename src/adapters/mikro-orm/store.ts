import type { Kysely } from 'kysely'
import { StoreUnavailable } from '../../domain/errors.ts'
import { GroupCommit } from './group-commit.ts'
import type { Run } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { storeError } from './store-errors.ts'

/** Statements that read, and then write what became of what they read. Nothing when they have to begin anew. */
type Work<Result> = (run: Run) => Promise<Result | undefined>

/**
 * Where the repositories' statements run. Every method throws StoreUnavailable when the database can't serve it; any
 * other error of the driver passes.
 */
export interface Store {
  /** To build queries with. */
  readonly kysely: Kysely<Tables>
  /** A statement that reads. */
  readonly read: Run
  /** A statement that writes: committed when the promise resolves. */
  readonly write: Run
  /**
   * Work that awaits nothing but its statements, the last of which writes, and only if nobody wrote since it read.
   * Committed when the promise resolves.
   */
  change<Result>(work: Work<Result>): Promise<Result>
}

/** In a transaction, for another process may write to the file as well. */
export function sqliteStore(kysely: Kysely<Tables>): Store {
  const writes = new GroupCommit(kysely)
  return {
    kysely,
    read: (query, values) => translated(query(kysely, values)),
    write: (query, values) => translated(writes.add((run) => run(query, values))),
    change: (work) => translated(writes.add((run) => untilDone(() => work(run)))),
  }
}

/** Every statement is a transaction of its own, for a longer one would hold a connection while it waits for us. */
export function postgresqlStore(kysely: Kysely<Tables>): Store {
  const run: Run = (query, values) => query(kysely, values)
  return {
    kysely,
    read: (query, values) => translated(run(query, values)),
    write: (query, values) => translated(run(query, values)),
    change: (work) => translated(untilDone(() => work(run))),
  }
}

/** Of those who change one thing at once somebody succeeds each time, so this many tries serve as many writers. */
const MOST_TRIES = 1_000

async function untilDone<Result>(work: () => Promise<Result | undefined>): Promise<Result> {
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const result = await work()
    if (result !== undefined) return result
  }
  throw new StoreUnavailable(new Error('too many writers at once'))
}

async function translated<Result>(result: Promise<Result>): Promise<Result> {
  try {
    return await result
  } catch (error) {
    throw storeError(error)
  }
}
