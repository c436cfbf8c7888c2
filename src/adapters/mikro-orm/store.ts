import type { Kysely, RawBuilder } from 'kysely'
import type { Statement } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { storeError } from './store-errors.ts'

/**
 * Reads under the owner's lock, decides without waiting, and writes all or nothing. A transaction that reads nothing takes no
 * lock of its own: its statements lock what they write.
 */
export interface Transaction<Seen extends object, Result> {
  /** The user whose list it locks. */
  readonly owner?: number
  /** What it reads and writes of the list, for example ids of tasks; the whole list if absent. */
  readonly keys?: readonly (number | string)[]
  readonly reads: { readonly [Name in keyof Seen]: Statement<Seen[Name]> }
  /**
   * Returns what to write, or throws to write nothing. It is synchronous, has no effect but its result, and may run again.
   *
   * @param revision the counter of the list; undefined without a lock
   */
  decide(seen: { readonly [Name in keyof Seen]: readonly Seen[Name][] }, revision?: number): Decision<Result>
}

export interface Decision<Result> {
  readonly writes: readonly Statement[]
  /** The counter of the list from now on. */
  readonly revision?: number
  /** Called after the commit with the rows that each statement returned. */
  result(rows: readonly (readonly unknown[])[]): Result
}

/** Number of statements without an answer yet. */
export interface Pending {
  readonly reads: number
  readonly writes: number
}

/**
 * Where the repositories' statements run. Every method throws StoreUnavailable when the database cannot serve it and
 * nothing was done; `transact` throws OutcomeUnknown when the database did not answer whether it committed. Any other
 * error of the driver passes.
 */
export interface Store {
  /** To build queries with. */
  readonly kysely: Kysely<Tables>
  /** Whether WITH may contain a statement that writes. */
  readonly writableWith: boolean
  /** Selects a time as milliseconds since 1970, a form that no setting of a session changes. */
  milliseconds(column: string): RawBuilder<number>
  /** Runs a statement that reads committed data. */
  read<Row>(query: Statement<Row>): Promise<Row[]>
  /** Committed when the promise resolves. Concurrent transactions of one owner see each other's writes. */
  transact<Seen extends object, Result>(transaction: Transaction<Seen, Result>): Promise<Result>
  pending(): Pending
}

/** A transaction whose types only its author knows. */
export type AnyTransaction = Transaction<Record<string, unknown>, unknown>

/** What a transaction wrote. */
export interface Committed {
  readonly rows: readonly (readonly unknown[])[]
  result(rows: Committed['rows']): unknown
}

export const readsNothing = ({ reads }: AnyTransaction) => Object.keys(reads).length === 0

/** A transaction that reads nothing; its result is the rows of the first statement. */
export const writing = <Row>(first: Statement<Row>, ...others: readonly Statement[]): Transaction<object, Row[]> => ({
  reads: {},
  decide: () => ({ writes: [first, ...others], result: ([rows]) => rows as Row[] }),
})

/** Errors of a driver as the rest of the application may know them. */
export async function withStoreErrors<Result>(result: Promise<unknown>): Promise<Result> {
  try {
    return (await result) as Result
  } catch (error) {
    throw storeError(error)
  }
}
