import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { postgresql } from './adapter-sets.ts'
import { freePort } from './free-port.ts'

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const SECRET = 'Qx7z-a-secret-that-nothing-may-print-at-all'
const PLACEHOLDER = 'change-me-to-a-long-random-string'

/** What `main.ts` sets Node up for. */
const SERVICE = fileURLToPath(new URL('../src/service.ts', import.meta.url))

/** What a coverage of the tests needs to see these processes, too. */
const { NODE_V8_COVERAGE } = process.env
const ours = NODE_V8_COVERAGE ? { NODE_V8_COVERAGE } : {}

type Environment = Readonly<Record<string, string>>

/** `node src/main.ts` in a folder, with that environment and no other. */
class Main {
  readonly #child: ChildProcess
  readonly #end: Promise<unknown>
  /** Everything it has printed so far, both streams. */
  output = ''

  constructor(cwd: string, environment: Environment, file = MAIN) {
    this.#child = spawn(process.execPath, [file], { cwd, env: { NO_COLOR: '1', ...ours, ...environment } })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        this.output += chunk
        this.#child.emit('printed')
      })
    }
    this.#end = once(this.#child, 'close')
  }

  /** @throws Error when it ends without having printed that */
  async printed(form: RegExp): Promise<string> {
    const ended = this.#end.then(() => true)
    for (;;) {
      const found = form.exec(this.output)
      if (found) return found[1] ?? found[0]
      if ((await Promise.race([once(this.#child, 'printed'), ended])) === true && !form.test(this.output))
        throw new Error(`The process ended and had not printed ${form}, but:\n${this.output}`)
    }
  }

  /** Where it listens. */
  url(): Promise<string> {
    return this.printed(/(http:\/\/[^\s/]+:\d+)\//)
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** What it exits with; null when a signal killed it. */
  async exit(): Promise<number | null> {
    await this.#end
    return this.#child.exitCode
  }
}

describe('The process', function () {
  this.timeout(20_000)
  this.slow(2_000)

  let folder: string
  let running: Main[]

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tasks-main-'))
    running = []
  })
  afterEach(async () => {
    for (const main of running) main.signal('SIGKILL')
    await Promise.all(running.map((main) => main.exit()))
    rmSync(folder, { recursive: true, force: true })
  })

  function start(environment: Environment, file?: string): Main {
    const main = new Main(folder, environment, file)
    running.push(main)
    return main
  }

  /** The message of a start that fails, which must be short, without stack and without secret. */
  async function refusal(environment: Environment): Promise<string> {
    const main = start({ PORT: '0', ...environment })
    expect(await main.exit(), main.output).to.equal(1)
    expect(main.output).to.not.match(/\n\s+at |node:internal|\.ts:\d|Error:/)
    expect(main.output).to.not.include(SECRET)
    return main.output.trim()
  }

  it('starts without any configuration, says where the API and its documentation are, and keeps tasks.db', async () => {
    const main = start({ PORT: '0' })
    const url = await main.url()
    expect(main.output).to.include(`${url}/api/v1`).and.include(`${url}/docs`).and.include(`${url}/redoc`)
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

  it('warns once, in development, that its secret is random, and how to set one', async () => {
    const main = start({ PORT: '0', DATABASE_URL: 'memory:' })
    await fetch(`${await main.url()}/health`)
    main.signal('SIGTERM')
    expect(await main.exit()).to.equal(0)
    expect(main.output.match(/SECRET_KEY/g)).to.have.length(1)
    expect(main.output).to.match(/WARN/)
    expect(main.output).to.include('openssl rand')
  })

  it('does not warn where a secret is set, and never prints it', async () => {
    const main = start({ PORT: '0', DATABASE_URL: 'memory:', SECRET_KEY: SECRET, LOG_LEVEL: 'trace' })
    await fetch(`${await main.url()}/health`)
    main.signal('SIGTERM')
    expect(await main.exit()).to.equal(0)
    expect(main.output).to.not.include('SECRET_KEY')
    expect(main.output).to.not.include(SECRET)
  })

  it('names every wrong variable at once and ends with 1', async () => {
    const message = await refusal({
      ENVIRONMENT: 'production',
      PORT: '99999',
      SECRET_KEY: SECRET.slice(0, 20),
      ALGORITHM: 'none',
      DATABASE_URL: `mysql://user:${SECRET}@db/tasks`,
      BACKEND_CORS_ORIGINS: '*',
      BCRYPT_ROUNDS: '9',
    })
    const names = ['PORT', 'SECRET_KEY', 'ALGORITHM', 'DATABASE_URL', 'BACKEND_CORS_ORIGINS', 'BCRYPT_ROUNDS']
    for (const name of names) expect(message).to.match(new RegExp(`\\b${name} must `))
    expect(message).to.not.include(SECRET.slice(0, 20))
    expect(existsSync(join(folder, 'tasks.db'))).to.equal(false)
  })

  it('refuses the placeholder of .env.example and no secret at all in production', async () => {
    const production = { ENVIRONMENT: 'production', DATABASE_URL: 'memory:' }
    const messages = await Promise.all([refusal(production), refusal({ ...production, SECRET_KEY: PLACEHOLDER })])
    for (const message of messages) expect(message).to.match(/\bSECRET_KEY must /)
  })

  it('starts in production with a secret, without any warning', async () => {
    const main = start({ ENVIRONMENT: 'production', PORT: '0', DATABASE_URL: 'memory:', SECRET_KEY: SECRET })
    await main.url()
    expect(main.output).to.not.match(/warn|SECRET_KEY/i)
  })

  it('names a port that is in use', async () => {
    const occupied = createServer().listen(0, '127.0.0.1')
    await once(occupied, 'listening')
    const { port } = occupied.address() as AddressInfo
    try {
      const message = await refusal({ PORT: String(port), DATABASE_URL: 'memory:', SECRET_KEY: SECRET })
      expect(message)
        .to.include(String(port))
        .and.match(/in use/)
      expect(message.split('\n')).to.have.length(1)
    } finally {
      occupied.close()
    }
  })

  it('names the path of a database that can’t be opened', async () => {
    mkdirSync(join(folder, 'a-folder'))
    writeFileSync(join(folder, 'a-file'), 'This is no database, and it is long enough to tell.'.repeat(100))
    const refused = ['missing/tasks.db', 'a-folder', 'a-file/tasks.db', 'a-file'].map(async (path) => {
      const message = await refusal({ DATABASE_URL: `sqlite:///${path}`, SECRET_KEY: SECRET })
      expect(message).to.include(join(folder, path))
      expect(message.split('\n')).to.have.length(1)
    })
    await Promise.all(refused)
  })

  it('names the host and the port of a PostgreSQL that can’t be reached, and no password', async () => {
    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const { port } = closed.address() as AddressInfo
    closed.close()
    await once(closed, 'close')
    const message = await refusal({
      DATABASE_URL: `postgresql://jane:${SECRET}@127.0.0.1:${port}/tasks`,
      SECRET_KEY: SECRET,
    })
    expect(message).to.include('127.0.0.1').and.include(String(port))
    expect(message.split('\n')).to.have.length(1)
  })

  it('names the host and the port of a PostgreSQL that refuses the password', async () => {
    const url = new URL(await postgresql.databaseUrl())
    url.username = 'nobody'
    url.password = SECRET
    const message = await refusal({ DATABASE_URL: url.href, SECRET_KEY: SECRET })
    expect(message).to.include(url.hostname).and.include(url.port)
    expect(message.split('\n')).to.have.length(1)
  })

  it('reads .env where it is started, and the environment wins, unless it is empty', async () => {
    const lines = [
      'PROJECT_NAME="From the file"',
      'ENVIRONMENT=from-the-file',
      `SECRET_KEY=${SECRET}`,
      'PORT=0',
      'DATABASE_URL=memory:',
    ]
    writeFileSync(join(folder, '.env'), lines.join('\n'))
    const main = start({ ENVIRONMENT: 'from-the-environment', PROJECT_NAME: '' })
    const url = await main.url()
    const [health, document] = await Promise.all(
      ['/health', '/openapi.json'].map(async (path) => (await fetch(url + path)).json()),
    )
    expect(health).to.include({ environment: 'from-the-environment' })
    expect(document).to.have.nested.property('info.title', 'From the file')
  })

  it('names what is wrong in .env, and repeats none of it', async () => {
    writeFileSync(join(folder, '.env'), `LOG_LEVEL=${SECRET}\nNOBODY_KNOWS=${SECRET}`)
    expect(await refusal({})).to.match(/\bLOG_LEVEL must /)
  })

  it('ends with 0 on SIGTERM and on SIGINT, also while a client keeps its connection open', async () => {
    const stopped = (['SIGTERM', 'SIGINT'] as const).map(async (signal) => {
      const main = start({ PORT: '0', SECRET_KEY: SECRET, DATABASE_URL: `sqlite:///${signal}.db` })
      await fetch(`${await main.url()}/health`)
      main.signal(signal)
      expect(await main.exit(), signal).to.equal(0)
    })
    await Promise.all(stopped)
  })

  it('ends with 0 on SIGTERM while it still waits for its database', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    try {
      const main = start({ DATABASE_URL: `postgresql://jane:secret@127.0.0.1:${port}/tasks`, SECRET_KEY: SECRET })
      const [connection] = await once(silent, 'connection')
      main.signal('SIGTERM')
      expect(await main.exit()).to.equal(0)
      connection.destroy()
    } finally {
      silent.close()
    }
  })

  it('answers the request that is in flight before it ends on SIGTERM', async () => {
    const main = start({ PORT: '0', SECRET_KEY: SECRET })
    const body = JSON.stringify({ email: 'jane@example.com', password: 'correct horse' })
    const headers = { 'content-type': 'application/json', 'content-length': body.length, expect: '100-continue' }
    const login = request(`${await main.url()}/api/v1/auth/register`, { method: 'POST', headers, agent: false })
    login.flushHeaders()
    // The service has begun to serve it, and waits for the body.
    await once(login, 'continue')
    main.signal('SIGTERM')
    await main.printed(/SIGTERM/)
    login.end(body)
    const [response] = await once(login, 'response')
    expect(response.statusCode).to.equal(201)
    expect(JSON.parse(await text(response))).to.include({ email: 'jane@example.com' })
    expect(await main.exit()).to.equal(0)
  })

  it('logs in lines of JSON in production, one for a request', async () => {
    const main = start({ ENVIRONMENT: 'production', PORT: '0', DATABASE_URL: 'memory:', SECRET_KEY: SECRET })
    await fetch(`${await main.url()}/openapi.json?token=${SECRET}`)
    main.signal('SIGTERM')
    expect(await main.exit()).to.equal(0)
    const lines = main.output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const [request, ...others] = lines.filter(({ msg }) => msg === 'request')
    expect(request).to.include({ level: 30, method: 'GET', route: '/openapi.json', status: 422 })
    expect(others).to.deep.equal([])
    expect(main.output).to.not.include(SECRET)
  })

  it('adds the metrics of its workers up, and ends when it is told to', async () => {
    const METRICS_PORT = String(await freePort())
    const main = start({
      PORT: '0',
      SECRET_KEY: SECRET,
      DATABASE_URL: 'sqlite:///./tasks.db',
      WEB_CONCURRENCY: '2',
      METRICS_PORT,
    })
    const url = await main.url()
    const requests = Array.from({ length: 10 }, () => fetch(`${url}/livez`, { headers: { connection: 'close' } }))
    for (const answer of requests) expect((await answer).status).to.equal(200)
    expect((await fetch(`${url}/metrics`)).status).to.equal(404)
    const metrics = async () => (await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`)).text()
    const counted = 'http_server_request_duration_seconds_count{method="GET",route="/livez",status="200"} 10\n'
    while (!(await metrics()).includes(counted));
    expect(await metrics()).to.match(/^build_info\{.*\} 1$/m)
    main.signal('SIGTERM')
    expect(await main.exit()).to.equal(0)
  })

  it('names a METRICS_PORT that is in use, of one process and of several', async () => {
    const occupied = createServer().listen(0, '127.0.0.1')
    await once(occupied, 'listening')
    const { port } = occupied.address() as AddressInfo
    const environment = { DATABASE_URL: await postgresql.databaseUrl(), SECRET_KEY: SECRET, METRICS_PORT: String(port) }
    try {
      const started = ['1', '2'].map((WEB_CONCURRENCY) => refusal({ ...environment, WEB_CONCURRENCY }))
      for (const message of await Promise.all(started))
        expect(message).to.equal(`Can't listen on HOST 127.0.0.1, METRICS_PORT ${port}: the port is in use.`)
    } finally {
      occupied.close()
    }
  })

  it('keeps what Node compiled where it is told to, and by itself in no folder that everybody may write to', async () => {
    const told = join(folder, 'compiled')
    for (const environment of [{ NODE_COMPILE_CACHE: told }, { TMPDIR: folder }]) {
      const main = start({ PORT: '0', DATABASE_URL: 'memory:', ...environment })
      await main.url()
      main.signal('SIGTERM')
      expect(await main.exit()).to.equal(0)
    }
    expect(readdirSync(told)).to.have.lengthOf(1)
    expect(readdirSync(folder)).to.deep.equal(['compiled'])
  })

  it('lets V8 put no object among those that live long by a guess, which would never be revised', async () => {
    const guesses = "import { setFlagsFromString } from 'node:v8'; setFlagsFromString('--trace-pretenuring-statistics')"
    const environment = {
      PORT: '0',
      DATABASE_URL: 'memory:',
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(guesses)}`,
    }
    for (const file of [MAIN, SERVICE]) {
      const main = start(environment, file)
      await main.url()
      main.signal('SIGTERM')
      expect(await main.exit()).to.equal(0)
      // The second shows that V8 would tell.
      expect(/pretenuring: /.test(main.output)).to.equal(file === SERVICE)
    }
  })

  it('serves what it kept when it is started again', async () => {
    const pair = new URLSearchParams({ username: 'jane@example.com', password: 'correct horse' })
    const statuses: number[] = []
    for (const path of ['register', 'login']) {
      const main = start({ PORT: '0', SECRET_KEY: SECRET, BCRYPT_ROUNDS: '4', ENVIRONMENT: 'test' })
      const url = `${await main.url()}/api/v1/auth/${path}`
      const json = JSON.stringify({ email: pair.get('username'), password: pair.get('password') })
      const registration = { headers: { 'content-type': 'application/json' }, body: json }
      statuses.push(
        (await fetch(url, { method: 'POST', ...(path === 'login' ? { body: pair } : registration) })).status,
      )
      main.signal('SIGTERM')
      expect(await main.exit()).to.equal(0)
    }
    expect(statuses).to.deep.equal([201, 200])
  })
})
