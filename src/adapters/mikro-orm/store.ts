import type { Kysely } from 'kysely'
import { StoreUnavailable } from '../../domain/errors.ts'
import { GroupCommit, oneAfterTheOther, sentTogether } from './group-commit.ts'
import type { Run } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { storeError } from './store-errors.ts'

/** Reads, and then writes what became of what it read. Gives nothing when it has to begin anew. */
type Change<Result> = (read: Run, write: Run) => Promise<Result | undefined>

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
   * A change that awaits nothing but its statements, and whose write does nothing if somebody wrote since it read.
   * Committed when the promise resolves.
   */
  change<Result>(change: Change<Result>): Promise<Result>
}

/** A file that one connection writes to, and another reads from meanwhile: what is committed, and nothing else. */
export function sqliteStore(writer: Kysely<Tables>, reader: Kysely<Tables>): Store {
  const writes = new GroupCommit(oneAfterTheOther(writer))
  return {
    kysely: reader,
    read: (query, values) => translated(query(reader, values)),
    write: (query, values) => translated(writes.add((run) => run(query, values))),
    change: (change) => translated(writes.add((run) => untilDone(() => change(run, run)))),
  }
}

/** No transaction waits for us: those of several statements would keep a connection, and rows, from everybody else. */
export function postgresqlStore(writer: Kysely<Tables>, reader: Kysely<Tables>): Store {
  const writes = new GroupCommit(sentTogether(writer))
  const write: Run = (query, values) => writes.add((run) => run(query, values))
  const read: Run = (query, values) => query(reader, values)
  return {
    kysely: reader,
    read: (query, values) => translated(read(query, values)),
    write: (query, values) => translated(write(query, values)),
    change: (change) => translated(untilDone(() => change(read, write))),
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
