import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { variablesSchema } from '#src/config.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { freePort } from '#test/free-port.ts'
import { allowProcesses, type Environment, folder, Process, Service } from '#test/process.ts'
import { Client } from './client.ts'

const MAIN = 'src/main.ts'
/** The service without the setup of `main.ts`. */
const SERVICE = 'src/service.ts'
/** Must not appear in any message. */
const SECRET = 'Qx7z-a-secret-that-nothing-may-print'

/** Starts a process with defaults, except for the port. */
const start = (environment: Environment, file = MAIN) => new Process(file, { PORT: '0', ...environment })

/** An invalid value for every variable, with the other variables that make it invalid. */
const invalid: readonly { readonly among: Environment; readonly values: Environment }[] = [
  {
    among: {},
    values: {
      API_V1_PREFIX: 'api/v1/',
      ROOT_PATH: 'tasks-api/',
      PORT: '65536',
      ALGORITHM: 'none',
      ACCESS_TOKEN_EXPIRE_MINUTES: '0',
      SESSION_IDLE_DAYS: '0',
      SESSION_MAX_DAYS: 'never',
      REFRESH_GRACE_SECONDS: '301',
      REGISTRATION_ENABLED: 'no',
      PASSWORD_MIN_LENGTH: '7',
      REFUSE_COMMON_PASSWORDS: '1',
      BACKEND_CORS_ORIGINS: '*',
      DATABASE_URL: `mysql://jane:${SECRET}@db/tasks`,
      MIGRATE_ON_START: 'yes',
      PASSWORD_QUEUE_LIMIT: '-1',
      DATABASE_POOL_SIZE: 'many',
      DATABASE_PREPARED_STATEMENTS: '1',
      HEADERS_TIMEOUT: 'ten',
      REQUEST_TIMEOUT: '1.5',
      KEEP_ALIVE_TIMEOUT: '75s',
      MAX_CONNECTIONS: '0',
      MAX_CONNECTIONS_PER_CLIENT: '0',
      SHUTDOWN_DELAY: '-1',
      SHUTDOWN_TIMEOUT: '0',
      TRUST_PROXY: 'true',
      RATE_LIMIT_ENABLED: 'off',
      RATE_LIMIT_USER: '0',
      RATE_LIMIT_LOGIN: '1e3',
      RATE_LIMIT_REGISTER: '007',
      RATE_LIMIT_REFRESH: '2/s',
      RATE_LIMIT_FAILED_LOGINS: ' 10',
      MAX_TASKS_PER_USER: '0',
      TOMBSTONE_DAYS: '36501',
      MAX_STREAMS_PER_USER: '0',
      METRICS_PORT: '0',
      LOG_LEVEL: 'loud',
    },
  },
  {
    among: { ENVIRONMENT: 'production' },
    values: { SECRET_KEY: SECRET.slice(0, 31), SECRET_KEY_PREVIOUS: SECRET.slice(0, 30), BCRYPT_ROUNDS: '9' },
  },
  { among: { DATABASE_URL: 'memory:' }, values: { WEB_CONCURRENCY: '2' } },
]

/** Variables without an invalid value. A wrong HOST fails later, when the service listens. */
const FREE_FORM = ['PROJECT_NAME', 'ENVIRONMENT', 'HOST']

/** The message for a SQLite file of another program. */
const FOREIGN = /the file belongs to another program|is not a database of this service/

