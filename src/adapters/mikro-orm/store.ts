import type { Kysely } from 'kysely'
import { GroupCommit } from './group-commit.ts'
import type { Run } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { storeError } from './store-errors.ts'

/** Several statements, all or nothing; it awaits nothing else, for others may wait for it. */
type Work<Result> = (run: Run) => Promise<Result>

/**
 * Where the repositories' statements run. Every method throws StoreUnavailable when the database can't serve it; any
 * other error of the driver passes.
 */
export interface Store {
  /** To build queries with. */
  readonly kysely: Kysely<Tables>
  /** SQLite has one writer at a time and no need of them. */
  readonly hasRowLocks: boolean
  /** A statement that reads. */
  readonly read: Run
  /** A statement that writes: committed when the promise resolves. */
  readonly write: Run
  /** Statements with nobody else's in between: committed when the promise resolves. */
  transaction<Result>(work: Work<Result>): Promise<Result>
}

export function sqliteStore(kysely: Kysely<Tables>): Store {
  const writes = new GroupCommit(kysely)
  return {
    kysely,
    hasRowLocks: false,
    read: (query, values) => translated(query(kysely, values)),
    write: (query, values) => translated(writes.add((run) => run(query, values))),
    transaction: (work) => translated(writes.add(work)),
  }
}

export function postgresqlStore(kysely: Kysely<Tables>): Store {
  const run: Run = (query, values) => translated(query(kysely, values))
  return {
    kysely,
    hasRowLocks: true,
    read: run,
    write: run,
    /** Kysely's and not `em.transactional`: that one keeps the connection for ever when BEGIN fails. */
    transaction: (work) =>
      translated(kysely.transaction().execute((transaction) => work((query, values) => query(transaction, values)))),
  }
}

async function translated<Result>(result: Promise<Result>): Promise<Result> {
  try {
    return await result
  } catch (error) {
    throw storeError(error)
  }
}
