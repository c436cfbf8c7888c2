import { resolve } from 'node:path'
import { IsolationLevel, MikroORM } from '@mikro-orm/core'
import type { AbstractSqlDriver, SqlEntityManager } from '@mikro-orm/sqlite'
import { type Dialect, type Kysely, sql } from 'kysely'
import type pg from 'pg'
import { describeTarget, type PersistentTarget, type PostgresqlTarget } from '../../database-target.ts'
import type { ApiTokenRepository, SessionRepository, UserRepository } from '../../domain/accounts/ports.ts'
import { StoreUnavailable } from '../../domain/errors.ts'
import type { TaskRepository } from '../../domain/tasks/ports.ts'
import { OperatorError } from '../../operator-error.ts'
import { COMMAND_LINE, mikroOrmOptions } from './options.ts'
import { type PoolOptions, postgresqlPool, SharedConnections } from './postgresql/postgresql-connections.ts'
import { RollbackTolerantDialect } from './postgresql/postgresql-dialect.ts'
import { PostgresqlServers, ReadOnlyServer } from './postgresql/postgresql-servers.ts'
import { postgresqlStore } from './postgresql/postgresql-store.ts'
import { raiseCounters } from './postgresql/raise-counters.ts'
import { preparedQuery, statement } from './prepared-query.ts'
import { purgeDeletions } from './purge-deletions.ts'
import { purgeExpired } from './purge-expired.ts'
import { purgeKeys } from './purge-keys.ts'
import { LeaverPurge } from './purge-leavers.ts'
import { MIGRATIONS_TABLE, type Tables } from './records.ts'
import { MikroOrmApiTokenRepository } from './repositories/mikro-orm-api-token-repository.ts'
import { MikroOrmSessionRepository } from './repositories/mikro-orm-session-repository.ts'
import { MikroOrmTaskRepository } from './repositories/mikro-orm-task-repository.ts'
import { MikroOrmUserRepository } from './repositories/mikro-orm-user-repository.ts'
import { ImmediateTransactionDialect } from './sqlite/sqlite-dialect.ts'
import { type FileLog, OpenFiles } from './sqlite/sqlite-file.ts'
import { openSqlite, openSqliteReader, openSqliteWriter, sqliteStore } from './sqlite/sqlite-store.ts'
import type { Pending, Store } from './store.ts'
import { reasonOf } from './store-errors.ts'

const noLog: FileLog = { info() {}, error() {} }

/** The message names the path, or the hosts and ports, and the reason in one line; never a password. */
export class DatabaseUnavailable extends OperatorError {}

export interface SessionBounds {
  readonly lastUsed: Date
  readonly created: Date
}

export interface Database {
  readonly tasks: TaskRepository
  readonly users: UserRepository
  readonly sessions: SessionRepository
  readonly apiTokens: ApiTokenRepository
  /** PostgreSQL pool, for shared limits. */
  readonly pool: pg.Pool | undefined
  /** Schema of the tables on PostgreSQL. */
  readonly schema: string | undefined
  pending(): Pending
  /** Reads a table. @throws StoreUnavailable */
  ping(): Promise<void>
  /**
   * Brings the schema up to date. On PostgreSQL, one instance migrates while others that start concurrently wait.
   *
   * @returns the names of the applied migrations, in order
   * @throws DatabaseUnavailable
   */
  migrate(): Promise<string[]>
  /** Whether all migrations are applied. Writes nothing. @throws DatabaseUnavailable */
  upToDate(): Promise<boolean>
  /** Purges the deletions of tasks before a time; a replica that has not read them must start again. @throws StoreUnavailable */
  purgeDeletions(before: Date): Promise<void>
  /** Purges the results of requests with an idempotency key before a time. @throws StoreUnavailable */
  purgeKeys(before: Date): Promise<void>
  /** Purges the sessions whose last use, or whose start, was before a time. @throws StoreUnavailable */
  purgeSessions(before: SessionBounds): Promise<void>
  /** Purges the API tokens that expired before a time. @throws StoreUnavailable */
  purgeApiTokens(before: Date): Promise<void>
  /**
   * Deletes the remaining rows of users who left. The deletion begins when they leave; this continues it after a crash.
   *
   * @throws StoreUnavailable
   */
  purgeLeavers(): Promise<void>
  /**
   * Raises the counters of ids and revisions, after a restore or failover of PostgreSQL that may have lost writes, so that no
   * id, revision or position of a lost write is assigned again. SQLite's restore includes this. @throws DatabaseUnavailable
   */
  raiseCounters(): Promise<void>
  close(): Promise<void>
}

