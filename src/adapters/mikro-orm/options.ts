import { join } from 'node:path'
import type { Options } from '@mikro-orm/core'
import { Migrator } from '@mikro-orm/migrations'
import { PostgreSqlDriver } from '@mikro-orm/postgresql'
import { type AbstractSqlDriver, SqliteDriver } from '@mikro-orm/sqlite'
import pg from 'pg'
import { MigrationGenerator } from './migration-generator.ts'
import { type PoolOptions, postgresqlPool, sharedDialect, transactionDialect } from './postgresql-dialect.ts'
import { RATE_LIMITS_TABLE, TaskRecord, UserRecord } from './records.ts'
import { sqliteDialect, sqliteReaderDialect } from './sqlite-dialect.ts'

/** Where tasks are kept. */
export type Target =
  /** `path` may be relative to the working directory. */
  | { readonly kind: 'sqlite'; readonly path: string }
  /** `url` may hold a password: never print it. */
  | { readonly kind: 'postgresql'; readonly url: string }

/** Connections to PostgreSQL that keep it busy while answers are on their way. */
const READERS = 2

/** For who runs one command. While one connection holds the lock of the migrations, MikroORM asks on another. */
export const COMMAND_LINE: PoolOptions = { size: 2, preparedStatements: false }

/**
 * For the service and for the command line of MikroORM alike.
 *
 * @param pool for PostgreSQL, where somebody wants to keep it
 */
export function mikroOrmOptions(
  target: Target,
  poolOptions = COMMAND_LINE,
  pool?: pg.Pool,
): Partial<Options<AbstractSqlDriver>> {
  return {
    ...driverOf(target, poolOptions, pool),
    entities: [UserRecord, TaskRecord],
    extensions: [Migrator],
    // The operator makes the database; ours are the tables in it.
    ensureDatabase: false,
    schemaGenerator: { skipTables: [RATE_LIMITS_TABLE] },
    migrations: {
      path: join(import.meta.dirname, 'migrations'),
      generator: MigrationGenerator,
      glob: 'migration-*.ts',
      fileName: (timestamp, name = 'change') => `migration-${timestamp}-${kebabCase(name)}`,
      snapshot: false,
      silent: true,
    },
  }
}

function driverOf(target: Target, poolOptions: PoolOptions, pool: pg.Pool | undefined) {
  if (target.kind === 'sqlite') {
    return {
      driver: SqliteDriver,
      dbName: target.path,
      driverOptions: () => sqliteDialect(target.path),
      replicas: [{ driverOptions: () => sqliteReaderDialect(target.path) }],
      preferReadReplicas: false,
    }
  }
  // What the URL leaves out, pg takes from the environment or from the user's name.
  const { database = '' } = new pg.Client(target.url)
  return {
    driver: PostgreSqlDriver,
    dbName: database,
    driverOptions: () => transactionDialect(pool ?? postgresqlPool(target.url, poolOptions)),
    replicas: [{ driverOptions: () => sharedDialect(target.url, poolOptions, READERS) }],
    preferReadReplicas: false,
  }
}

const kebabCase = (name: string) => name.toLowerCase().replace(/[^a-z0-9]+/g, '-')
