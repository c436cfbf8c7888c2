/**
 * Every adapter set, for specs that apply one contract to all of them:
 *
 * ```ts
 * for (const { name, databaseUrl } of adapterSets) {
 *   describe(`the tasks API (${name})`, () => {
 *     before(async () => { url = await databaseUrl() }) // a DATABASE_URL: fresh, empty, without tables
 *     after(() => service.stop())                       // close what you opened; the database is removed after the run
 *   })
 * }
 * ```
 *
 * PostgreSQL is the server of the run (`run-postgresql.ts`).
 */
import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { databaseFolder } from '#test/database-folder.ts'
import { query } from '#test/query.ts'

const NO_SERVER = 'No PostgreSQL is running: give Mocha the option --require ./test/run-postgresql.ts.'

export interface AdapterSet {
  readonly name: string
  /** The DATABASE_URL of a new database without tables; removed after the run. */
  databaseUrl(): Promise<string>
}

/** An adapter set whose data outlives the process, and that several processes can share. */
export interface PersistentSet extends AdapterSet {
  /** Deletes a user and their tasks directly in the database, as an operator can. */
  deleteUser(databaseUrl: string, id: number): Promise<void>
}

const inMemory: AdapterSet = { name: 'in memory', databaseUrl: async () => 'memory:' }

export const sqlite: PersistentSet = {
  name: 'SQLite',
  databaseUrl: async () => `sqlite:///${join(sqliteFolder, `${randomUUID()}.db`)}`,
  async deleteUser(databaseUrl, id) {
    const database = new BetterSqlite3(databaseUrl.slice('sqlite:///'.length))
    database.pragma('foreign_keys = on')
    database.prepare('delete from users where id = ?').run(id)
    database.close()
  },
}

/** Creates separate databases, for specs that alter a database or look at all of its schemas or sessions. */
export const postgresql: PersistentSet = {
  name: 'PostgreSQL',
  async databaseUrl() {
    const { TEST_DATABASE_URL, TEST_DATABASE_PREFIX } = process.env
    if (!TEST_DATABASE_URL || !TEST_DATABASE_PREFIX) throw new Error(NO_SERVER)
    const name = TEST_DATABASE_PREFIX + randomUUID().replaceAll('-', '')
    await query(TEST_DATABASE_URL, `create database ${name}`)
    const url = new URL(TEST_DATABASE_URL)
    url.pathname = `/${name}`
    return url.href
  },
  async deleteUser(databaseUrl, id) {
    // TaskListRecord says why the list is locked first.
    const ownerOfList = 'select owner_id from task_lists where owner_id = $1 for update'
    await query(databaseUrl, `delete from users where id in (${ownerOfList})`, [id])
  },
}

/** Uses a schema instead of a database, because PostgreSQL writes 300 files for each new database. */
const postgresqlSchemas: PersistentSet = {
  ...postgresql,
  async databaseUrl() {
    sharedDatabase ??= postgresql.databaseUrl()
    const url = new URL(await sharedDatabase)
    const schema = `schema_${randomUUID().replaceAll('-', '')}`
    await query(url.href, `create schema ${schema}`)
    url.searchParams.set('options', `-c search_path=${schema}`)
    return url.href
  },
}

let sharedDatabase: Promise<string> | undefined

/** Through PgBouncer 1.18, a URL cannot set the search path. */
const separate = process.env.TEST_SEPARATE_DATABASES === 'true'

/** For specs that read tables or statements; the contracts run on `persistentSets`. */
export const sqlSets: readonly PersistentSet[] = [sqlite, separate ? postgresql : postgresqlSchemas]
export const persistentSets: readonly PersistentSet[] = [...sqlSets]
export const adapterSets: readonly AdapterSet[] = [inMemory, ...persistentSets]

const sqliteFolder = databaseFolder('tasks-sqlite-')
process.once('exit', () => rmSync(sqliteFolder, { recursive: true, force: true, maxRetries: 9 }))
