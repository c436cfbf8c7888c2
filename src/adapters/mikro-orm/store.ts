import type { Kysely, RawBuilder } from 'kysely'
import type { Statement } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { storeError } from './store-errors.ts'

/**
 * Reads under the owner's lock, decides without waiting, and writes all or nothing. A transaction that reads nothing takes no
 * lock beforehand: its statements lock the rows that they write.
 */
export interface Transaction<Seen extends object, Result> {
  /** The user whose list is locked. */
  readonly owner?: number
  /** The parts of the list that are read and written, for example ids of tasks; the whole list if absent. */
  readonly keys?: readonly (number | string)[]
  /**
   * Runs after every other serial transaction, also those of other instances and owners, and sees what they wrote. It must
   * read.
   */
  readonly serial?: boolean
  readonly reads: { readonly [Name in keyof Seen]: Statement<Seen[Name]> }
  /**
   * Returns the statements to run, or throws to write nothing. Must be synchronous and without side effects, because it may run
   * several times.
   *
   * @param list undefined without a lock, and when the owner no longer exists
   */
  decide(seen: { readonly [Name in keyof Seen]: readonly Seen[Name][] }, list?: ListState): Decision<Result>
}

/** The counters of a list. */
export interface ListState {
  readonly revision: number
  /** Number of tasks. */
  readonly size: number
}

/** Reads that run one statement after the other. */
export type Steps<Result> = (run: <Row>(query: Statement<Row>) => Promise<Row[]>) => Promise<Result>

export interface Decision<Result> {
  readonly writes: readonly Statement[]
  /** The list after the writes. */
  readonly list?: ListState
  /** Called after the commit with the rows that each statement returned. */
  result(rows: readonly (readonly unknown[])[]): Result
}

/** Numbers of statements without a response. */
export interface Pending {
  readonly reads: number
  readonly writes: number
}

/**
 * Runs the statements of the repositories. Every method throws StoreUnavailable, having done nothing, when the database cannot
 * serve it. `transact` throws OutcomeUnknown when the database did not confirm the commit. Other driver errors are thrown
 * unchanged.
 */
export interface Store {
  /** Builds queries but does not run them. */
  readonly kysely: Kysely<Tables>
  /** Whether the database supports statements that write in WITH. */
  readonly writableWith: boolean
  /** Selects a time as milliseconds since 1970, which do not depend on session settings. */
  milliseconds(column: string): RawBuilder<number>
  /** Orders and compares a text by code point. */
  byCodePoint(column: string): RawBuilder<string>
  contains(column: string, part: unknown): RawBuilder<boolean>
  isAnyOf(column: string, ids: readonly number[]): RawBuilder<boolean>
  /** Runs a statement that reads committed data. */
  read<Row>(query: Statement<Row>): Promise<Row[]>
  /**
   * Reads one snapshot in steps, between which others read and write; owners take turns. Absent where no statement occupies
   * this process.
   */
  readInSteps?<Result>(owner: number, steps: Steps<Result>): Promise<Result>
  /** Committed when the promise resolves. Concurrent transactions of one owner see each other's writes. */
  transact<Seen extends object, Result>(transaction: Transaction<Seen, Result>): Promise<Result>
  pending(): Pending
}

/** A transaction with erased types. */
export type AnyTransaction = Transaction<Record<string, unknown>, unknown>

/** The rows that a transaction's statements returned, and the function that turns them into its result. */
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

/** Translates driver errors that mean the store is unavailable. */
export async function withStoreErrors<Result>(result: Promise<unknown>): Promise<Result> {
  try {
    return (await result) as Result
  } catch (error) {
    throw storeError(error)
  }
}