/**
 * Opens the database. Creates a missing SQLite file but not its directory.
 *
 * @param log receives a line when the SQLite file is removed or replaced, and when it is back
 * @throws DatabaseUnavailable
 */
export async function openDatabase(
  target: PersistentTarget,
  poolOptions = COMMAND_LINE,
  log: FileLog = noLog,
  maxTasksPerUser = Number.MAX_SAFE_INTEGER,
): Promise<Database> {
  const unavailable = (done: string) => (cause: unknown) => {
    throw new DatabaseUnavailable(`The ${describeTarget(target)} cannot be ${done}: ${reasonOf(cause)}`, { cause })
  }
  const { orm, connections, schema } = await connect(target, poolOptions, log).catch(unavailable('opened'))
  const kysely = orm.em.getKysely<Tables>()
  // Name the schema in every statement, because later sessions may have another search_path.
  const store = connections.store(schema === undefined ? kysely : kysely.withSchema(schema))
  const ping = connections.pingOf(store)
  const leavers = new LeaverPurge(store)
  return {
    tasks: new MikroOrmTaskRepository(store, { maxTasks: maxTasksPerUser }),
    users: new MikroOrmUserRepository(store, (id) => leavers.start(id)),
    sessions: new MikroOrmSessionRepository(store),
    apiTokens: new MikroOrmApiTokenRepository(store),
    pool: connections.pool,
    schema,
    pending: () => store.pending(),
    async ping() {
      await ping().catch((error) => {
        throw error instanceof StoreUnavailable ? error : new StoreUnavailable(error)
      })
    },
    migrate: () => migrate(orm, target).catch(unavailable('migrated')),
    upToDate: () => upToDate(orm, schema).catch(unavailable('read')),
    purgeDeletions: (before) => purgeDeletions(store, before),
    purgeKeys: (before) => purgeKeys(store, before),
    async purgeSessions({ lastUsed, created }) {
      await purgeExpired(store, ['sessions', 'last_used_at'], lastUsed)
      await purgeExpired(store, ['sessions', 'created_at'], created)
    },
    purgeApiTokens: (before) => purgeExpired(store, ['api_tokens', 'expires_at'], before),
    purgeLeavers: () => leavers.run(),
    async raiseCounters() {
      if (schema === undefined) return
      const raised = orm.em.fork().transactional((em) => raiseCounters((sql) => em.execute(sql), schema))
      await raised.catch(unavailable('written'))
    },
    async close() {
      await leavers.stop()
      await orm.close()
      await connections.close()
    },
  }
}

async function connect(target: PersistentTarget, poolOptions: PoolOptions, log: FileLog) {
  const connections = connectionsOf(target, poolOptions, log)
  try {
    const schema = await connections.check()
    const orm = await MikroORM.init(mikroOrmOptions(target, () => connections.dialect, schema))
    return { orm, connections, schema }
  } catch (error) {
    await connections.close()
    throw error
  }
}

interface Connections {
  /** The connections of MikroORM, for migrations and the schema check. */
  readonly dialect: Dialect
  readonly pool: pg.Pool | undefined
  /** The store for requests. */
  store(kysely: Kysely<Tables>): Store
  /** Returns a health check that reads a table, because a database without tables serves no request. */
  pingOf(store: Store): () => Promise<unknown>
  /** @returns the current schema, if the database has schemas */
  check(): Promise<string | undefined>
  close(): Promise<void>
}

function connectionsOf(target: PersistentTarget, poolOptions: PoolOptions, log: FileLog): Connections {
  return target.kind === 'sqlite' ? sqliteConnections(target.path, log) : postgresqlConnections(target, poolOptions)
}

/** Maximum number of concurrent long reads; more than one, so that a shorter read need not wait for a longer one. */
const STEPPERS = 4

