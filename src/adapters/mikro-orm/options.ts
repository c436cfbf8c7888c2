import { join } from 'node:path'
import type { Options } from '@mikro-orm/core'
import { Migrator } from '@mikro-orm/migrations'
import { PostgreSqlDriver } from '@mikro-orm/postgresql'
import { type AbstractSqlDriver, SqliteDriver } from '@mikro-orm/sqlite'
import type { Dialect } from 'kysely'
import type { PersistentTarget } from '../../database-target.ts'
import { MigrationGenerator } from './migration-generator.ts'
import { type PoolOptions, postgresqlPool } from './postgresql/postgresql-connections.ts'
import { RollbackTolerantDialect } from './postgresql/postgresql-dialect.ts'
import { PostgresqlServers } from './postgresql/postgresql-servers.ts'
import {
  ApiTokenRecord,
  IdempotencyKeyRecord,
  MIGRATIONS_TABLE,
  RATE_LIMITS_TABLE,
  SessionRecord,
  TaskListRecord,
  TaskRecord,
  TombstoneRecord,
  UserRecord,
} from './records.ts'
import { ImmediateTransactionDialect } from './sqlite/sqlite-dialect.ts'
import { openSqlite } from './sqlite/sqlite-store.ts'

/** Options for commands: one connection holds the migration lock while MikroORM uses another. */
export const COMMAND_LINE: PoolOptions = { size: 2, preparedStatements: false }

/**
 * Options for the service and for MikroORM's command line.
 *
 * @param dialect creates connections, which MikroORM closes
 * @param schema the schema of the tables, if not the database's default
 */
export function mikroOrmOptions(
  target: PersistentTarget,
  dialect = () => dialectOf(target),
  schema?: string,
): Partial<Options<AbstractSqlDriver>> {
  return {
    ...driverOf(target),
    driverOptions: dialect,
    entities: [
      UserRecord,
      TaskRecord,
      TaskListRecord,
      TombstoneRecord,
      IdempotencyKeyRecord,
      SessionRecord,
      ApiTokenRecord,
    ],
    extensions: [Migrator],
    // The operator creates the database.
    ensureDatabase: false,
    schemaGenerator: { skipTables: [RATE_LIMITS_TABLE] },
    migrations: {
      // Without a schema, MikroORM creates this table in one schema and looks for it in another.
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

function driverOf(target: PersistentTarget) {
  if (target.kind === 'sqlite') return { driver: SqliteDriver, dbName: target.path }
  return { driver: PostgreSqlDriver, dbName: target.database }
}

function dialectOf(target: PersistentTarget): Dialect {
  return target.kind === 'sqlite'
    ? new ImmediateTransactionDialect(openSqlite(target.path))
    : new RollbackTolerantDialect({ pool: postgresqlPool(new PostgresqlServers(target), COMMAND_LINE) })
}

const kebabCase = (name: string) => name.toLowerCase().replace(/[^a-z0-9]+/g, '-')
