import type BetterSqlite3 from 'better-sqlite3'
import { CompiledQuery, type DatabaseConnection, SqliteAdapter, SqliteDialect, SqliteDriver } from 'kysely'

/** For MikroORM, whose migrations are transactions. */
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
 * Kysely locks the only connection of a database for a transaction, and never unlocks it when the transaction fails to
 * begin. Migrations run one after the other, so they need no such lock.
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

  /** Takes the write lock first: one that began as a reader fails at once when another process wrote meanwhile. */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }

  /** SQLite has rolled back already when the disk is full; a second one would hide the reason. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#database.inTransaction) await super.rollbackTransaction(connection)
  }
}
