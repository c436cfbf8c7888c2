import type { Kysely, RawBuilder } from 'kysely'
import type { Statement } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { storeError } from './store-errors.ts'

/** What to write after reading, and the result. */
export interface Decision<Result> {
  readonly result: Result
  /** Optimistic lock: writes nothing and returns no row when the row has changed since it was read. */
  readonly write?: Statement<unknown>
}

/** Number of statements without an answer yet. */
export interface Pending {
  readonly reads: number
  readonly writes: number
}

/**
 * Where the repositories' statements run. Every method throws StoreUnavailable when the database cannot serve it and
 * nothing was done; `write` and `change` throw OutcomeUnknown when the database did not answer whether it committed. Any
 * other error of the driver passes.
 */
export interface Store {
  /** To build queries with. */
  readonly kysely: Kysely<Tables>
  /** Selects a time as milliseconds since 1970, a form that no setting of a session changes. */
  milliseconds(column: string): RawBuilder<number>
  /** Runs a statement that reads committed data. */
  read<Row>(query: Statement<Row>): Promise<Row[]>
  /**
   * Runs a writing statement, committed when the promise resolves.
   *
   * @param row id of the row that the statement locks, if it exists already
   */
  write<Row>(query: Statement<Row>, row?: number): Promise<Row[]>
  /**
   * Reads the row with this id and writes what `decide` returns; nothing if it returns no write or throws. Committed when
   * the promise resolves. Decides again when another writer changed the row meanwhile.
   */
  change<Row, Result>(row: number, query: Statement<Row>, decide: (rows: Row[]) => Decision<Result>): Promise<Result>
  pending(): Pending
}

/** Errors of a driver as the rest of the application may know them. */
export async function withStoreErrors<Result>(result: Promise<unknown>): Promise<Result> {
  try {
    return (await result) as Result
  } catch (error) {
    throw storeError(error)
  }
}
