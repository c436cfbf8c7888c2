import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Postgresql, startPostgresql } from '#test/embedded-postgresql.ts'

/** A PostgreSQL that a spec may stop and start again, at the same port and with what it has kept. */
export class PostgresqlServer {
  readonly url: string
  readonly #folder: string
  readonly #server: Postgresql

  private constructor(folder: string, server: Postgresql) {
    this.url = server.url
    this.#folder = folder
    this.#server = server
  }

  static async started(): Promise<PostgresqlServer> {
    const folder = mkdtempSync(join(tmpdir(), 'tasks-postgresql-'))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
    // A commit that was acknowledged is in the log before, which outlives the server, though not a power cut.
    const options = { folder, persistent: true, initdb: ['--no-sync'], settings: ['fsync=off'] }
    return new PostgresqlServer(folder, await startPostgresql(options))
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
