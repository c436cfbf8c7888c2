import BetterSqlite3 from 'better-sqlite3'
import {
  CompiledQuery,
  type DatabaseConnection,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDialect,
  SqliteDriver,
  type SqliteStatement,
} from 'kysely'

/** How long a statement waits for another process that writes, in milliseconds; this whole process waits with it. */
const BUSY_TIMEOUT = 1_000

/**
 * Opens the file, and creates it where there is none. Kysely runs one transaction or statement at a time on the one
 * connection: everybody else waits, and nothing slips into somebody else's transaction.
 */
export const sqliteDialect = (path: string): SqliteDialect => new OneWriterDialect(open(path))

/** A connection that only reads: what is committed, whatever the writer is about. Nobody waits for anybody there. */
export function sqliteReaderDialect(path: string): SqliteDialect {
  const database = open(path)
  database.pragma('query_only = ON')
  return new ReaderDialect({ database })
}

class ReaderDialect extends SqliteDialect {
  override createAdapter(): SqliteAdapter {
    return new ReaderAdapter()
  }
}

/** There is one; but as it has no transactions, no statement has to wait for another. */
class ReaderAdapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true
  }
}

function open(path: string): StatementCache {
  const database = new BetterSqlite3(path, { timeout: BUSY_TIMEOUT })
  try {
    database.pragma('journal_mode = WAL')
    // With WAL the default, NORMAL, may lose the last commits in a power cut.
    database.pragma('synchronous = FULL')
    database.pragma('foreign_keys = ON')
  } catch (error) {
    database.close()
    throw error
  }
  return new StatementCache(database)
}

class OneWriterDialect extends SqliteDialect {
  readonly #database: StatementCache

  constructor(database: StatementCache) {
    super({ database })
    this.#database = database
  }

  override createDriver(): OneWriterDriver {
    return new OneWriterDriver(this.#database)
  }
}

class OneWriterDriver extends SqliteDriver {
  readonly #database: StatementCache

  constructor(database: StatementCache) {
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

const TRANSACTION_CONTROL = /^(?:begin|commit|rollback|savepoint|release)\b/

/** Compiling a statement costs more than running it. */
export class StatementCache implements SqliteDatabase {
  static readonly LIMIT = 100
  readonly #database: BetterSqlite3.Database
  readonly #statements = new Map<string, SqliteStatement>()

  constructor(database: BetterSqlite3.Database) {
    this.#database = database
  }

  get size(): number {
    return this.#statements.size
  }

  get inTransaction(): boolean {
    return this.#database.inTransaction
  }

  prepare(sql: string): SqliteStatement {
    const cached = this.#statements.get(sql)
    if (cached) return cached
    const statement = new Statement(this.#database.prepare(sql))
    // MikroORM writes its values into the SQL: such a statement never comes again.
    if (sql.includes('?') || TRANSACTION_CONTROL.test(sql)) {
      const [oldest] = this.#statements.keys()
      if (this.size >= StatementCache.LIMIT && oldest !== undefined) this.#statements.delete(oldest)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  pragma(source: string): void {
    this.#database.pragma(source)
  }

  close(): void {
    this.#database.close()
  }
}

/** Takes dates and booleans, which better-sqlite3 refuses, as MikroORM stores them: milliseconds, and 0 or 1. */
class Statement implements SqliteStatement {
  readonly reader: boolean
  readonly #statement: BetterSqlite3.Statement

  constructor(statement: BetterSqlite3.Statement) {
    this.reader = statement.reader
    this.#statement = statement
  }

  all(parameters: readonly unknown[]): unknown[] {
    return this.#statement.all(parameters.map(encode))
  }

  run(parameters: readonly unknown[]): BetterSqlite3.RunResult {
    return this.#statement.run(parameters.map(encode))
  }

  iterate(parameters: readonly unknown[]): IterableIterator<unknown> {
    return this.#statement.iterate(parameters.map(encode))
  }
}

const encode = (value: unknown) => (value instanceof Date || typeof value === 'boolean' ? Number(value) : value)