function sqliteConnections(path: string, log: FileLog): Connections {
  const migrator = openSqlite(path)
  const writer = openSqliteWriter(path)
  const reader = openSqliteReader(path)
  const steppers = Array.from({ length: STEPPERS }, () => openSqliteReader(path))
  const files = new OpenFiles(resolve(path), log)
  return {
    dialect: new ImmediateTransactionDialect(migrator),
    pool: undefined,
    store: (kysely) => sqliteStore(kysely, { writer, reader, steppers }, files),
    pingOf(store) {
      const anyUser = preparedQuery(() => store.kysely.selectFrom('users').select('id').limit(1))
      return () => store.read(anyUser({}))
    },
    check: async () => undefined,
    async close() {
      files.close()
      for (const each of [...steppers, reader, writer, migrator]) each.close()
    },
  }
}

/** A second connection keeps PostgreSQL busy while the responses of the first are in transit. */
const READERS = 2
const DECIDERS = 2

function postgresqlConnections(target: PostgresqlTarget, options: PoolOptions): Connections {
  const servers = new PostgresqlServers(target)
  const pool = postgresqlPool(servers, options)
  const writer = new SharedConnections(servers, options, 1)
  const deciders = Array.from({ length: DECIDERS }, () => new SharedConnections(servers, options, 1))
  const readers = new SharedConnections(servers, options, READERS)
  return {
    dialect: new RollbackTolerantDialect({ pool }),
    pool,
    store: (kysely) => postgresqlStore(kysely, { writer, deciders, readers }),
    pingOf(store) {
      const anyUser = store.kysely.selectFrom('users').select('id').limit(1)
      // A server that has become read-only still serves reads.
      const state = sql<string>`current_setting('transaction_read_only')`.as('read_only')
      const query = preparedQuery(() => store.kysely.selectNoFrom([state, anyUser.as('any_user')]))
      return async () => {
        const [row] = await store.read(query({}))
        if (row?.read_only === 'off') return
        servers.leaveReadOnly()
        throw new ReadOnlyServer()
      }
    },
    async check() {
      await servers.primary()
      const query = { text: SCHEMA, query_timeout: servers.timeouts.response }
      const others = [writer, readers, ...deciders].map((connections) => connections.run(ONE))
      const [{ rows }] = await Promise.all([pool.query(query), ...others])
      return rows[0].schema ?? undefined
    },
    async close() {
      if (!pool.ending) await pool.end()
      for (const connections of [writer, readers, ...deciders]) await connections.end()
    },
  }
}

const ONE = statement('select 1')
const SCHEMA = 'select current_schema() as schema'

/** Key of an advisory lock: an arbitrary number, the same in every release. */
const MIGRATION_LOCK = 7_235_174

async function migrate({ em, migrator }: MikroORM<AbstractSqlDriver>, { kind }: PersistentTarget): Promise<string[]> {
  // The first try fails if another process creates MikroORM's own table concurrently; the second finds that table.
  if (kind === 'sqlite') return namesOf(await migrator.up().catch(() => migrator.up()))
  const migrateUnderLock = async (locked: SqlEntityManager) => {
    await locked.execute(WITHOUT_TIMEOUTS)
    await locked.execute(`select pg_advisory_xact_lock(${MIGRATION_LOCK})`)
    return namesOf(await migrator.up({ transaction: locked.getTransactionContext() }))
  }
  // At a stricter level, the transaction would not see what another instance applied while this one waited for the lock.
  return em.fork().transactional(migrateUnderLock, { isolationLevel: IsolationLevel.READ_COMMITTED })
}

/** A migration, and the wait for that of another instance, may take any time. */
const WITHOUT_TIMEOUTS = `select set_config(name, '0', true) from (values
  ('statement_timeout'), ('lock_timeout'), ('idle_in_transaction_session_timeout'), ('transaction_timeout')) as ours (name)
  where current_setting(name, true) is not null`

async function upToDate({ em, migrator }: MikroORM<AbstractSqlDriver>, schema?: string): Promise<boolean> {
  // The migrator would create a missing table.
  const tables = await em.getKysely().introspection.getTables()
  const exists = tables.some((table) => table.name === MIGRATIONS_TABLE && table.schema === schema)
  return exists && (await migrator.getPending()).length === 0
}

const namesOf = (migrations: readonly { name: string }[]) => migrations.map(({ name }) => name)
