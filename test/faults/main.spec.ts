import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { expect } from 'chai'
import pg from 'pg'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { databaseTarget, type PersistentTarget } from '#src/database-target.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { freePort } from '#test/free-port.ts'
import { allowProcesses, type Environment, folder, Process, SECRET_KEY, Service } from '#test/process.ts'

const MAIN = 'src/main.ts'
const ROOT = join(import.meta.dirname, '../..')
const { version, engines, scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
/** Must not appear in any message. */
const SECRET = 'Qx7z-a-secret-that-nothing-may-print-at-all'
const RANDOM_SECRET =
  /WARN: SECRET_KEY is not set; using a random one\. Tokens become invalid when the process stops\. .*openssl rand/

/** Sets no other variable. */
const start = (environment: Environment) => new Process(MAIN, { PORT: '0', ...environment })

/** A process costs half a second of CPU, so tests that only read its output and responses share one. */
describe('The process in development', function () {
  this.timeout(20_000)
  allowProcesses('suite')

  const jane = { email: 'jane@example.com', password: 'correct horse' }
  let first: Process
  let url: string
  let health: unknown
  let second: Process
  const statuses: number[] = []

  before('start it without any configuration, and again with a secret', async () => {
    first = start({})
    url = await first.url()
    health = await (await fetch(`${url}/health`)).json()
    const registered = await fetch(`${url}/api/v1/auth/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(jane),
    })
    statuses.push(registered.status)
    await fetch(`${url}/openapi.json?x=1`)
    await fetch(`${url}/api/v1/tasks`, { headers: { 'x-request-id': 'this-one' } })
    await fetch(`${url}/nowhere`, { headers: { 'x-request-id': 'that-one' } })
    first.signal('SIGTERM')
    await first.exitCode()

    second = start({ SECRET_KEY, LOG_LEVEL: 'trace' })
    const body = new URLSearchParams({ username: jane.email, password: jane.password })
    const login = await fetch(`${await second.url()}/api/v1/auth/login`, { method: 'POST', body })
    statuses.push(login.status)
    second.signal('SIGINT')
    await second.exitCode()
  })

  it('starts without any configuration, prints its version, addresses and database, and creates tasks.db', () => {
    const addresses = `API ${url}/api/v1, documentation ${url}/docs and ${url}/redoc`
    expect(first.output).to.include(
      `Version ${version} is ready: ${addresses}, SQLite database ${join(folder, 'tasks.db')}\n`,
    )
    expect(health).to.deep.equal({ status: 'ok', environment: 'development' })
    expect(existsSync(join(folder, 'tasks.db'))).to.equal(true)
  })

  it('warns once, after a successful start, that its secret is random, and how to set one', () => {
    expectOneWarning(first.output)
  })

  it('does not warn if a secret is set, and never prints it', () => {
    expect(second.output).to.not.include('SECRET_KEY')
    expect(second.output).to.not.include(SECRET_KEY)
  })

  it('logs a readable line for each request', () => {
    expect(first.output).to.match(/\] INFO: GET \/openapi\.json 200 \d+\.\d ms\n/)
    expect(first.output).to.match(/\] INFO: GET \/api\/v1\/tasks 401 \d+\.\d ms \{"requestId":"this-one"\}\n/)
    expect(first.output).to.match(/\] INFO: GET \(no route\) 404 \d+\.\d ms \{"requestId":"that-one"\}\n/)
  })

  it('logs that it drains requests when it is stopped, and exits with 0', async () => {
    for (const [process, signal] of [
      [first, 'SIGTERM'],
      [second, 'SIGINT'],
    ] as const) {
      expect(process.output).to.include(`INFO: ${signal} received; draining requests\n`)
      expect(await process.exitCode()).to.equal(0)
    }
  })

  it('serves the stored data after a restart', () => {
    expect(statuses).to.deep.equal([201, 200])
  })
})

describe('The process with the placeholder of .env.example as its secret', function () {
  this.timeout(20_000)
  allowProcesses()

  it('warns once, after a successful start, that it is public', async () => {
    const main = start({ SECRET_KEY: 'change-me-to-a-long-random-string', DATABASE_URL: 'memory:' })
    await main.url()
    await main.stop()
    expect(main.output).to.match(/is ready(?:.|\n)+WARN: SECRET_KEY is the placeholder .* public.*openssl rand/)
    expect(main.output.match(/SECRET_KEY/g)).to.have.lengthOf(1)
  })
})

describe('The process in production', function () {
  this.timeout(20_000)
  allowProcesses('suite')

  let main: Process

  before(async () => {
    main = start({ ENVIRONMENT: 'production', DATABASE_URL: 'memory:', SECRET_KEY })
    await fetch(`${await main.url()}/openapi.json?token=${SECRET}`)
    await main.stop()
  })

  it('starts with a secret, without any warning', () => {
    expect(main.output).to.not.match(/warn|SECRET_KEY/i)
  })

  it('logs one line of JSON for each request', () => {
    const lines = main.output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const [request, ...others] = lines.filter(({ msg }) => msg === 'request')
    expect(request).to.include({ level: 'info', method: 'GET', route: '/openapi.json', status: 200 })
    expect(others).to.deep.equal([])
    expect(main.output).to.not.include(SECRET)
  })
})

describe('The process with two workers', function () {
  this.timeout(20_000)
  allowProcesses('suite')

  let main: Process
  let url: string
  let metricsUrl: string

  before(async () => {
    const METRICS_PORT = String(await freePort())
    metricsUrl = `http://127.0.0.1:${METRICS_PORT}/metrics`
    main = start({ WEB_CONCURRENCY: '2', METRICS_PORT })
    url = await main.url()
  })

  it('sums the metrics of its workers', async () => {
    const requests = Array.from({ length: 10 }, () => fetch(`${url}/livez`, { headers: { connection: 'close' } }))
    for (const answer of requests) expect((await answer).status).to.equal(200)
    expect((await fetch(`${url}/metrics`)).status).to.equal(404)
    const metrics = async () => (await fetch(metricsUrl)).text()
    const counted = 'http_server_request_duration_seconds_count{method="GET",route="/livez",status="200"} 10\n'
    while (!(await metrics()).includes(counted));
    expect(await metrics()).to.match(/^build_info\{.*\} 1$/m)
  })

  it('exits with 0 when it is stopped', () => main.stop())

  it('warns once, after a successful start, that its secret is random', () => {
    expectOneWarning(main.output)
  })
})

describe('The process on PostgreSQL', function () {
  this.timeout(20_000)
  allowProcesses('suite')

  const role = `tasks_${randomUUID().replaceAll('-', '')}`
  let database: URL
  let owner: pg.Client
  let main: Process

  before('as a role that may not see which migrations were applied', async () => {
    database = new URL(await postgresql.databaseUrl())
    const migrated = await openDatabase(databaseTarget(database.href) as PersistentTarget)
    await migrated.migrate()
    await migrated.close()
    owner = new pg.Client(database.href)
    await owner.connect()
    await owner.query(`create role ${role} login password '${SECRET}'`)
    await owner.query(`grant select, insert, update, delete on users, tasks to ${role}`)
    database.username = role
    database.password = SECRET
    main = start({ DATABASE_URL: database.href, MIGRATE_ON_START: 'false', LOG_LEVEL: 'trace' })
  })

  after(async () => {
    await owner.query(`drop owned by ${role}; drop role ${role}`)
    await owner.end()
  })

  it('starts without MIGRATE_ON_START, and warns that it cannot check the schema', async () => {
    expect((await fetch(`${await main.url()}/readyz`)).status).to.equal(200)
    await main.stop()
    expect(main.output).to.include('Cannot check whether the schema is up to date')
  })

  it('prints the hosts of the database at start-up, and never its password', () => {
    expect(main.output).to.include(`, PostgreSQL database at ${database.host}\n`).and.not.include(SECRET)
  })

  it('prints the host and port of a server that rejects the password', async () => {
    const url = new URL(database)
    url.username = 'unknown_user'
    const message = await new Service({ DATABASE_URL: url.href }).failureMessage()
    expect(message).to.include(url.hostname).and.include(url.port).and.not.include(SECRET)
    expect(message.split('\n')).to.have.length(1)
  })

  it('exits with 0 on SIGTERM while it waits for a connection', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    try {
      const waiting = new Service({ DATABASE_URL: `postgresql://jane:secret@127.0.0.1:${port}/tasks` })
      const [connection] = await once(silent, 'connection')
      await waiting.stop()
      connection.destroy()
    } finally {
      silent.close()
    }
  })
})

describe('The process', function () {
  this.timeout(20_000)
  allowProcesses()

  it('prints only the reason for a failed start', async () => {
    const message = await start({ DATABASE_URL: 'sqlite:///missing/tasks.db' }).failureMessage()
    expect(message).to.match(/^The SQLite database .+$/)
  })

  const oldVersion = "Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.20.2'}})"

  it('prints one line if Node is too old, even if that Node does not support .ts', async () => {
    const NODE_OPTIONS = `--no-experimental-strip-types --import=data:text/javascript,${encodeURIComponent(oldVersion)}`
    const message = await start({ NODE_OPTIONS }).failureMessage()
    expect(message).to.match(/^Node 20\.20\.2 is too old; use Node \d+ or newer\. .+$/)
    expect(message).to.include(`use Node ${engines.node.replace('>=', '')} or newer`)
  })

  for (const name of ['migrate', 'admin', 'backup', 'restore', 'restored']) {
    it(`prints one line if Node is too old for npm run ${name}`, () => {
      const preload = join(folder, 'old-node.cjs')
      writeFileSync(preload, oldVersion)
      const NODE_OPTIONS = `--no-experimental-strip-types --require="${preload}"`
      const [, ...words] = scripts[name].split(' ')
      const run = spawnSync(process.execPath, words, { cwd: ROOT, env: { NODE_OPTIONS }, encoding: 'utf8' })
      expect(run.stderr).to.match(/^Node 20\.20\.2 is too old; use Node \d+ or newer\. .+\n$/)
      expect(run.status).to.equal(1)
    })
  }

  it('refuses a .env that it cannot read', async () => {
    mkdirSync(join(folder, '.env'))
    expect(await start({}).failureMessage()).to.equal('Cannot read .env (EISDIR).')
  })

  it('reads .env in its working directory; a non-empty environment variable wins', async () => {
    const lines = [
      'PROJECT_NAME="From the file"',
      'ENVIRONMENT=from-the-file',
      `SECRET_KEY=${SECRET_KEY}`,
      'PORT=0',
      'DATABASE_URL=memory:',
    ]
    // Some editors write a byte order mark.
    writeFileSync(join(folder, '.env'), `\uFEFF${lines.join('\n')}`)
    const main = new Process(MAIN, { ENVIRONMENT: 'from-the-environment', PROJECT_NAME: '' })
    const url = await main.url()
    const [health, document] = await Promise.all(
      ['/health', '/openapi.json'].map(async (path) => (await fetch(url + path)).json()),
    )
    expect(health).to.include({ environment: 'from-the-environment' })
    expect(document).to.have.nested.property('info.title', 'From the file')
  })
})

function expectOneWarning(output: string): void {
  const [, before = '', after = ''] = /^(.* is ready: [^\n]*\n)(.*)$/s.exec(output) ?? []
  expect(before).to.not.include('SECRET_KEY')
  expect(after.match(/SECRET_KEY/g)).to.have.length(1)
  expect(after).to.match(RANDOM_SECRET)
}
