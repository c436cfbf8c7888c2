import type BetterSqlite3 from 'better-sqlite3'
import { CompiledQuery, type DatabaseConnection, SqliteAdapter, SqliteDialect, SqliteDriver } from 'kysely'

/** Dialect for MikroORM's migrations, which run in transactions. */
export class ImmediateTransactionDialect extends SqliteDialect {
  readonly #database: BetterSqlite3.Database

  constructor(database: BetterSqlite3.Database) {
    super({ database })
    this.#database = database
  }

  override createDriver(): ImmediateTransactionDriver {
    return new ImmediateTransactionDriver(this.#database)
  }

  override createAdapter(): UnlockedAdapter {
    return new UnlockedAdapter()
  }
}

/**
 * Kysely locks the only connection for a transaction and never unlocks it if the transaction fails to begin. Migrations run
 * one after the other, so they need no such lock.
 */
class UnlockedAdapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true
  }
}

class ImmediateTransactionDriver extends SqliteDriver {
  readonly #database: BetterSqlite3.Database

  constructor(database: BetterSqlite3.Database) {
    super({ database })
    this.#database = database
  }

  /** Takes the write lock first: a transaction that begins as a reader fails if another process writes before it does. */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }

  /** SQLite rolls back by itself when the disk is full; the error of a second rollback would hide the reason. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#database.inTransaction) await super.rollbackTransaction(connection)
  }
}
