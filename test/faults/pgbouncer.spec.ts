import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import pg from 'pg'
import { type Database, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { postgresqlTarget } from '#test/contracts/repositories.ts'
import { freePort } from '#test/free-port.ts'
import { allowProcesses, Service } from '#test/process.ts'
import { Program } from '#test/program.ts'
import { query } from '#test/query.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client } from './client.ts'
import { alterDatabase, DANGEROUS, expectConcurrentEdits, expectContract } from './operator-settings.ts'

const ROOT = resolve(import.meta.dirname, '../..')
/** Includes /usr/sbin, where Debian installs PgBouncer. */
const PATH = `${process.env.PATH}:/usr/sbin`

/** Connections to the server: fewer than the clients of any spec, so that transactions share them. */
const SERVER_CONNECTIONS = 3

/** PgBouncer in transaction mode, otherwise with defaults, in front of all databases of a server. */
class PgBouncer {
  readonly #port: number
  readonly #folder: string
  readonly #program: Program

  private constructor(port: number, folder: string, program: Program) {
    this.#port = port
    this.#folder = folder
    this.#program = program
  }

  static async start({ hostname, port, username, password }: URL): Promise<PgBouncer> {
    const listenPort = await freePort()
    const folder = mkdtempSync(join(tmpdir(), 'tasks-pgbouncer-'))
    // If root runs the specs, PgBouncer runs as another user, which needs access to this folder.
    chmodSync(folder, 0o755)
    const settings = [
      '[databases]',
      `* = host=${hostname} port=${port} user=${username} password=${password}`,
      '[pgbouncer]',
      'pool_mode = transaction',
      `default_pool_size = ${SERVER_CONNECTIONS}`,
      'max_client_conn = 1000',
      'listen_addr = 127.0.0.1',
      `listen_port = ${listenPort}`,
      'unix_socket_dir =',
      'auth_type = any',
    ]
    const file = join(folder, 'pgbouncer.ini')
    writeFileSync(file, settings.join('\n'))
    const isReady = (log: string) => log.includes('process up')
    return new PgBouncer(listenPort, folder, await Program.start('pgbouncer', [file], isReady, unprivileged()))
  }

  /** The URL of a database through PgBouncer. */
  urlOf(direct: string): string {
    const url = new URL(direct)
    url.port = String(this.#port)
    return url.href
  }

  async stop(): Promise<void> {
    await this.#program.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** The user that runs the tests' PostgreSQL. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {}
  const [uid, gid] = ['-u', '-g'].map((which) =>
    Number(spawnSync('id', [which, 'postgres'], { encoding: 'utf8' }).stdout),
  )
  return { uid: Number(uid), gid: Number(gid) }
}

describe('PgBouncer in transaction mode', () => {
  allowProcesses()

  let direct: string
  let bouncer: PgBouncer

  before(async () => {
    direct = await postgresql.databaseUrl()
    bouncer = await PgBouncer.start(new URL(direct))
  })
  after(() => bouncer?.stop())

  it('lets two instances migrate and serve 50 clients over three connections', async () => {
    const environment = { DATABASE_URL: bouncer.urlOf(direct), DATABASE_PREPARED_STATEMENTS: 'false' }
    const services = [new Service(environment), new Service(environment)]
    const [one = '', two = ''] = await Promise.all(services.map((service) => service.url()))
    const clients = Array.from({ length: 50 }, async (_, index) => {
      const client = await Client.signUp(one, `user-${index}@example.com`)
      const task = await client.at(two).createTask(`Task ${index}`)
      const changes = [one, two].map((url) =>
        client.at(url).send('PATCH', `/api/v1/tasks/${task.id}`, { completed: true }),
      )
      for (const { status } of await Promise.all(changes)) expect(status).to.equal(200)
      expect(await client.findLost([task])).to.deep.equal([])
    })
    await Promise.all(clients)

    const sql = 'select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'
    expect(await query(direct, sql)).to.have.length.of.at.most(SERVER_CONNECTIONS)
  })

  it('makes a start without DATABASE_PREPARED_STATEMENTS=false fail with a message that names it', async () => {
    const url = new URL(bouncer.urlOf(direct))
    const message = await new Service({ DATABASE_URL: url.href }).failureMessage()
    expect(message).to.equal(
      `The PostgreSQL database at ${url.host} cannot be opened: a connection pooler requires DATABASE_PREPARED_STATEMENTS=false`,
    )
  })

  it('keeps values, edits and durability under any settings of its sessions', async () => {
    const changed = new URL(await postgresql.databaseUrl())
    const target = postgresqlTarget(bouncer.urlOf(changed.href))
    const operator = new pg.Client(changed.href)
    await operator.connect()
    await alterDatabase(operator, changed.pathname.slice(1), DANGEROUS)
    const databases = await Promise.all([1, 2].map(() => openDatabase(target)))
    const [first] = databases as [Database]
    await first.migrate()
    await operator.query(`
      create table commits (wait text);
      create function note() returns trigger language plpgsql as $$ begin
        insert into public.commits values (current_setting('synchronous_commit')); return coalesce(new, old);
      end $$;
      create trigger note before insert or update or delete on tasks for each row execute function note()`)
    await Promise.all(databases.map(expectContract))
    await expectConcurrentEdits(databases)
    expect((await operator.query('select distinct wait from commits')).rows).to.deep.equal([{ wait: 'on' }])
    await operator.end()
    await Promise.all(databases.map((database) => database.close()))
  })

  it('is used behind a host that is down, but not while its server is read-only', async () => {
    const operator = new pg.Client(new URL('/postgres', direct).href)
    await operator.connect()
    try {
      const url = new URL(bouncer.urlOf(await postgresql.databaseUrl()))
      const hosts = `127.0.0.1:${await freePort()},${url.host}`
      const service = new Service({
        DATABASE_URL: `postgresql://${url.username}:${url.password}@${hosts}${url.pathname}`,
        DATABASE_PREPARED_STATEMENTS: 'false',
      })
      const client = await Client.signUp(await service.url())
      const ready = async () => (await client.send('GET', '/readyz')).status
      expect(await ready()).to.equal(200)

      const name = url.pathname.slice(1)
      const restart = async (readOnly: 'on' | 'off') => {
        await operator.query(`alter database ${name} set default_transaction_read_only = ${readOnly}`)
        await operator.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])
      }
      await restart('on')
      await waitUntil(async () => (await ready()) === 503)
      expect((await client.send('GET', '/api/v1/tasks')).status).to.equal(503)
      await restart('off')
      await waitUntil(async () => (await ready()) === 200)
      await client.createTask('Task')
    } finally {
      await operator.end()
    }
  })

  it('passes the HTTP specs of PostgreSQL', async function () {
    // Hundreds of specs, on a machine that may be busy.
    this.timeout(180_000)
    const mocha = ['--config', 'test/processes.mocharc.json', '--no-parallel', '--fail-zero']
    const specs = ['--grep', '\\(PostgreSQL\\)', '--reporter', 'json', 'test/http/**/*.spec.ts']
    const child = spawn(process.execPath, [join(ROOT, 'node_modules/mocha/bin/mocha.js'), ...mocha, ...specs], {
      cwd: ROOT,
      env: {
        PATH,
        NODE_NO_WARNINGS: '1',
        TEST_DATABASE_URL: bouncer.urlOf(direct),
        TEST_SEPARATE_DATABASES: 'true',
        TEST_PREPARED_STATEMENTS: 'false',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const report = JSON.parse(await text(child.stdout))
    const failures = report.failures.map(({ fullTitle, err }: { fullTitle: string; err: Error }) => [
      fullTitle,
      err.message,
    ])
    expect(failures).to.deep.equal([])
    expect(report.stats.passes).to.be.greaterThan(100)
  })
})
