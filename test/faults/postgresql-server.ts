import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Postgresql, startPostgresql } from '#test/embedded-postgresql.ts'

/** A PostgreSQL server that a spec can kill and restart with its port and data. */
export class PostgresqlServer {
  readonly url: string
  readonly #folder: string
  readonly #server: Postgresql

  private constructor(folder: string, server: Postgresql) {
    this.url = server.url
    this.#folder = folder
    this.#server = server
  }

  static async start(): Promise<PostgresqlServer> {
    const folder = mkdtempSync(join(tmpdir(), 'tasks-postgresql-'))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
    // Without fsync, acknowledged commits survive a killed server, though not a power cut.
    const options = { folder, persistent: true, initdb: ['--no-sync'], settings: ['fsync=off'] }
    return new PostgresqlServer(folder, await startPostgresql(options))
  }

  start(): Promise<void> {
    return this.#server.start()
  }

  /** Stops the server immediately, without a checkpoint. */
  async kill(): Promise<void> {
    const [pid] = readFileSync(join(this.#folder, 'postmaster.pid'), 'utf8').split('\n')
    // `stop` waits for the end.
    process.kill(Number(pid), 'SIGQUIT')
    await this.#server.stop()
  }

  async remove(): Promise<void> {
    await this.#server.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
