import { readdirSync } from 'node:fs'
import { join, parse } from 'node:path'
import { expect } from 'chai'
import pg from 'pg'
import { postgresql } from '#test/adapter-sets.ts'
import { startProxy } from '#test/postgresql-proxy.ts'
import { allowProcesses, Service } from '#test/process.ts'
import { query } from '#test/query.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client, WriteLoad } from './client.ts'
import { EditHistory, EditLoad } from './edit-load.ts'
import { PostgresqlServer } from './postgresql-server.ts'

/** Limits that are never reached, so that the counters in PostgreSQL are used. */
const LIMITS = {
  RATE_LIMIT_ENABLED: 'true',
  RATE_LIMIT_USER: '1000000',
  RATE_LIMIT_LOGIN: '1000000',
  RATE_LIMIT_REGISTER: '1000000',
}

/** The advisory lock that every release of the service takes to migrate. */
const MIGRATION_LOCK = 7_235_174

describe('A PostgreSQL restart under load', () => {
  allowProcesses()

  let server: PostgresqlServer

  before(async () => {
    server = await PostgresqlServer.start()
  })
  after(() => server.remove())

  it('causes 503 until the server is back, and loses no acknowledged task or edit', async () => {
    const service = new Service({ DATABASE_URL: server.url, ...LIMITS })
    const client = await Client.signUp(await service.url())
    const ready = async () => (await client.send('GET', '/readyz')).status
    const history = new EditHistory()
    const edited = await EditLoad.createTasks(client, history)
    const load = new WriteLoad(client, 16)
    const edits = new EditLoad(history, [client, client, client, client], edited)
    for (let round = 0; round < 2; round++) {
      await load.waitForAcknowledged(200)
      expect(await ready()).to.equal(200)
      const before = load.refusals.length

      await server.kill()
      await waitUntil(() => load.refusals.length > before + 100)
      const probe = await client.send('GET', '/readyz')
      expect(probe.status).to.equal(503)
      expect(await probe.json()).to.include({ code: 'store_unavailable' })
      expect((await client.send('GET', '/livez')).status).to.equal(200)
      expect((await Client.register(client.url, 'late@example.com')).status).to.equal(503)

      await server.start()
      await waitUntil(async () => (await ready()) === 200)
      await load.waitForAcknowledged(200)
      expect((await Client.logIn(client.url)).token).to.be.a('string')
    }
    await Promise.all([load.stop(), edits.stop()])
    const stored = new Set((await client.listTasks()).map(({ title }) => title))
    for (const { status, code, retryAfter, title } of load.refusals) {
      expect(status).to.equal(503)
      expect(code).to.be.oneOf(['store_unavailable', 'outcome_unknown'])
      // Only `store_unavailable` promises that nothing was stored.
      if (code === 'store_unavailable') expect(stored.has(title)).to.equal(false)
      expect(String(retryAfter)).to.match(code === 'store_unavailable' ? /^\d+$/ : /^null$/)
    }
    expect(await client.findLost(load.acknowledged)).to.deep.equal([])
    expect(history.violations(await client.listTasks())).to.deep.equal([])
    expect(service.alive).to.equal(true)
  })

  it('does not delay stopping the service', async () => {
    const service = new Service({ DATABASE_URL: server.url })
    await service.url()
    await server.kill()
    try {
      service.signal('SIGTERM')
      expect(await service.exitCode()).to.equal(0)
    } finally {
      await server.start()
    }
  })

  it('does not delay stopping the service, even if the server hangs', async () => {
    const proxy = await startProxy(new URL(await postgresql.databaseUrl()))
    const service = new Service({ DATABASE_URL: proxy.url.href, SHUTDOWN_TIMEOUT: '1', ...LIMITS })
    const client = await Client.signUp(await service.url())
    proxy.silence()
    const cut = [client.createTask('Task'), client.listTasks(), Client.logIn(client.url)]
    const answers = Promise.allSettled(cut)
    const codeOfProbe = async () => ((await (await client.send('GET', '/readyz')).json()) as { code?: string }).code
    await waitUntil(async () => (await codeOfProbe()) === 'store_too_slow')
    service.signal('SIGTERM')
    expect(await service.exitCode()).to.equal(0)
    for (const { status } of await answers) expect(status).to.equal('rejected')
    await proxy.cut()
  })
})

