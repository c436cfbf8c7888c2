import type { Kysely } from 'kysely'
import type { PreparedQuery } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { storeError } from './store-errors.ts'

export type Run = <Values, Row>(query: PreparedQuery<Values, Row>, values: Values) => Promise<Row[]>

/**
 * Where the repositories' statements run. Both methods throw StoreUnavailable when the database can't serve them;
 * any other error of the driver passes.
 */
export class Store {
  /** To build queries with. */
  readonly kysely: Kysely<Tables>
  /** SQLite has one writer at a time and no need of them. */
  readonly hasRowLocks: boolean

  constructor(kysely: Kysely<Tables>, hasRowLocks: boolean) {
    this.kysely = kysely
    this.hasRowLocks = hasRowLocks
  }

  /** A statement of its own: committed when the promise resolves. */
  readonly run: Run = async (query, values) => {
    try {
      return await query(this.kysely, values)
    } catch (error) {
      throw storeError(error)
    }
  }

  /**
   * All or nothing, and nobody else's statement in between. The work awaits nothing but its own statements: on
   * SQLite everybody waits for it.
   *
   * Kysely's transaction and not `em.transactional`: that one keeps the connection for ever when BEGIN fails.
   */
  async transaction<Result>(work: (run: Run) => Promise<Result>): Promise<Result> {
    try {
      return await this.kysely
        .transaction()
        .execute((transaction) => work((query, values) => query(transaction, values)))
    } catch (error) {
      throw storeError(error)
    }
  }
}
