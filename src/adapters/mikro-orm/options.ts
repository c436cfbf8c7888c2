import { join } from 'node:path'
import type { Options } from '@mikro-orm/core'
import { Migrator } from '@mikro-orm/migrations'
import { PostgreSqlDriver } from '@mikro-orm/postgresql'
import { type AbstractSqlDriver, SqliteDriver } from '@mikro-orm/sqlite'
import type { Dialect } from 'kysely'
import pg from 'pg'
import { MigrationGenerator } from './migration-generator.ts'
import { type PoolOptions, postgresqlPool } from './postgresql-connections.ts'
import { ReleasingDialect } from './postgresql-dialect.ts'
import { MIGRATIONS_TABLE, RATE_LIMITS_TABLE, TaskRecord, UserRecord } from './records.ts'
import { OneWriterDialect } from './sqlite-dialect.ts'
import { openSqlite } from './sqlite-store.ts'

/** Where tasks are kept. */
export type Target =
  /** `path` may be relative to the working directory. */
  | { readonly kind: 'sqlite'; readonly path: string }
  /** `url` may hold a password: never print it. */
  | { readonly kind: 'postgresql'; readonly url: string }

/** For a single command. While one connection holds the lock of the migrations, MikroORM asks on another. */
export const COMMAND_LINE: PoolOptions = { size: 2, preparedStatements: false }

/**
 * For the service and for the command line of MikroORM alike.
 *
 * @param dialect makes connections, which MikroORM closes
 * @param schema where the tables are, if not in the default one of the database
 */
export function mikroOrmOptions(
  target: Target,
  dialect = () => dialectOf(target),
  schema?: string,
): Partial<Options<AbstractSqlDriver>> {
  return {
    ...driverOf(target),
    driverOptions: dialect,
    entities: [UserRecord, TaskRecord],
    extensions: [Migrator],
    // The operator makes the database; ours are the tables in it.
    ensureDatabase: false,
    schemaGenerator: { skipTables: [RATE_LIMITS_TABLE] },
    migrations: {
      // It would look for its table elsewhere than it makes it.
      tableName: schema === undefined ? MIGRATIONS_TABLE : `${schema}.${MIGRATIONS_TABLE}`,
      path: join(import.meta.dirname, 'migrations'),
      generator: MigrationGenerator,
      glob: 'migration-*.ts',
      fileName: (timestamp, name = 'change') => `migration-${timestamp}-${kebabCase(name)}`,
      snapshot: false,
      silent: true,
    },
  }
}

function driverOf(target: Target) {
  if (target.kind === 'sqlite') return { driver: SqliteDriver, dbName: target.path }
  // What the URL leaves out, pg takes from the environment or from the user's name.
  const { database = '' } = new pg.Client(target.url)
  return { driver: PostgreSqlDriver, dbName: database }
}

function dialectOf(target: Target): Dialect {
  return target.kind === 'sqlite'
    ? new OneWriterDialect(openSqlite(target.path))
    : new ReleasingDialect({ pool: postgresqlPool(target.url, COMMAND_LINE) })
}

const kebabCase = (name: string) => name.toLowerCase().replace(/[^a-z0-9]+/g, '-')
