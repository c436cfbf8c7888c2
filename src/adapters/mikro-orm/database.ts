import { resolve } from 'node:path'
import { MikroORM } from '@mikro-orm/core'
import type { AbstractSqlDriver } from '@mikro-orm/sqlite'
import { Kysely, sql } from 'kysely'
import type pg from 'pg'
import { StoreUnavailable } from '../../domain/errors.ts'
import type { TaskRepository, UserRepository } from '../../domain/ports.ts'
import { MikroOrmTaskRepository } from './mikro-orm-task-repository.ts'
import { MikroOrmUserRepository } from './mikro-orm-user-repository.ts'
import { COMMAND_LINE, mikroOrmOptions, type Target } from './options.ts'
import { type PoolOptions, postgresqlPool, sharedDialect } from './postgresql-dialect.ts'
import { prepare } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { postgresqlStore, sqliteStore } from './store.ts'
import { reasonOf } from './store-errors.ts'

/** Its message is one line that names the path, or the host and the port, and the reason; never a password. */
export class DatabaseUnavailable extends Error {}

export interface Database {
  readonly tasks: TaskRepository
  readonly users: UserRepository
  /** Of PostgreSQL, for who shares it. */
  readonly pool: pg.Pool | undefined
  /** Reads a table. @throws StoreUnavailable */
  ping(): Promise<void>
  /**
   * Brings the schema up to date. Of instances that start at once on PostgreSQL one does it, and the others wait.
   *
   * @returns the names of the migrations that it applied, in their order.
   * @throws DatabaseUnavailable
   */
  migrate(): Promise<string[]>
  /** The names of the migrations that are still to be applied. */
  pending(): Promise<string[]>
  close(): Promise<void>
}

/**
 * Opens the database; a file of SQLite that is not there is made, its folder is not.
 *
 * @throws DatabaseUnavailable
 */
export async function openDatabase(target: Target, poolOptions = COMMAND_LINE): Promise<Database> {
  const { orm, pool, groups } = await connect(target, poolOptions).catch((cause) => {
    throw new DatabaseUnavailable(`${describe(target)} cannot be opened: ${reasonOf(cause)}`, { cause })
  })
  const reader = orm.em.getKysely<Tables>({ type: 'read' })
  const store = groups ? postgresqlStore(groups, reader) : sqliteStore(orm.em.getKysely<Tables>(), reader)
  const anyUser = prepare(() => reader.selectFrom('users').select('id').limit(1))
  return {
    tasks: new MikroOrmTaskRepository(store),
    users: new MikroOrmUserRepository(store),
    pool,
    async ping() {
      // Without its tables the database serves nobody either.
      await store.read(anyUser, {}).catch((error) => {
        throw error instanceof StoreUnavailable ? error : new StoreUnavailable(error)
      })
    },
    migrate: () =>
      migrate(orm, target).catch((cause) => {
        throw new DatabaseUnavailable(`${describe(target)} cannot be migrated: ${reasonOf(cause)}`, { cause })
      }),
    pending: async () => namesOf(await orm.migrator.getPending()),
    async close() {
      await groups?.destroy()
      await orm.close()
    },
  }
}

/** A connection for groups of writes alone: MikroORM has no name for such a one. */
const groupsOf = (url: string, options: PoolOptions) => new Kysely<Tables>({ dialect: sharedDialect(url, options, 1) })

async function connect(target: Target, poolOptions: PoolOptions) {
  const pool = target.kind === 'postgresql' ? postgresqlPool(target.url, poolOptions) : undefined
  const groups = target.kind === 'postgresql' ? groupsOf(target.url, poolOptions) : undefined
  const orm = await MikroORM.init(mikroOrmOptions(target, poolOptions, pool))
  try {
    await orm.connect()
    // Kysely closes only what was used, so each kind of connection is.
    for (const type of ['write', 'read'] as const) await sql`select 1`.execute(orm.em.getKysely({ type }))
    if (groups) await sql`select 1`.execute(groups)
    return { orm, pool, groups }
  } catch (error) {
    await groups?.destroy()
    await orm.close()
    throw error
  }
}

/** Any number, as long as every release has the same. */
const MIGRATION_LOCK = 7_235_174

async function migrate({ em, migrator }: MikroORM<AbstractSqlDriver>, { kind }: Target): Promise<string[]> {
  // Another process may just have made MikroORM's own table; the second time it is there.
  if (kind === 'sqlite') return namesOf(await migrator.up().catch(() => migrator.up()))
  return em.fork().transactional(async (locked) => {
    // A migration takes as long as it takes, and so does the wait for another instance's.
    await locked.execute('set local statement_timeout = 0')
    await locked.execute('set local idle_in_transaction_session_timeout = 0')
    await locked.execute(`select pg_advisory_xact_lock(${MIGRATION_LOCK})`)
    return namesOf(await migrator.up({ transaction: locked.getTransactionContext() }))
  })
}

const namesOf = (migrations: readonly { name: string }[]) => migrations.map(({ name }) => name)

function describe(target: Target): string {
  if (target.kind === 'sqlite') return `The SQLite database ${resolve(target.path)}`
  const { hostname, port, searchParams } = new URL(target.url)
  return `The PostgreSQL database at ${searchParams.get('host') ?? hostname}:${port || 5432}`
}
