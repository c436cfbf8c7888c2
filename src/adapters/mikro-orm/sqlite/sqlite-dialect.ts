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
 * Removes Kysely's lock on the only connection, which Kysely never releases if a transaction fails to begin. Migrations run one
 * after the other, so they need no such lock.
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

  /** Takes the write lock first, because a transaction that begins with a read fails if another process writes before it. */
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }

  /** SQLite rolls back by itself if the disk is full; the error of a second rollback would hide that reason. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#database.inTransaction) await super.rollbackTransaction(connection)
  }
}
