import type { Kysely, RawBuilder } from 'kysely'
import type { Statement } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { storeError } from './store-errors.ts'

/** What becomes of what was read. */
export interface Decision<Result> {
  readonly result: Result
  /** Does nothing, and gives no row, if somebody wrote since. */
  readonly write?: Statement<unknown>
}

/** How many statements are not answered yet. */
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
  /** Runs a statement that reads what is committed. */
  read<Row>(query: Statement<Row>): Promise<Row[]>
  /**
   * Runs a statement that writes: committed when the promise resolves.
   *
   * @param row the id of the one that it locks, where there is one already
   */
  write<Row>(query: Statement<Row>, row?: number): Promise<Row[]>
  /**
   * Reads the row of that id, and writes what `decide` says, or nothing where it says so or throws: committed when the
   * promise resolves. It decides again when somebody wrote meanwhile.
   */
  change<Row, Result>(row: number, query: Statement<Row>, decide: (rows: Row[]) => Decision<Result>): Promise<Result>
  pending(): Pending
}

/** Errors of a driver as the rest of the application may know them. */
export async function translated<Result>(result: Promise<unknown>): Promise<Result> {
  try {
    return (await result) as Result
  } catch (error) {
    throw storeError(error)
  }
}
