/**
 * Mocha's global fixtures: one PostgreSQL server for all processes of a run. TEST_DATABASE_URL names an existing server;
 * otherwise the run starts its own and stops it at the end.
 */
import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import pg from 'pg'
import { databaseFolder } from './database-folder.ts'
import { type Postgresql, startPostgresql } from './embedded-postgresql.ts'

const external = process.env.TEST_DATABASE_URL
let server: Postgresql | undefined

/** Workers inherit both variables. */
export async function mochaGlobalSetup(): Promise<void> {
  server = external ? undefined : await startServer()
  process.env.TEST_DATABASE_URL = external || server?.url
  process.env.TEST_DATABASE_PREFIX = `tasks_test_${randomUUID().slice(0, 8)}_`
}

export async function mochaGlobalTeardown(): Promise<void> {
  if (server) await server.stop()
  else await dropDatabases()
}

async function dropDatabases(): Promise<void> {
  const client = new pg.Client(external)
  await client.connect()
  const prefix = process.env.TEST_DATABASE_PREFIX
  const { rows } = await client.query('select datname from pg_database where starts_with(datname, $1)', [prefix])
  for (const { datname } of rows) await client.query(`drop database ${datname} with (force)`)
  await client.end()
}

async function startServer(): Promise<Postgresql> {
  const folder = databaseFolder('tasks-postgresql-')
  process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 9 }))
  try {
    return await startPostgresql({
      folder,
      // The data need not survive a power cut.
      initdb: ['--no-sync'],
      settings: ['fsync=off', 'full_page_writes=off', 'synchronous_commit=off', 'max_connections=200'],
    })
  } catch (cause) {
    throw new Error('Cannot start PostgreSQL for the tests. Set TEST_DATABASE_URL to the URL of a server.', { cause })
  }
}
