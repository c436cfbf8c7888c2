import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { expect } from 'chai'
import pg from 'pg'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { databaseTarget, type PersistentTarget } from '#src/database-target.ts'
import { postgresql } from './adapter-sets.ts'
import { freePort } from './free-port.ts'
import { allowProcesses, type Environment, folder, Process, SECRET_KEY, Service } from './process.ts'

const MAIN = 'src/main.ts'
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'))
/** No message may repeat it. */
const SECRET = 'Qx7z-a-secret-that-nothing-may-print-at-all'

/** With nothing set that would not be by itself. */
const start = (environment: Environment) => new Process(MAIN, { PORT: '0', ...environment })

describe('The process', function () {
  this.timeout(20_000)
  this.slow(2_000)
  allowProcesses()

  it('starts without any configuration, says its version, addresses and database, and keeps tasks.db', async () => {
    const main = start({})
    const url = await main.url()
    const addresses = `API ${url}/api/v1, documentation ${url}/docs and ${url}/redoc`
    expect(main.output).to.include(
      `Version ${version} is ready: ${addresses}, SQLite database ${join(folder, 'tasks.db')}\n`,
    )
    const health = await fetch(`${url}/health`)
    expect(await health.json()).to.deep.equal({ status: 'ok', environment: 'development' })
    expect(existsSync(join(folder, 'tasks.db'))).to.equal(true)

    const json = { 'content-type': 'application/json' }
    const pair = { email: 'jane@example.com', password: 'correct horse' }
    const registered = await fetch(`${url}/api/v1/auth/register`, {
      method: 'POST',
      headers: json,
      body: JSON.stringify(pair),
    })
    expect(registered.status).to.equal(201)
  })

  it('warns once, in development and after a start that worked, that its secret is random, and how to set one', async () => {
    for (const environment of [{ DATABASE_URL: 'memory:' }, { WEB_CONCURRENCY: '2' }]) {
      const main = start(environment)
      await fetch(`${await main.url()}/health`)
      await main.stop()
      const [, before = '', after = ''] = /^(.* is ready: [^\n]*\n)(.*)$/s.exec(main.output) ?? []
      expect(before).to.not.include('SECRET_KEY')
      expect(after.match(/SECRET_KEY/g)).to.have.length(1)
      expect(after).to.match(
        /WARN: SECRET_KEY is not set; using a random one\. Tokens become invalid when the process stops\. .*openssl rand/,
      )
    }
  })

  it('says only why it does not start where the start fails', async () => {
    const message = await start({ DATABASE_URL: 'sqlite:///missing/tasks.db' }).refusal()
    expect(message).to.match(/^The SQLite database .+$/)
  })

  it('names the hosts of PostgreSQL at the start, and never its password', async () => {
    const url = new URL(await postgresql.databaseUrl())
    url.password ||= SECRET
    const main = start({ DATABASE_URL: url.href, LOG_LEVEL: 'trace' })
    await main.url()
    await main.stop()
    expect(main.output)
      .to.include(`, PostgreSQL database at ${url.host}\n`)
      .and.not.include(decodeURIComponent(url.password))
  })

  it('says that it drains requests when it is told to stop', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const main = start({ DATABASE_URL: 'memory:', SECRET_KEY })
      await main.url()
      main.signal(signal)
      expect(await main.exit(), main.output).to.equal(0)
      expect(main.output).to.include(`INFO: ${signal} received; draining requests\n`)
    }
  })

  it('logs a line to read for each request in development', async () => {
    const main = start({ DATABASE_URL: 'memory:', SECRET_KEY })
    const url = await main.url()
    await fetch(`${url}/openapi.json?x=1`)
    await fetch(`${url}/api/v1/tasks`, { headers: { 'x-request-id': 'this-one' } })
    await fetch(`${url}/nowhere`, { headers: { 'x-request-id': 'that-one' } })
    await main.stop()
    expect(main.output).to.match(/\] INFO: GET \/openapi\.json 200 \d+\.\d ms\n/)
    expect(main.output).to.match(/\] INFO: GET \/api\/v1\/tasks 401 \d+\.\d ms \{"requestId":"this-one"\}\n/)
    expect(main.output).to.match(/\] INFO: GET \(no route\) 404 \d+\.\d ms \{"requestId":"that-one"\}\n/)
  })

  it('does not warn where a secret is set, and never prints it', async () => {
    const main = start({ DATABASE_URL: 'memory:', SECRET_KEY, LOG_LEVEL: 'trace' })
    await fetch(`${await main.url()}/health`)
    await main.stop()
    expect(main.output).to.not.include('SECRET_KEY')
    expect(main.output).to.not.include(SECRET_KEY)
  })

  it('starts in production with a secret, without any warning', async () => {
    const main = start({ ENVIRONMENT: 'production', DATABASE_URL: 'memory:', SECRET_KEY })
    await main.url()
    expect(main.output).to.not.match(/warn|SECRET_KEY/i)
  })

  it('names the host and the port of a PostgreSQL that refuses the password', async () => {
    const url = new URL(await postgresql.databaseUrl())
    url.username = 'nobody'
    url.password = SECRET
    const message = await new Service({ DATABASE_URL: url.href }).refusal()
    expect(message).to.include(url.hostname).and.include(url.port).and.not.include(SECRET)
    expect(message.split('\n')).to.have.length(1)
  })

  it('reads .env where it is started, and the environment wins, unless it is empty', async () => {
    const lines = [
      'PROJECT_NAME="From the file"',
      'ENVIRONMENT=from-the-file',
      `SECRET_KEY=${SECRET_KEY}`,
      'PORT=0',
      'DATABASE_URL=memory:',
    ]
    // As some editors write it, with a byte order mark.
    writeFileSync(join(folder, '.env'), `\uFEFF${lines.join('\n')}`)
    const main = new Process(MAIN, { ENVIRONMENT: 'from-the-environment', PROJECT_NAME: '' })
    const url = await main.url()
    const [health, document] = await Promise.all(
      ['/health', '/openapi.json'].map(async (path) => (await fetch(url + path)).json()),
    )
    expect(health).to.include({ environment: 'from-the-environment' })
    expect(document).to.have.nested.property('info.title', 'From the file')
  })

  it('ends with 0 on SIGTERM while it still waits for its database', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    try {
      const main = new Service({ DATABASE_URL: `postgresql://jane:secret@127.0.0.1:${port}/tasks` })
      const [connection] = await once(silent, 'connection')
      await main.stop()
      connection.destroy()
    } finally {
      silent.close()
    }
  })

  it('logs in lines of JSON in production, one for a request', async () => {
    const main = start({ ENVIRONMENT: 'production', DATABASE_URL: 'memory:', SECRET_KEY })
    await fetch(`${await main.url()}/openapi.json?token=${SECRET}`)
    await main.stop()
    const lines = main.output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const [request, ...others] = lines.filter(({ msg }) => msg === 'request')
    expect(request).to.include({ level: 30, method: 'GET', route: '/openapi.json', status: 200 })
    expect(others).to.deep.equal([])
    expect(main.output).to.not.include(SECRET)
  })

  it('adds the metrics of its workers up, and ends when it is told to', async () => {
    const METRICS_PORT = String(await freePort())
    const main = new Service({ WEB_CONCURRENCY: '2', METRICS_PORT })
    const url = await main.url()
    const requests = Array.from({ length: 10 }, () => fetch(`${url}/livez`, { headers: { connection: 'close' } }))
    for (const answer of requests) expect((await answer).status).to.equal(200)
    expect((await fetch(`${url}/metrics`)).status).to.equal(404)
    const metrics = async () => (await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`)).text()
    const counted = 'http_server_request_duration_seconds_count{method="GET",route="/livez",status="200"} 10\n'
    while (!(await metrics()).includes(counted));
    expect(await metrics()).to.match(/^build_info\{.*\} 1$/m)
    await main.stop()
  })

  it('starts as a role that may not see which migrations were applied, where it is not to apply any', async () => {
    const url = new URL(await postgresql.databaseUrl())
    const database = await openDatabase(databaseTarget(url.href) as PersistentTarget)
    await database.migrate()
    await database.close()
    const role = `tasks_${randomUUID().replaceAll('-', '')}`
    const owner = new pg.Client(url.href)
    await owner.connect()
    await owner.query(`create role ${role} login password '${SECRET}'`)
    await owner.query(`grant select, insert, update, delete on users, tasks to ${role}`)
    try {
      url.username = role
      url.password = SECRET
      const service = new Service({ DATABASE_URL: url.href, MIGRATE_ON_START: 'false' })
      expect((await fetch(`${await service.url()}/readyz`)).status).to.equal(200)
      await service.stop()
      expect(service.output).to.include('Cannot check whether the schema is up to date')
    } finally {
      await owner.query(`drop owned by ${role}; drop role ${role}`)
      await owner.end()
    }
  })

  it('serves what it kept when it is started again', async () => {
    const pair = new URLSearchParams({ username: 'jane@example.com', password: 'correct horse' })
    const statuses: number[] = []
    for (const path of ['register', 'login']) {
      const main = new Service({})
      const url = `${await main.url()}/api/v1/auth/${path}`
      const json = JSON.stringify({ email: pair.get('username'), password: pair.get('password') })
      const registration = { headers: { 'content-type': 'application/json' }, body: json }
      statuses.push(
        (await fetch(url, { method: 'POST', ...(path === 'login' ? { body: pair } : registration) })).status,
      )
      await main.stop()
    }
    expect(statuses).to.deep.equal([201, 200])
  })
})