describe('A pool of two PostgreSQL connections', () => {
  allowProcesses()

  it('serves 200 concurrent clients without a deadlock or a lost request', async () => {
    const service = new Service({
      DATABASE_URL: await postgresql.databaseUrl(),
      DATABASE_POOL_SIZE: '2',
      PASSWORD_QUEUE_LIMIT: '1000',
      ...LIMITS,
    })
    const url = await service.url()
    const clients = Array.from({ length: 200 }, async (_, index) => {
      const client = await Client.signUp(url, `user-${index}@example.com`)
      const [first, second] = await Promise.all([client.createTask('first'), client.createTask('second')])
      const changes = ['once', 'twice'].map((title) => client.send('PATCH', `/api/v1/tasks/${first.id}`, { title }))
      for (const { status } of await Promise.all(changes)) expect(status).to.equal(200)
      expect((await client.send('DELETE', `/api/v1/tasks/${second.id}`)).status).to.equal(204)
      const [left, ...others] = await client.listTasks()
      expect(others).to.deep.equal([])
      expect(left).to.include({ id: first.id }).and.have.property('title').that.is.oneOf(['once', 'twice'])
    })
    await Promise.all(clients)
    expect(service.output).to.not.match(/"level":"(?:error|fatal)"/)
  })
})

describe('Instances that start together on an empty PostgreSQL database', () => {
  allowProcesses()

  it('migrate it once and serve the same accounts and tasks', async () => {
    const DATABASE_URL = await postgresql.databaseUrl()
    // Holds the lock until all instances wait for it, so that they compete.
    const holder = new pg.Client(DATABASE_URL)
    await holder.connect()
    await holder.query(`select pg_advisory_lock(${MIGRATION_LOCK})`)
    const services = Array.from({ length: 3 }, () => new Service({ DATABASE_URL }))
    const waiting = `select 1 from pg_stat_activity where datname = current_database() and wait_event = 'advisory'`
    await waitUntil(async () => (await holder.query(waiting)).rowCount === services.length)
    await holder.end()

    const [one = '', two = '', ...others] = await Promise.all(services.map((service) => service.url()))
    const files = readdirSync(join(import.meta.dirname, '../../src/adapters/mikro-orm/migrations')).sort()
    const applied = await query(DATABASE_URL, 'select name from mikro_orm_migrations order by id')
    expect(applied).to.deep.equal(files.map((file) => ({ name: parse(file).name })))
    const client = await Client.signUp(one)
    const task = await (await Client.logIn(two)).createTask('Ship')
    for (const url of [one, ...others]) expect(await client.at(url).findLost([task])).to.deep.equal([])
  })
})

describe('A start that waits for the migration of another instance', () => {
  allowProcesses()

  let holder: pg.Client
  let service: Service

  beforeEach(async () => {
    const DATABASE_URL = await postgresql.databaseUrl()
    holder = new pg.Client(DATABASE_URL)
    await holder.connect()
    await holder.query(`select pg_advisory_lock(${MIGRATION_LOCK})`)
    service = new Service({ DATABASE_URL })
    const waiting = `select 1 from pg_stat_activity where datname = current_database() and wait_event = 'advisory'`
    await waitUntil(async () => (await holder.query(waiting)).rowCount === 1)
  })
  afterEach(() => holder.end())

  it('exits with 0 and a complete log when it is stopped', async () => {
    service.signal('SIGTERM')
    expect(await service.exitCode()).to.equal(0)
    expect(service.output).to.include('SIGTERM received')
  })

  it('exits with 1 and a message if the server closes the connection', async () => {
    await holder.query(`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'task-management-api'`)
    expect(await service.failureMessage()).to.match(/^The PostgreSQL database at .* cannot be migrated: .*$/)
  })
})