describe('A failing start', () => {
  allowProcesses()

  for (const { among, values } of invalid) {
    const names = Object.keys(values)
    it(`names exactly the ${names.length} invalid variables (${names[0]}, …)`, async () => {
      const message = await new Service({ ...among, ...values }).failureMessage()
      const named = message.split('\n').map((line) => /^(\w+) must ./.exec(line)?.[1])
      expect(named).to.have.members(names)
      expect(message).to.not.include(SECRET.slice(0, 20))
      expect(readdirSync(folder), 'a database').to.deep.equal([])
    })
  }

  it('is tested with an invalid value of every variable', () => {
    const named = invalid.flatMap(({ values }) => Object.keys(values))
    expect([...named, ...FREE_FORM].sort()).to.deep.equal(Object.keys(variablesSchema(true).entries).sort())
  })

  it('names a HOST that is not local or cannot be resolved', async () => {
    for (const HOST of ['192.0.2.1', 'nowhere.invalid']) {
      const message = await new Service({ DATABASE_URL: 'memory:', HOST }).failureMessage()
      expect(message)
        .to.match(/^Cannot listen on \S+:0 \(HOST, PORT\): \S.+\.$/)
        .and.include(HOST)
    }
  })

  it('leaves a SQLite file of another program unchanged, as does every command', async () => {
    const names = ['notes.db', 'notes-wal.db']
    for (const name of names) {
      const notes = new BetterSqlite3(join(folder, name))
      if (name.includes('wal')) notes.pragma('journal_mode = wal')
      notes.exec('create table notes (text)')
      notes.close()
    }
    const own = new Process('src/adapters/cli/migrate.ts', { DATABASE_URL: 'sqlite:///tasks.db' })
    expect(await own.exitCode(), own.output).to.equal(0)
    const contents = () =>
      readdirSync(folder).map((file) => [file, names.includes(file) && readFileSync(join(folder, file), 'hex')])
    const before = contents()
    for (const name of names) {
      const environment = { DATABASE_URL: `sqlite:///${name}` }
      const command = (file: string, words: readonly string[] = []) => new Process(file, environment, { words })
      const commands = [
        new Service(environment),
        new Service({ ...environment, WEB_CONCURRENCY: '2' }),
        command('src/adapters/cli/migrate.ts'),
        command('src/adapters/cli/backup.ts', ['backup.db']),
        command('src/adapters/cli/restore.ts', ['tasks.db']),
        command('src/adapters/cli/admin.ts', ['grant', 'jane@example.com']),
      ]
      for (const message of await Promise.all(commands.map((each) => each.failureMessage()))) {
        expect(message.split('\n')).to.have.lengthOf(1)
        expect(message).to.include(join(folder, name)).and.match(FOREIGN)
      }
    }
    const restored = new Process(
      'src/adapters/cli/restore.ts',
      { DATABASE_URL: 'sqlite:///tasks.db' },
      { words: names.slice(0, 1) },
    )
    expect(await restored.failureMessage())
      .to.include(join(folder, 'notes.db'))
      .and.match(FOREIGN)
    expect(contents()).to.deep.equal(before)
  })

  it('names the path of a database that cannot be opened', async () => {
    mkdirSync(join(folder, 'a-folder'))
    writeFileSync(join(folder, 'a-file'), 'This is no database, and it is long enough to tell.'.repeat(100))
    const refused = ['missing/tasks.db', 'a-folder', 'a-file/tasks.db', 'a-file'].map(async (path) => {
      const message = await new Service({ DATABASE_URL: `sqlite:///${path}` }).failureMessage()
      expect(message).to.include(join(folder, path))
      expect(message.split('\n')).to.have.length(1)
    })
    await Promise.all(refused)
  })

  it('names an invalid variable in .env without its value', async () => {
    writeFileSync(join(folder, '.env'), `LOG_LEVEL=${SECRET}\nUNKNOWN_VARIABLE=${SECRET}`)
    expect(await start({}).failureMessage())
      .to.match(/\bLOG_LEVEL must /)
      .and.not.include(SECRET)
  })

  it('names the line of a malformed .env without its content', async () => {
    const refused = {
      'line 3': `# a comment\n\nSECRET_KEY: ${SECRET}`,
      'line 2': Buffer.from(`PORT=0\nPROJECT_NAME=caf\xe9 ${SECRET}`, 'latin1'),
      'line 1': Buffer.from(`\uFEFFSECRET_KEY=${SECRET}\n`, 'utf16le'),
    }
    const start = { [MAIN]: [], 'src/adapters/cli/migrate.ts': [], 'src/adapters/cli/backup.ts': ['backup.db'] }
    for (const [line, content] of Object.entries(refused)) {
      writeFileSync(join(folder, '.env'), content)
      const commands = Object.entries(start).map(([file, words]) => new Process(file, {}, { words }))
      for (const message of await Promise.all(commands.map((command) => command.failureMessage()))) {
        expect(message)
          .to.match(new RegExp(`^\\.env, ${line}: must be .+$`))
          .and.not.include(SECRET)
      }
    }
    expect(readdirSync(folder)).to.deep.equal(['.env'])
  })

  describe('on a port in use', () => {
    let occupied: Server
    let port: string

    beforeEach(async () => {
      occupied = createServer().listen(0, '127.0.0.1')
      await once(occupied, 'listening')
      port = String((occupied.address() as AddressInfo).port)
    })
    afterEach(() => occupied.close())

    const inUse = (variable: string) => `Cannot listen on 127.0.0.1:${port} (HOST, ${variable}): port already in use.`

    it('names PORT', async () => {
      expect(await new Service({ DATABASE_URL: 'memory:', PORT: port }).failureMessage()).to.equal(inUse('PORT'))
    })

    it('names PORT once for two workers', async () => {
      expect(await new Service({ WEB_CONCURRENCY: '2', PORT: port }).failureMessage()).to.equal(inUse('PORT'))
    })

    for (const workers of ['1', '2']) {
      it(`names METRICS_PORT (WEB_CONCURRENCY=${workers})`, async () => {
        // Open connections to PostgreSQL would keep a process alive that does not exit explicitly.
        const environment = { DATABASE_URL: await postgresql.databaseUrl(), WEB_CONCURRENCY: workers }
        expect(await new Service({ ...environment, METRICS_PORT: port }).failureMessage()).to.equal(
          inUse('METRICS_PORT'),
        )
      })

      it(`ends the process although the metrics port is open (WEB_CONCURRENCY=${workers})`, async () => {
        const metrics = { METRICS_PORT: String(await freePort()) }
        const message = await new Service({ WEB_CONCURRENCY: workers, PORT: port, ...metrics }).failureMessage()
        expect(message).to.equal(inUse('PORT'))
      })
    }
  })

  for (const workers of ['1', '2']) {
    it(`names host and port of an unreachable PostgreSQL, but no password (WEB_CONCURRENCY=${workers})`, async () => {
      const port = await freePort()
      const DATABASE_URL = `postgresql://jane:${SECRET}@127.0.0.1:${port}/tasks`
      const message = await new Service({ DATABASE_URL, WEB_CONCURRENCY: workers }).failureMessage()
      expect(message).to.equal(`The PostgreSQL database at 127.0.0.1:${port} cannot be opened: connection refused`)
    })
  }
})

