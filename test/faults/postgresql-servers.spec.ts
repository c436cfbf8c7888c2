import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { MikroORM } from '@mikro-orm/core'
import { expect } from 'chai'
import pg from 'pg'
import { type Database, DatabaseUnavailable, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { mikroOrmOptions } from '#src/adapters/mikro-orm/options.ts'
import { postgresqlPool, SharedConnections } from '#src/adapters/mikro-orm/postgresql/postgresql-connections.ts'
import { PostgresqlServers, TIMEOUTS, type Timeouts } from '#src/adapters/mikro-orm/postgresql/postgresql-servers.ts'
import { type Statement, statement } from '#src/adapters/mikro-orm/prepared-query.ts'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { expectRejection, postgresqlTarget } from '#test/contracts/repositories.ts'
import { freePort } from '#test/free-port.ts'
import { startProxy } from '#test/postgresql-proxy.ts'

const OPTIONS = { size: 3, preparedStatements: true }
const PID = statement<{ pid: number }>('select pg_backend_pid() as pid')
const INSERT = (table: string): Statement => statement(`insert into ${table} values ($1)`, [1])

describe('Connections to PostgreSQL', () => {
  let url: URL
  /** A connection to another database. */
  let operator: pg.Client
  const opened: { end(): Promise<unknown> }[] = []

  beforeEach(async () => {
    url = new URL(await postgresql.databaseUrl())
    operator = new pg.Client(new URL('/postgres', url).href)
    await operator.connect()
  })
  afterEach(async () => {
    for (const each of [...opened.splice(0), operator]) await each.end()
  })

  const database = () => url.pathname.slice(1)

  /** The URL of the same database at other hosts, each as `host:port`. */
  function at(...hosts: string[]): string {
    return `postgresql://${url.username}:${url.password}@${hosts.join(',')}${url.pathname}`
  }

  /** The connections of a service. */
  function connectionsTo(databaseUrl: string, timeouts: Partial<Timeouts> = {}, maxAge?: number) {
    const servers = new PostgresqlServers(postgresqlTarget(databaseUrl), { ...TIMEOUTS, ...timeouts })
    const [writer, reader] = [1, 1].map((size) => new SharedConnections(servers, OPTIONS, size, maxAge)) as [
      SharedConnections,
      SharedConnections,
    ]
    const pool = postgresqlPool(servers, OPTIONS)
    opened.push(writer, reader, pool)
    const pidOf = async (each: SharedConnections) => (await each.run(PID)).rows[0]?.pid
    return {
      writer,
      reader,
      pool,
      /** The process ids of the backends that serve these connections. */
      pids: async () => [await pidOf(writer), await pidOf(reader), (await pool.query(PID.sql)).rows[0]?.pid],
    }
  }

  async function untilGone(pids: readonly unknown[]): Promise<void> {
    const count = async () =>
      (await operator.query('select 1 from pg_stat_activity where pid = any($1)', [pids])).rowCount
    while ((await count()) !== 0);
  }

  /** A host that accepts connections and never responds. */
  async function silentHost(): Promise<string> {
    const sockets: { destroy(): unknown }[] = []
    const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    opened.push({
      async end() {
        for (const socket of sockets) socket.destroy()
        silent.close()
      },
    })
    return `127.0.0.1:${(silent.address() as AddressInfo).port}`
  }

  const deadHost = async () => `127.0.0.1:${await freePort()}`

  it('find the host that accepts writes after one that is down and one that never responds', async () => {
    // Waiting for the silent host would take longer than the test may.
    const { pids } = connectionsTo(at(await silentHost(), await deadHost(), url.host), { connect: 60_000 })
    expect(new Set(await pids()).size).to.equal(3)
  })

  it('reject with StoreUnavailable while no host accepts writes, with the reason of each host', async () => {
    await operator.query(`alter database ${database()} set default_transaction_read_only = on`)
    const dead = await deadHost()
    const { writer, reader, pool } = connectionsTo(at(dead, url.host))
    const reasons = `${dead}: connection refused; ${url.host}: it is read-only`
    for (const run of [() => writer.run(PID), () => reader.run(PID)]) {
      const error = await expectRejection(run(), StoreUnavailable)
      expect(error.cause).to.have.property('message', reasons)
    }
    await expectRejection(pool.query(PID.sql), Error)

    const refusal = await expectRejection(openDatabase(postgresqlTarget(at(dead, url.host))), DatabaseUnavailable)
    expect(refusal.message).to.equal(`The PostgreSQL database at ${dead}, ${url.host} cannot be opened: ${reasons}`)

    await operator.query(`alter database ${database()} reset default_transaction_read_only`)
    await writer.run(PID)
  })

  it('refuse a single read-only host if the URL requires one that accepts writes', async () => {
    await operator.query(`alter database ${database()} set default_transaction_read_only = on`)
    const target = postgresqlTarget(`${at(url.host)}?target_session_attrs=read-write`)
    const refusal = await expectRejection(openDatabase(target), DatabaseUnavailable)
    expect(refusal.message).to.equal(`The PostgreSQL database at ${url.host} cannot be opened: it is read-only`)
  })

  it('are used by MikroORM’s command line as well', async () => {
    const orm = await MikroORM.init(mikroOrmOptions(postgresqlTarget(at(await deadHost(), url.host))))
    expect(await orm.em.fork().execute('select 1 as one')).to.deep.equal([{ one: 1 }])
    await orm.close()
  })

  it('find the password of each host in the password file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tasks-password-'))
    const file = join(folder, 'passwords')
    const { hostname, port, username, password } = url
    writeFileSync(file, `${hostname}:${port}:*:${username}:${password}\n`, { mode: 0o600 })
    process.env.PGPASSFILE = file
    try {
      const { pids } = connectionsTo(at(await deadHost(), url.host).replace(`:${password}@`, '@'))
      expect(new Set(await pids()).size).to.equal(3)
    } finally {
      delete process.env.PGPASSFILE
      rmSync(folder, { recursive: true })
    }
  })

  it('stay with the host that was found, and all move to the next one when it fails', async () => {
    const [first, second] = [await startProxy(url), await startProxy(url)]
    opened.push(...[first, second].map((proxy) => ({ end: () => proxy.cut() })))
    const connections = connectionsTo(at(first.url.host, second.url.host))
    const before = await connections.pids()
    await first.cut()
    await untilGone(before)
    for (const run of [() => connections.writer.run(PID), () => connections.reader.run(PID)])
      await run().catch(() => run())
    const found = await connections.pids()
    await first.restore()
    // Makes the connections search again, now that the first host would serve as well.
    await operator.query('select pg_terminate_backend($1)', [found[0]])
    await untilGone(found)
    const after = await connections.pids().catch(() => connections.pids())
    await first.cut()
    // By now, any connection through the first host would be closed.
    expect(await connections.pids()).to.deep.equal(after)
    await first.restore()
  })

  it('are all closed when the server ends one of them', async () => {
    const { writer, pids } = connectionsTo(at(url.host))
    const before = await pids()
    await operator.query('select pg_terminate_backend($1)', [before[0]])
    await untilGone(before)
    await writer.run(PID).catch(() => undefined)
    expect(await pids()).to.not.include.members(before)
  })

  it('are all closed, after their statements have finished, when a write finds the server read-only', async () => {
    const { writer, reader, pids } = connectionsTo(at(url.host))
    await writer.run(statement('create table written (id integer)'))
    const before = await pids()
    await writer.run(statement('set default_transaction_read_only = on'))
    const read = reader.run(statement('select pg_sleep(0.3), pg_backend_pid() as pid'))
    await nextTurn()
    const refused = await writer.run(INSERT('written')).catch((error: unknown) => error)
    expect(refused).to.have.property('code', '25006')
    const later = reader.run(PID)
    expect((await read).rows).to.have.nested.property('[0].pid', before[1])
    expect((await later).rows).to.not.have.nested.property('[0].pid', before[1])
    await untilGone(before)
    await writer.run(INSERT('written'))
  })

  it('are all closed when the server does not respond to a statement', async () => {
    const proxy = await startProxy(url)
    opened.push({ end: () => proxy.cut() })
    const { writer, pids } = connectionsTo(proxy.url.href, { response: 200 })
    const before = await pids()
    proxy.silence()
    await expectRejection(writer.run(PID), Error)
    expect(await pids()).to.not.include.members(before)
  })

  it('are replaced when they reach their maximum age, after their statements have finished', async () => {
    const { writer } = connectionsTo(at(url.host), {}, 0.02)
    await writer.run(statement('create table written (id integer)'))
    const pids = new Set<unknown>()
    const inserts: Promise<unknown>[] = []
    while (pids.size < 4) {
      const pid = writer.run(PID).then(({ rows }) => pids.add(rows[0]?.pid))
      inserts.push(writer.run(INSERT('written')), writer.run(statement('select pg_sleep(0.01)')), pid)
      await delay(1)
    }
    await Promise.all(inserts)
    const { rows } = await writer.run(statement<{ count: string }>('select count(*) from written'))
    expect(Number(rows[0]?.count)).to.equal(inserts.length / 3)
    await untilGone([...pids].slice(0, -1))
  })

  it('outlive their maximum age while the server accepts no new connections', async () => {
    const proxy = await startProxy(url)
    const { writer } = connectionsTo(proxy.url.href, {}, 0)
    const first = (await writer.run(PID)).rows
    proxy.refuse()
    for (let turn = 0; turn < 20; turn++) {
      expect((await writer.run(PID)).rows).to.deep.equal(first)
      await nextTurn()
    }
    await proxy.cut()
  })
})

describe('The health check on PostgreSQL', () => {
  let database: Database
  let holder: pg.Client

  beforeEach(async () => {
    const url = await postgresql.databaseUrl()
    database = await openDatabase(postgresqlTarget(url))
    holder = new pg.Client(url)
    await holder.connect()
  })
  afterEach(() => Promise.all([database.close(), holder.end()]))

  it('fails in an empty database, and succeeds after the migrations', async () => {
    await expectRejection(database.ping(), StoreUnavailable)
    await database.migrate()
    await database.ping()
  })

  it('fails while the server accepts no writes, and succeeds again over new connections', async () => {
    await database.migrate()
    await holder.query(`alter database ${holder.database} set default_transaction_read_only = on`)
    await holder.query(`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`)
    const failure = async () =>
      database.ping().then(
        () => undefined,
        (error: Error) => error.cause as Error,
      )
    while ((await failure())?.message !== 'it is read-only');
    await holder.query('set default_transaction_read_only = off')
    await holder.query(`alter database ${holder.database} reset default_transaction_read_only`)
    while ((await failure()) !== undefined);
  })
})
