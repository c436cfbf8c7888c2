import { expect } from 'chai'
import fc from 'fast-check'
import { type Config, ConfigError, type Environment, readConfig, variablesSchema } from '#src/config.ts'

const PLACEHOLDER = 'change-me-to-a-long-random-string'
const SECRET_KEY = 'k'.repeat(32)
const production = { ENVIRONMENT: 'production', SECRET_KEY }

function messageFor(environment: Environment): string {
  try {
    readConfig(environment)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return ''
}

/** The variables that the message names, in order. */
const namedFor = (environment: Environment) =>
  messageFor(environment)
    .split('\n')
    .map((line) => line.split(' ')[0])
    .filter(Boolean)

type Sections = Partial<Record<keyof Config, object>>

const LIMITS = { user: 300, login: 20, register: 30, refresh: 120, failedLogins: 10 }
const DAY = 86_400_000
const SESSIONS = { idle: 30 * DAY, max: 90 * DAY, grace: 10_000 }

describe('The configuration', () => {
  it('limits requests in production by default, and elsewhere on request', () => {
    expect(readConfig(production).limits).to.deep.equal(LIMITS)
    expect(readConfig({ ...production, RATE_LIMIT_ENABLED: 'false' }).limits).to.equal(undefined)
    for (const ENVIRONMENT of ['development', 'test']) expect(readConfig({ ENVIRONMENT }).limits).to.equal(undefined)
    const variables = {
      user: 'USER',
      login: 'LOGIN',
      register: 'REGISTER',
      refresh: 'REFRESH',
      failedLogins: 'FAILED_LOGINS',
    }
    for (const [limit, variable] of Object.entries(variables)) {
      const { limits } = readConfig({ RATE_LIMIT_ENABLED: 'true', [`RATE_LIMIT_${variable}`]: '1' })
      expect(limits).to.deep.equal({ ...LIMITS, [limit]: 1 })
    }
  })

  it('has a default for every variable', () => {
    const { tokens, ...rest } = readConfig({})
    expect(rest).to.deep.equal({
      http: {
        projectName: 'Task Management API',
        apiPrefix: '/api/v1',
        rootPath: '',
        environment: 'development',
        corsOrigins: ['http://localhost:3000', 'http://localhost:8000'],
        trustedProxies: 0,
        maxStreamsPerUser: 10,
      },
      server: {
        host: '127.0.0.1',
        port: 8000,
        headersTimeout: 10,
        requestTimeout: 30,
        keepAliveTimeout: 75,
        maxConnections: 10_000,
        maxConnectionsPerClient: 2_000,
        shutdownDelay: 0,
        shutdownTimeout: 10,
      },
      database: {
        target: { kind: 'sqlite', path: './tasks.db' },
        migrateOnStart: true,
        pool: { size: 10, preparedStatements: true },
        maxTasksPerUser: 100_000,
        tombstoneDays: 90,
      },
      passwords: { bcryptRounds: 12, queueLimit: 100, refuseCommon: false },
      accounts: { registrationEnabled: true, passwordMinLength: 8, sessions: SESSIONS },
      limits: undefined,
      process: { concurrency: 1, metricsPort: undefined, logLevel: 'info', logFormat: 'text' },
    })
    const { secretKey, ...others } = tokens
    expect(others).to.deep.equal({
      secretKeySource: 'random',
      previousSecretKey: undefined,
      algorithm: 'HS256',
      expiresIn: 3_600,
    })
    expect(secretKey).to.have.length.of.at.least(32)
  })

  it('refuses the commonest passwords in production by default, and elsewhere on request', () => {
    const refused = (environment: Environment) => readConfig(environment).passwords.refuseCommon
    expect(refused(production)).to.equal(true)
    expect(refused({ ...production, REFUSE_COMMON_PASSWORDS: 'false' })).to.equal(false)
    for (const ENVIRONMENT of ['development', 'test']) expect(refused({ ENVIRONMENT })).to.equal(false)
    expect(refused({ REFUSE_COMMON_PASSWORDS: 'true' })).to.equal(true)
  })

  it('treats an empty variable as unset', () => {
    const empty = Object.fromEntries(Object.keys(variablesSchema(false).entries).map((name) => [name, '']))
    expect(readConfig({ ...empty, SECRET_KEY })).to.deep.equal(readConfig({ SECRET_KEY }))
  })

  it('ignores unknown variables', () => {
    expect(readConfig({ PATH: '/bin', SKIP: 'x', SECRET_KEY })).to.deep.equal(readConfig({ SECRET_KEY }))
  })

  it('generates a random secret for each start if none is set', () => {
    expect(readConfig({}).tokens.secretKey).to.not.equal(readConfig({}).tokens.secretKey)
    expect(readConfig({ ENVIRONMENT: 'test' }).tokens.secretKeySource).to.equal('random')
  })

  const good: readonly (readonly [variable: string, value: string, expected: Sections])[] = [
    ['PROJECT_NAME', 'Räume & Züge', { http: { projectName: 'Räume & Züge' } }],
    ['API_V1_PREFIX', '/v1', { http: { apiPrefix: '/v1' } }],
    ['ROOT_PATH', '', { http: { rootPath: '' } }],
    ['ROOT_PATH', '/tasks-api', { http: { rootPath: '/tasks-api' } }],
    ['ROOT_PATH', '/a/b', { http: { rootPath: '/a/b' } }],
    ['API_V1_PREFIX', '/a/b-c/d_e/v1.2', { http: { apiPrefix: '/a/b-c/d_e/v1.2' } }],
    ['ENVIRONMENT', 'test', { http: { environment: 'test' } }],
    ['HOST', '0.0.0.0', { server: { host: '0.0.0.0' } }],
    ['HOST', '::1', { server: { host: '::1' } }],
    ['PORT', '0', { server: { port: 0 } }],
    ['PORT', '65535', { server: { port: 65_535 } }],
    ['SECRET_KEY', 'short', { tokens: { secretKey: 'short', secretKeySource: 'operator' } }],
    ['SECRET_KEY', PLACEHOLDER, { tokens: { secretKey: PLACEHOLDER, secretKeySource: 'placeholder' } }],
    ['SECRET_KEY_PREVIOUS', 'short', { tokens: { previousSecretKey: 'short', secretKeySource: 'random' } }],
    ['ALGORITHM', 'HS256', { tokens: { algorithm: 'HS256' } }],
    ['ALGORITHM', 'HS384', { tokens: { algorithm: 'HS384' } }],
    ['ALGORITHM', 'HS512', { tokens: { algorithm: 'HS512' } }],
    ['ACCESS_TOKEN_EXPIRE_MINUTES', '1', { tokens: { expiresIn: 60 } }],
    ['ACCESS_TOKEN_EXPIRE_MINUTES', '525600', { tokens: { expiresIn: 31_536_000 } }],
    ['SESSION_IDLE_DAYS', '1', { accounts: { sessions: { ...SESSIONS, idle: DAY } } }],
    ['SESSION_MAX_DAYS', '36500', { accounts: { sessions: { ...SESSIONS, max: 36_500 * DAY } } }],
    ['REFRESH_GRACE_SECONDS', '0', { accounts: { sessions: { ...SESSIONS, grace: 0 } } }],
    ['REFRESH_GRACE_SECONDS', '300', { accounts: { sessions: { ...SESSIONS, grace: 300_000 } } }],
    ['REGISTRATION_ENABLED', 'false', { accounts: { registrationEnabled: false } }],
    ['PASSWORD_MIN_LENGTH', '15', { accounts: { passwordMinLength: 15 } }],
    ['PASSWORD_MIN_LENGTH', '64', { accounts: { passwordMinLength: 64 } }],
    ['REFUSE_COMMON_PASSWORDS', 'true', { passwords: { refuseCommon: true } }],
    ['BACKEND_CORS_ORIGINS', 'https://app.example.com', { http: { corsOrigins: ['https://app.example.com'] } }],
    [
      'BACKEND_CORS_ORIGINS',
      'http://a.example , http://[::1]:81',
      { http: { corsOrigins: ['http://a.example', 'http://[::1]:81'] } },
    ],
    ['DATABASE_URL', 'memory:', { database: { target: { kind: 'memory' } } }],
    ['DATABASE_URL', 'sqlite:///relative.db', { database: { target: { kind: 'sqlite', path: 'relative.db' } } }],
    ['DATABASE_URL', 'sqlite:///./a b/tasks.db', { database: { target: { kind: 'sqlite', path: './a b/tasks.db' } } }],
    ['DATABASE_URL', 'sqlite:////absolute.db', { database: { target: { kind: 'sqlite', path: '/absolute.db' } } }],
    ['DATABASE_URL', 'sqlite+aiosqlite:///tasks.db', { database: { target: { kind: 'sqlite', path: 'tasks.db' } } }],
    ...['postgresql', 'postgres', 'postgresql+psycopg', 'postgres+asyncpg', 'postgresql+psycopg2'].map(
      (scheme) =>
        [
          'DATABASE_URL',
          `${scheme}://u:p%40ss@db.example:5433/tasks?sslmode=require`,
          {
            database: {
              target: {
                kind: 'postgresql',
                url: 'postgresql://u:p%40ss@db.example:5433/tasks?sslmode=require',
                hosts: [{ host: 'db.example', port: 5433 }],
                database: 'tasks',
                readWrite: false,
                secrets: ['p%40ss', 'p@ss'],
              },
            },
          },
        ] as const,
    ),
    ['MIGRATE_ON_START', 'true', { database: { migrateOnStart: true } }],
    ['MIGRATE_ON_START', 'false', { database: { migrateOnStart: false } }],
    ['BCRYPT_ROUNDS', '4', { passwords: { bcryptRounds: 4 } }],
    ['BCRYPT_ROUNDS', '15', { passwords: { bcryptRounds: 15 } }],
    ['PASSWORD_QUEUE_LIMIT', '0', { passwords: { queueLimit: 0 } }],
    ['WEB_CONCURRENCY', '128', { process: { concurrency: 128 } }],
    ['DATABASE_POOL_SIZE', '2', { database: { pool: { size: 2, preparedStatements: true } } }],
    ['DATABASE_PREPARED_STATEMENTS', 'false', { database: { pool: { size: 10, preparedStatements: false } } }],
    ['HEADERS_TIMEOUT', '1', { server: { headersTimeout: 1 } }],
    ['REQUEST_TIMEOUT', '3600', { server: { requestTimeout: 3_600 } }],
    ['KEEP_ALIVE_TIMEOUT', '620', { server: { keepAliveTimeout: 620 } }],
    ['MAX_CONNECTIONS', '1', { server: { maxConnections: 1 } }],
    ['MAX_CONNECTIONS_PER_CLIENT', '1', { server: { maxConnectionsPerClient: 1 } }],
    ['SHUTDOWN_DELAY', '0', { server: { shutdownDelay: 0 } }],
    ['SHUTDOWN_TIMEOUT', '1', { server: { shutdownTimeout: 1 } }],
    [
      'TRUST_PROXY',
      '2',
      { http: { trustedProxies: 2 }, server: { maxConnectionsPerClient: Number.POSITIVE_INFINITY } },
    ],
    ['RATE_LIMIT_ENABLED', 'true', { limits: LIMITS }],
    ['METRICS_PORT', '9464', { process: { metricsPort: 9_464 } }],
    ...(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const).map(
      (level) => ['LOG_LEVEL', level, { process: { logLevel: level } }] as const,
    ),
  ]
  for (const [variable, value, expected] of good) {
    it(`takes ${variable}=${value}`, () => {
      const config: Partial<Record<string, object>> = { ...readConfig({ [variable]: value }) }
      for (const [section, members] of Object.entries(expected)) expect(config[section]).to.deep.include(members)
    })
  }

  const bad: Readonly<Record<string, readonly string[]>> = {
    ROOT_PATH: ['tasks-api', '/', '/tasks-api/', '//tasks-api', 'https://host/tasks-api', '/a?b', '/a>b'],
    API_V1_PREFIX: ['api', '/', '/api/', '//api', 'http://x/api', '/api?x', '/a b', '/:id', '/{id}', '/a/../b', '/(a)'],
    PORT: ['-1', '65536', '80.5', '0x50', '1e3', '+80', ' 80', '080', 'http', '٨٠', '99999999999999999999'],
    ALGORITHM: ['none', 'hs256', 'RS256', 'ES256', 'HS1', 'HS256,HS384'],
    ACCESS_TOKEN_EXPIRE_MINUTES: ['0', '-1', '1.5', '1h', '01', '1e2', 'Infinity', '9007199254740993'],
    SESSION_IDLE_DAYS: ['0', '36501', '1.5', '30d'],
    SESSION_MAX_DAYS: ['0', '36501', '-90'],
    REFRESH_GRACE_SECONDS: ['-1', '301', '10s', '0.5'],
    REGISTRATION_ENABLED: ['no', '0', 'False'],
    PASSWORD_MIN_LENGTH: ['7', '65', '08', '8.5'],
    REFUSE_COMMON_PASSWORDS: ['yes', '1', 'TRUE'],
    BACKEND_CORS_ORIGINS: [
      '*',
      'http://a.example,*',
      'a.example',
      'http://a.example/',
      'http://a.example/path',
      'http://A.example',
      'http://a.example:80',
      'https://*.example',
      'http://a.example,,http://b.example',
      'null',
      'file:///x',
      'http://user@a.example',
    ],
    DATABASE_URL: [
      'tasks.db',
      'sqlite://',
      'sqlite:///',
      'sqlite://tasks.db',
      'sqlite:///folder/',
      'sqlite:///:memory:',
      'sqlite:///tasks.db?mode=ro',
      'mysql://u:p@h/tasks',
      'postgresql://',
      'postgresql://?sslmode=require',
      'postgresql://jane:%ffsecret@127.0.0.1/tasks',
      'postgresql://h1,,h2/tasks',
      'postgresql://h1,h2,/tasks',
      'postgresql://h1:1,h2:0/tasks',
      'postgresql://h1,h2/tasks?port=1,2,3',
      'postgresql://h/tasks?port=1,2',
      'postgresql://[::1,[::2]/tasks',
      'postgresql://h1,h2/tasks?target_session_attrs=standby',
      'postgresql://h1,h2/tasks?target_session_attrs=prefer-standby',
      'postgresql://h/tasks?target_session_attrs=read-only',
      'postgresql://h/tasks?target_session_attrs=PRIMARY',
      'postgresql://u:p@h:port/tasks',
      'postgresql://u:p@h/tasks?port=abc',
      'postgresql://u:p@h/tasks?port=65536',
      'postgresql://u:p@h:0/tasks',
      'postgresql+://h/tasks',
      'memory',
      'memory://',
      'MEMORY:',
      ':memory:',
    ],
    MIGRATE_ON_START: ['yes', '1', '0', 'TRUE', 'no', ' true'],
    BCRYPT_ROUNDS: ['3', '16', '12.0', 'x', '-4', '04'],
    PASSWORD_QUEUE_LIMIT: ['-1', '1.5', 'none'],
    WEB_CONCURRENCY: ['0', '129', 'auto', '-1'],
    DATABASE_POOL_SIZE: ['0', '1', '1001', 'ten'],
    DATABASE_PREPARED_STATEMENTS: ['no', '0'],
    HEADERS_TIMEOUT: ['0', '3601', '10s'],
    REQUEST_TIMEOUT: ['0', '3601', '0.5'],
    KEEP_ALIVE_TIMEOUT: ['0', '3601', '75s'],
    MAX_CONNECTIONS: ['0', '-1', '1e4'],
    MAX_CONNECTIONS_PER_CLIENT: ['0', '-1', '1e4'],
    SHUTDOWN_DELAY: ['-1', '3601', '5s'],
    SHUTDOWN_TIMEOUT: ['0', '3601', '10s'],
    TRUST_PROXY: ['true', '-1', '101', '127.0.0.1'],
    RATE_LIMIT_ENABLED: ['no', '0', 'False'],
    RATE_LIMIT_USER: ['0', '-1', '300/min'],
    RATE_LIMIT_LOGIN: ['0', '20.5'],
    RATE_LIMIT_REGISTER: ['0', 'x'],
    RATE_LIMIT_REFRESH: ['0', '120/min'],
    RATE_LIMIT_FAILED_LOGINS: ['0', '١٠'],
    MAX_STREAMS_PER_USER: ['0', '-1'],
    MAX_TASKS_PER_USER: ['0', '-1', '1e5'],
    TOMBSTONE_DAYS: ['0', '-1', '36501'],
    METRICS_PORT: ['0', '65536', 'yes', '-1'],
    LOG_LEVEL: ['INFO', 'verbose', 'warning', '30'],
  }
  for (const [variable, values] of Object.entries(bad)) {
    for (const value of values) {
      it(`refuses ${variable}=${value} and says what it must be`, () => {
        const message = messageFor({ [variable]: value })
        expect(message).to.match(new RegExp(`^${variable} must `))
        expect(message).to.not.include('\n')
      })
    }
  }

  /** The hosts and ports that libpq and the driver read from each URL. */
  const hosts: Readonly<Record<string, readonly string[]>> = {
    'postgresql://u:p@h1:5432,h2:5433/tasks': ['h1 5432', 'h2 5433'],
    'postgresql://h1,h2:5433/tasks': ['h1 5432', 'h2 5433'],
    'postgresql://h1,h2,h3/tasks?port=6000': ['h1 6000', 'h2 6000', 'h3 6000'],
    'postgresql://h1,h2/tasks?port=6000,': ['h1 6000', 'h2 5432'],
    'postgresql:///tasks?host=h1,h2&port=5432,5433': ['h1 5432', 'h2 5433'],
    'postgresql:///tasks?host=h1%2Ch2&port=5433': ['h1 5433', 'h2 5433'],
    'postgresql://ignored:1/tasks?host=h1,/run/postgresql': ['h1 1', '/run/postgresql 1'],
    'postgresql://u:p,q@[::1]:5433,127.0.0.1/tasks': ['::1 5433', '127.0.0.1 5432'],
    'postgresql://u@%2Frun%2Fpostgresql,h2/tasks': ['/run/postgresql 5432', 'h2 5432'],
    'postgresql:///tasks?host=/var/run/postgresql': ['/var/run/postgresql 5432'],
    'postgresql://%2Fvar%2Frun%2Fpostgresql/tasks': ['/var/run/postgresql 5432'],
    'postgresql://u:p@/tasks?host=/var/run/postgresql&port=6000': ['/var/run/postgresql 6000'],
    'postgresql://u:p@[::1]/tasks': ['::1 5432'],
    'postgresql:///tasks': ['localhost 5432'],
    'postgresql://h': ['h 5432'],
    'postgresql://h/tasks?sslmode=verify-full&sslrootcert=/nowhere/root.crt': ['h 5432'],
  }
  for (const [url, expected] of Object.entries(hosts)) {
    it(`finds the hosts and ports of ${url}`, () => {
      const { target } = readConfig({ DATABASE_URL: url }).database
      if (target.kind !== 'postgresql') throw new Error(target.kind)
      expect(target.hosts.map(({ host, port }) => `${host} ${port}`)).to.deep.equal(expected)
    })
  }

  it('leaves everything but the hosts to the driver, unchanged', () => {
    const { target } = readConfig({
      DATABASE_URL: 'postgres://j:50%off@h1:1,h2/t?options=-c%20a%3Db&host=&sslcert=/x y&target_session_attrs=any',
    }).database
    expect(target).to.deep.include({
      url: 'postgresql://j:50%off@h1/t?options=-c%20a%3Db&sslcert=/x y&target_session_attrs=any&port=1',
      secrets: ['50%off'],
    })
  })

  it('requires a writable server if there are several hosts or the URL requires one', () => {
    const readWrite = (url: string) => {
      const { target } = readConfig({ DATABASE_URL: url }).database
      return target.kind === 'postgresql' && target.readWrite
    }
    for (const attributes of ['', '?target_session_attrs=any', '?target_session_attrs=']) {
      expect(readWrite(`postgresql://h/tasks${attributes}`), attributes).to.equal(false)
      expect(readWrite(`postgresql://h1,h2/tasks${attributes}`), attributes).to.equal(true)
    }
    for (const wanted of ['read-write', 'primary'])
      expect(readWrite(`postgresql://h/tasks?target_session_attrs=${wanted}`), wanted).to.equal(true)
  })

  it('accepts ports from 0 to 65535 and no others (property-based)', () => {
    fc.assert(
      fc.property(fc.integer({ min: -100_000, max: 200_000 }), (port) => {
        expect(namedFor({ PORT: String(port) })).to.deep.equal(port >= 0 && port <= 65_535 ? [] : ['PORT'])
      }),
    )
  })

  it('refuses several workers with memory:, where each would have its own tasks', () => {
    expect(messageFor({ DATABASE_URL: 'memory:', WEB_CONCURRENCY: '2' })).to.match(/^WEB_CONCURRENCY must be 1 /)
    expect(namedFor({ DATABASE_URL: 'memory:', WEB_CONCURRENCY: '1' })).to.deep.equal([])
  })

  it('refuses the same port for the API and the metrics', () => {
    expect(messageFor({ PORT: '9000', METRICS_PORT: '9000' })).to.equal('METRICS_PORT must differ from PORT')
    expect(namedFor({ PORT: '9000', METRICS_PORT: '9001' })).to.deep.equal([])
    expect(namedFor({ PORT: '9000' })).to.deep.equal([])
  })

  it('refuses a previous key that is the current one', () => {
    const message = 'SECRET_KEY_PREVIOUS must differ from SECRET_KEY'
    expect(messageFor({ SECRET_KEY, SECRET_KEY_PREVIOUS: SECRET_KEY })).to.equal(message)
    expect(messageFor({ ...production, SECRET_KEY_PREVIOUS: SECRET_KEY })).to.equal(message)
    expect(messageFor({ SECRET_KEY, SECRET_KEY_PREVIOUS: `${SECRET_KEY}!` })).to.equal('')
  })

  it('names every invalid variable at once', () => {
    const wrong = Object.fromEntries(Object.entries(bad).map(([variable, [value]]) => [variable, value]))
    expect(namedFor(wrong)).to.have.members(Object.keys(bad))
    expect(namedFor({ ...wrong, ENVIRONMENT: 'production' })).to.have.members([...Object.keys(bad), 'SECRET_KEY'])
  })

  it('never repeats a value in its message, because it may be a secret', () => {
    const mark = 'Qx7z'
    const wrong = {
      ...Object.fromEntries(Object.keys(bad).map((variable) => [variable, mark])),
      ENVIRONMENT: `${mark}-production`,
      SECRET_KEY: mark,
      SECRET_KEY_PREVIOUS: mark,
      DATABASE_URL: `postgresql://${mark}:${mark}@h:port/${mark}`,
      BACKEND_CORS_ORIGINS: `http://${mark}.example/`,
    }
    expect(namedFor(wrong)).to.have.members([...Object.keys(bad), 'SECRET_KEY', 'SECRET_KEY_PREVIOUS'])
    expect(messageFor(wrong)).to.not.include(mark)
  })
})

describe('The configuration of production', () => {
  it('applies to every environment but development and test', () => {
    for (const ENVIRONMENT of ['production', 'staging', 'Development', 'TEST', 'dev'])
      expect(namedFor({ ENVIRONMENT }), ENVIRONMENT).to.deep.equal(['SECRET_KEY'])
    for (const ENVIRONMENT of ['development', 'test']) expect(namedFor({ ENVIRONMENT }), ENVIRONMENT).to.deep.equal([])
  })

  it('requires a secret of at least 32 characters other than the placeholder', () => {
    for (const SECRET_KEY of ['', 'k'.repeat(31), '🙂'.repeat(31), ' \t'.repeat(32), PLACEHOLDER])
      expect(namedFor({ ...production, SECRET_KEY }), SECRET_KEY).to.deep.equal(['SECRET_KEY'])
    for (const SECRET_KEY of ['k'.repeat(32), '🙂'.repeat(32), `${PLACEHOLDER}!`])
      expect(readConfig({ ...production, SECRET_KEY }).tokens).to.include({
        secretKey: SECRET_KEY,
        secretKeySource: 'operator',
      })
  })

  it('requires the same of a previous key, if there is one', () => {
    const read = (SECRET_KEY_PREVIOUS: string, ALGORITHM = 'HS256') =>
      readConfig({ ...production, SECRET_KEY: 's'.repeat(64), SECRET_KEY_PREVIOUS, ALGORITHM }).tokens.previousSecretKey
    expect(read('')).to.equal(undefined)
    for (const key of ['k'.repeat(31), '🙂'.repeat(31), ' \t'.repeat(32), PLACEHOLDER])
      expect(() => read(key), key).to.throw(ConfigError, /^SECRET_KEY_PREVIOUS must be, in production, at least 32 /)
    for (const key of ['k'.repeat(32), '🙂'.repeat(32)]) expect(read(key)).to.equal(key)
    for (const [algorithm, bytes] of [
      ['HS384', 48],
      ['HS512', 64],
    ] as const) {
      const rule = new RegExp(`^SECRET_KEY_PREVIOUS must be at least ${bytes} bytes in production with ALGORITHM`)
      expect(() => read('k'.repeat(bytes - 1), algorithm)).to.throw(ConfigError, rule)
      expect(read('k'.repeat(bytes), algorithm)).to.have.length(bytes)
    }
  })

  it('requires a key at least as long as the hash of HS384 and HS512 (RFC 7518, section 3.2)', () => {
    for (const [ALGORITHM, bytes] of [
      ['HS384', 48],
      ['HS512', 64],
    ] as const) {
      const read = (SECRET_KEY: string, ENVIRONMENT = 'production') =>
        readConfig({ ENVIRONMENT, ALGORITHM, SECRET_KEY }).tokens.secretKey
      const short = 'k'.repeat(bytes - 1)
      expect(() => read(short)).to.throw(
        ConfigError,
        new RegExp(`^SECRET_KEY must be at least ${bytes} bytes in production with ALGORITHM ${ALGORITHM}`),
      )
      expect(() => read('')).to.throw(ConfigError, String(bytes))
      // 32 characters or more, of two bytes each.
      for (const key of ['k'.repeat(bytes), 'é'.repeat(bytes / 2 + 8)]) expect(read(key)).to.equal(key)
      expect(read(short, 'test')).to.equal(short)
    }
  })

  it('requires at least 10 rounds of bcrypt', () => {
    expect(messageFor({ ...production, BCRYPT_ROUNDS: '9' })).to.equal(
      'BCRYPT_ROUNDS must be a whole number, 10 to 15 in production',
    )
    expect(messageFor({ BCRYPT_ROUNDS: '3' })).to.equal('BCRYPT_ROUNDS must be a whole number, 4 to 15')
    expect(readConfig({ ...production, BCRYPT_ROUNDS: '10' }).passwords.bcryptRounds).to.equal(10)
  })
})