describe('A start', () => {
  allowProcesses()

  it('accepts a REQUEST_TIMEOUT below the default of HEADERS_TIMEOUT', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', REQUEST_TIMEOUT: '1' })
    expect((await fetch(`${await service.url()}/health`)).status).to.equal(200)
  })

  it('stores the compile cache in NODE_COMPILE_CACHE, and by default in no world-writable folder', async () => {
    const cache = join(folder, 'compiled')
    for (const environment of [{ NODE_COMPILE_CACHE: cache }, { TMPDIR: folder }]) {
      const main = start({ DATABASE_URL: 'memory:', ...environment })
      await main.url()
      await main.stop()
    }
    expect(readdirSync(cache)).to.have.lengthOf(1)
    expect(readdirSync(folder)).to.deep.equal(['compiled'])
  })

  it('turns allocation-site pretenuring off in V8', async () => {
    const tracing = "import { setFlagsFromString } from 'node:v8'; setFlagsFromString('--trace-pretenuring-statistics')"
    const environment = {
      DATABASE_URL: 'memory:',
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(tracing)}`,
    }
    for (const file of [MAIN, SERVICE]) {
      const main = start(environment, file)
      await main.url()
      await main.stop()
      // V8 prints statistics unless main.ts sets its flag.
      expect(/pretenuring: /.test(main.output)).to.equal(file === SERVICE)
    }
  })
})

describe('An uncaught exception', () => {
  allowProcesses()

  /** Runs code in the service on SIGUSR2. */
  const onSignal = (code: string): Environment => ({
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(`process.on('SIGUSR2',()=>{${code}})`)}`,
  })

  const errors = {
    'is thrown': "setImmediate(()=>{throw new Error('uncaught')})",
    'rejects a promise': "Promise.reject(new Error('uncaught'))",
  }
  for (const [name, code] of Object.entries(errors)) {
    it(`ends the process with 1 and a log line if it ${name}`, async () => {
      const service = new Service({ DATABASE_URL: 'memory:', ...onSignal(code) })
      await Client.signUp(await service.url())
      service.signal('SIGUSR2')
      expect(await service.exitCode()).to.equal(1)
      const last = JSON.parse(service.output.trim().split('\n').at(-1) as string)
      expect(last).to.include({ level: 'fatal', msg: 'Uncaught exception; exiting' })
      expect(last.err).to.include({ message: 'uncaught' })
    })
  }
})
