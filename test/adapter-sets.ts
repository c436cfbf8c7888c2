/**
 * Every adapter set, for specs that hold all of them to one contract:
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
 * PostgreSQL is a real server of this run's own, or the one that TEST_DATABASE_URL names. Importing this file is
 * enough: hooks of its own start the server before the first test and stop it after the last. Where it can't start,
 * the run fails.
 */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import pg from 'pg'
import { type Postgresql, startPostgresql } from '#test/embedded-postgresql.ts'

export interface AdapterSet {
  readonly name: string
  /** A DATABASE_URL for a database that nobody else has, without tables. Nothing for the caller to remove. */
  databaseUrl(): Promise<string>
}

/** What it stores outlives the process that stored it. */
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

export const postgresql: PersistentSet = {
  name: 'PostgreSQL',
  async databaseUrl() {
    const name = `tasks_test_${randomUUID().replaceAll('-', '')}`
    await administer(`create database ${name}`)
    databases.push(name)
    const url = new URL(await serverUrl)
    url.pathname = `/${name}`
    return url.href
  },
  async deleteUser(databaseUrl, id) {
    const client = new pg.Client(databaseUrl)
    await client.connect()
    await client.query('delete from users where id = $1', [id])
    await client.end()
  },
}

export const persistentSets: readonly PersistentSet[] = [sqlite, postgresql]
export const adapterSets: readonly AdapterSet[] = [inMemory, ...persistentSets]

const sqliteFolder = temporaryFolder('tasks-sqlite-')
const ownServer = process.env.TEST_DATABASE_URL ? undefined : startServer()
const serverUrl = ownServer?.then(({ url }) => url) ?? Promise.resolve(process.env.TEST_DATABASE_URL as string)
// The hook below reports it; until that runs it must not end the process.
serverUrl.catch(() => undefined)
const databases: string[] = []

before('start PostgreSQL', async function () {
  this.timeout(60_000)
  await administer('select 1')
})

after('stop PostgreSQL', async function () {
  this.timeout(60_000)
  if (ownServer) await (await ownServer).stop()
  else for (const name of databases) await administer(`drop database if exists ${name} with (force)`)
})

async function administer(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: await serverUrl })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

async function startServer(): Promise<Postgresql> {
  try {
    return await startPostgresql({
      folder: temporaryFolder('tasks-postgresql-'),
      // Nothing here has to survive a power cut.
      initdb: ['--no-sync'],
      settings: ['fsync=off', 'synchronous_commit=off', 'max_connections=200'],
    })
  } catch (cause) {
    throw new Error('There is no PostgreSQL for the tests; TEST_DATABASE_URL can name one.', { cause })
  }
}

/** Removed when the process ends, whatever ends it. */
function temporaryFolder(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), prefix))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 9 }))
  return folder
}
