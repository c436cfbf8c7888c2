import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import * as v from 'valibot'
import { type DatabaseTarget, databaseTarget } from './database-target.ts'
import { EnvFileError, parseEnvFile } from './env-file.ts'
import { OperatorError } from './operator-error.ts'

/** An empty variable counts as not set; an unknown one is ignored. */
export type Environment = Readonly<Record<string, string | undefined>>

/** Lists each invalid variable and its constraint, never its value. */
export class ConfigError extends OperatorError {}

const PLACEHOLDER_SECRET = 'change-me-to-a-long-random-string'
const SECRET_RULE =
  'at least 32 characters (48 bytes with ALGORITHM HS384, 64 with HS512), not all blank and not the placeholder'
const PRODUCTION_SECRET = `must be set in production, to ${SECRET_RULE}; \`openssl rand -base64 48\` generates one`
const PREVIOUS_SECRET = `must be, in production, ${SECRET_RULE}`
/** The key must be at least as long as the hash (RFC 7518, section 3.2); HS256 is covered by the minimum of 32 characters. */
const MIN_KEY_BYTES = { HS256: 0, HS384: 48, HS512: 64 } as const
/** About two million years, so that the lifetime in seconds is an exact number. */
const MAX_MINUTES = 1_000_000_000_000
/** A century. */
const MAX_DAYS = 36_500
/** Milliseconds. */
const DAY = 86_400_000
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
const NON_PRODUCTION = new Set(['development', 'test'])

const wholeNumberText = (min: number, max = Number.MAX_SAFE_INTEGER, scope = '') => {
  const range = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `${min} to ${max}`
  const message = `must be a whole number, ${range}${scope}`
  return v.pipe(
    v.string(),
    v.regex(/^(?:0|[1-9]\d{0,15})$/, message),
    v.transform(Number),
    v.check((number) => number >= min && number <= max, message),
  )
}

const wholeNumber = (fallback: number, min: number, max?: number, scope?: string) =>
  v.optional(wholeNumberText(min, max, scope), String(fallback))

const choice = <const Options extends readonly string[]>(fallback: Options[number], options: Options) =>
  v.optional(v.picklist(options, `must be one of ${options.join(', ')}`), fallback)

const flag = (fallback: boolean) =>
  v.pipe(
    choice(fallback ? 'true' : 'false', ['true', 'false']),
    v.transform((text) => text === 'true'),
  )

const isProductionSecret = (secret: string) =>
  [...secret].length >= 32 && secret.trim() !== '' && secret !== PLACEHOLDER_SECRET

/** An origin exactly as browsers send it (RFC 6454, section 6.2): no path, no default port, no capitals. */
const isOrigin = (text: string) => /^https?:[^*]*$/.test(text) && URL.canParse(text) && new URL(text).origin === text

const DATABASE_URL =
  'must be sqlite:///relative.db, sqlite:////absolute.db, postgresql://user:password@host:port/database (several hosts as host1:port1,host2:port2; target_session_attrs read-write, primary or any) or memory:'

const path = v.regex(
  /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$/,
  'must begin with /, not end with it, and hold only letters, digits, ".", "_", "~" and "-" between',
)

/** The schema of every variable. Production is stricter about some of them. */
export const variablesSchema = (production: boolean) =>
  v.object({
    PROJECT_NAME: v.optional(v.string(), 'Task Management API'),
    API_V1_PREFIX: v.pipe(v.optional(v.string(), '/api/v1'), path),
    ROOT_PATH: v.optional(v.pipe(v.string(), path)),
    ENVIRONMENT: v.optional(v.string(), 'development'),
    HOST: v.optional(v.string(), '127.0.0.1'),
    PORT: wholeNumber(8000, 0, 65_535),
    SECRET_KEY: production
      ? v.pipe(v.optional(v.string(), ''), v.check(isProductionSecret, PRODUCTION_SECRET))
      : v.optional(v.string()),
    SECRET_KEY_PREVIOUS: v.optional(
      production ? v.pipe(v.string(), v.check(isProductionSecret, PREVIOUS_SECRET)) : v.string(),
    ),
    ALGORITHM: choice('HS256', ['HS256', 'HS384', 'HS512']),
    ACCESS_TOKEN_EXPIRE_MINUTES: wholeNumber(60, 1, MAX_MINUTES),
    SESSION_IDLE_DAYS: wholeNumber(30, 1, MAX_DAYS),
    SESSION_MAX_DAYS: wholeNumber(90, 1, MAX_DAYS),
    REFRESH_GRACE_SECONDS: wholeNumber(10, 0, 300),
    REGISTRATION_ENABLED: flag(true),
    BACKEND_CORS_ORIGINS: v.pipe(
      v.optional(v.string(), 'http://localhost:3000,http://localhost:8000'),
      v.transform((list) => list.split(',').map((origin) => origin.trim())),
      v.check(
        (origins) => origins.every(isOrigin),
        'must be a comma-separated list of origins such as https://app.example.com, without paths and without *',
      ),
    ),
    DATABASE_URL: v.pipe(
      v.optional(v.string(), 'sqlite:///./tasks.db'),
      v.transform(databaseTarget),
      v.custom<DatabaseTarget>((target) => target !== undefined, DATABASE_URL),
    ),
    MIGRATE_ON_START: flag(true),
    BCRYPT_ROUNDS: production ? wholeNumber(12, 10, 15, ' in production') : wholeNumber(12, 4, 15),
    PASSWORD_QUEUE_LIMIT: wholeNumber(100, 0),
    PASSWORD_MIN_LENGTH: wholeNumber(8, 8, 64),
    // Tutorials and tests use simple passwords.
    REFUSE_COMMON_PASSWORDS: flag(production),
    WEB_CONCURRENCY: wholeNumber(1, 1, 128),
    DATABASE_POOL_SIZE: wholeNumber(10, 2, 1_000),
    DATABASE_PREPARED_STATEMENTS: flag(true),
    // Outside production, all clients often share one address, for example in tests or behind an office gateway.
    RATE_LIMIT_ENABLED: flag(production),
    RATE_LIMIT_USER: wholeNumber(300, 1),
    RATE_LIMIT_LOGIN: wholeNumber(20, 1),
    RATE_LIMIT_REGISTER: wholeNumber(30, 1),
    RATE_LIMIT_REFRESH: wholeNumber(120, 1),
    RATE_LIMIT_FAILED_LOGINS: wholeNumber(10, 1),
    MAX_TASKS_PER_USER: wholeNumber(100_000, 1),
    TOMBSTONE_DAYS: wholeNumber(90, 1, MAX_DAYS),
    MAX_STREAMS_PER_USER: wholeNumber(10, 1),
    TRUST_PROXY: wholeNumber(0, 0, 100),
    HEADERS_TIMEOUT: wholeNumber(10, 1, 3_600),
    REQUEST_TIMEOUT: wholeNumber(30, 1, 3_600),
    KEEP_ALIVE_TIMEOUT: wholeNumber(75, 1, 3_600),
    MAX_CONNECTIONS: wholeNumber(10_000, 1),
    MAX_CONNECTIONS_PER_CLIENT: wholeNumber(2_000, 1),
    SHUTDOWN_DELAY: wholeNumber(0, 0, 3_600),
    SHUTDOWN_TIMEOUT: wholeNumber(10, 1, 3_600),
    METRICS_PORT: v.optional(wholeNumberText(1, 65_535)),
    LOG_LEVEL: choice('info', LOG_LEVELS),
  })

const portsDiffer = ({ PORT, METRICS_PORT }: { PORT: number; METRICS_PORT?: number | undefined }) =>
  PORT === 0 || METRICS_PORT !== PORT

/** Several processes can share a file or a server, but not memory. */
const supportsConcurrency = ({
  DATABASE_URL,
  WEB_CONCURRENCY,
}: {
  DATABASE_URL: DatabaseTarget
  WEB_CONCURRENCY: number
}) => WEB_CONCURRENCY === 1 || DATABASE_URL.kind !== 'memory'

interface Signing {
  readonly ALGORITHM: keyof typeof MIN_KEY_BYTES
}

const isLongEnough = (key: string, { ALGORITHM }: Signing) => Buffer.byteLength(key) >= MIN_KEY_BYTES[ALGORITHM]

const keyTooShort = ({ input: { ALGORITHM } }: { readonly input: Signing }) =>
  `must be at least ${MIN_KEY_BYTES[ALGORITHM]} bytes in production with ALGORITHM ${ALGORITHM}; \`openssl rand -base64 48\` generates one`

const environmentSchema = (production: boolean) =>
  v.pipe(
    variablesSchema(production),
    v.forward(
      v.partialCheck(
        [['SECRET_KEY'], ['ALGORITHM']],
        ({ SECRET_KEY: key = '', ...signing }) => !production || isLongEnough(key, signing),
        keyTooShort,
      ),
      ['SECRET_KEY'],
    ),
    v.forward(
      v.partialCheck(
        [['SECRET_KEY_PREVIOUS'], ['ALGORITHM']],
        ({ SECRET_KEY_PREVIOUS: key, ...signing }) => !production || key === undefined || isLongEnough(key, signing),
        keyTooShort,
      ),
      ['SECRET_KEY_PREVIOUS'],
    ),
    v.forward(
      v.partialCheck(
        [['SECRET_KEY'], ['SECRET_KEY_PREVIOUS']],
        ({ SECRET_KEY, SECRET_KEY_PREVIOUS: previous }) => previous === undefined || previous !== SECRET_KEY,
        'must differ from SECRET_KEY',
      ),
      ['SECRET_KEY_PREVIOUS'],
    ),
    v.forward(
      v.partialCheck(
        [['DATABASE_URL'], ['WEB_CONCURRENCY']],
        supportsConcurrency,
        'must be 1 with DATABASE_URL memory:',
      ),
      ['WEB_CONCURRENCY'],
    ),
    v.forward(v.partialCheck([['PORT'], ['METRICS_PORT']], portsDiffer, 'must differ from PORT'), ['METRICS_PORT']),
  )

/**
 * Reads the process environment, and `.env` in the working directory for variables that are not set there.
 *
 * @throws ConfigError when the file cannot be read or parsed
 */
export function readEnvironment(): Environment {
  return { ...readEnvFile('.env'), ...withoutEmpty(process.env) }
}

function readEnvFile(path: string): Environment {
  try {
    return parseEnvFile(readFileSync(path))
  } catch (error) {
    if (error instanceof EnvFileError) throw new ConfigError(`${path}, ${error.message}`)
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return {}
    throw new ConfigError(`Cannot read ${path} (${code}).`)
  }
}

function withoutEmpty(environment: Environment): Environment {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
}

/** Settings of the HTTP API. */
export interface HttpConfig {
  readonly projectName: string
  /** Begins with a slash and does not end with one. */
  readonly apiPrefix: string
  /** Path prefix that a proxy strips; empty, or in the format of `apiPrefix`. */
  readonly rootPath: string
  /** Label for `/health`. */
  readonly environment: string
  readonly corsOrigins: readonly string[]
  /** Number of proxies in front that append to X-Forwarded-For. */
  readonly trustedProxies: number
  /** Maximum event streams and long polls of one user in this process; a further one ends the oldest. */
  readonly maxStreamsPerUser: number
}

/** The listener and its limits. Times are in seconds. */
export interface ServerConfig {
  readonly host: string
  /** 0 takes a free port. */
  readonly port: number
  /** Maximum time for the headers of a request to arrive. */
  readonly headersTimeout: number
  /** Maximum time for a whole request to arrive, and for a client to read the next part of its response. */
  readonly requestTimeout: number
  /** Maximum time between two requests on a connection. */
  readonly keepAliveTimeout: number
  /** Maximum number of connections; further ones are closed at once. */
  readonly maxConnections: number
  /** Maximum number of connections from one client network; infinite behind a proxy, because all connections come from the proxy. */
  readonly maxConnectionsPerClient: number
  /** Time for which requests are still accepted after readiness turned false. */
  readonly shutdownDelay: number
  /** Maximum time from the end of `shutdownDelay` to the exit of the process, mostly for draining requests. */
  readonly shutdownTimeout: number
}

export interface DatabaseConfig {
  readonly target: DatabaseTarget
  readonly migrateOnStart: boolean
  readonly pool: DatabasePool
  readonly maxTasksPerUser: number
  /** Days for which deletions of tasks are kept, so that clients can synchronize. */
  readonly tombstoneDays: number
}

/** Connections to PostgreSQL. */
export interface DatabasePool {
  /** 2 or more: a migration needs two. */
  readonly size: number
  /** False behind a pooler that may run each transaction on another connection. */
  readonly preparedStatements: boolean
}

export interface TokenConfig {
  /** Random if SECRET_KEY is not set. */
  readonly secretKey: string
  /** The source of the key; anyone can read the placeholder in `.env.example`. */
  readonly secretKeySource: 'operator' | 'random' | 'placeholder'
  /** Verifies tokens and never signs. */
  readonly previousSecretKey: string | undefined
  readonly algorithm: 'HS256' | 'HS384' | 'HS512'
  /** Seconds. */
  readonly expiresIn: number
}

export interface PasswordConfig {
  readonly bcryptRounds: number
  /** Maximum number of passwords that wait to be hashed or verified. */
  readonly queueLimit: number
  readonly refuseCommon: boolean
}

/** The account policy, which the use cases receive unchanged. */
export interface AccountConfig {
  readonly registrationEnabled: boolean
  /** In characters. */
  readonly passwordMinLength: number
  /** Times in milliseconds. */
  readonly sessions: {
    /** Maximum time since the last use. */
    readonly idle: number
    /** Maximum time since the login. */
    readonly max: number
    /** Time for which a used refresh token still yields its successor. */
    readonly grace: number
  }
}

export interface LimitConfig {
  /** Requests per minute by one user. */
  readonly user: number
  /** Logins per minute from one client network. */
  readonly login: number
  /** Registrations per minute from one client network. */
  readonly register: number
  /** Refreshes and revocations of tokens per minute from one client network. */
  readonly refresh: number
  /** Failed logins to one account per quarter of an hour. */
  readonly failedLogins: number
}

export interface ProcessConfig {
  /** Number of processes that serve the port. */
  readonly concurrency: number
  /** Undefined if metrics are not collected. */
  readonly metricsPort: number | undefined
  readonly logLevel: (typeof LOG_LEVELS)[number]
  readonly logFormat: 'json' | 'text'
}

/** The configuration in sections; each part of the service receives its own section only. */
export interface Config {
  readonly http: HttpConfig
  readonly server: ServerConfig
  readonly database: DatabaseConfig
  readonly tokens: TokenConfig
  readonly passwords: PasswordConfig
  readonly accounts: AccountConfig
  /** Undefined if requests are not limited. */
  readonly limits: LimitConfig | undefined
  readonly process: ProcessConfig
}

function configError(issues: readonly v.BaseIssue<unknown>[]): ConfigError {
  return new ConfigError(issues.map((issue) => `${v.getDotPath(issue)} ${issue.message}`).join('\n'))
}

/**
 * Reads DATABASE_URL alone, for commands that need no key.
 *
 * @throws ConfigError
 */
export function readDatabaseTarget(environment: Environment): DatabaseTarget {
  const schema = v.pick(variablesSchema(false), ['DATABASE_URL'])
  const { success, output, issues } = v.safeParse(schema, withoutEmpty(environment))
  if (!success) throw configError(issues)
  return output.DATABASE_URL
}

function sourceOfKey(key: string | undefined): TokenConfig['secretKeySource'] {
  if (key === undefined) return 'random'
  return key === PLACEHOLDER_SECRET ? 'placeholder' : 'operator'
}

/** @throws ConfigError */
export function readConfig(environment: Environment): Config {
  const variables = withoutEmpty(environment)
  const production = !NON_PRODUCTION.has(variables.ENVIRONMENT ?? 'development')
  const { success, output, issues } = v.safeParse(environmentSchema(production), variables)
  if (!success) throw configError(issues)
  return {
    http: {
      projectName: output.PROJECT_NAME,
      apiPrefix: output.API_V1_PREFIX,
      rootPath: output.ROOT_PATH ?? '',
      environment: output.ENVIRONMENT,
      corsOrigins: output.BACKEND_CORS_ORIGINS,
      trustedProxies: output.TRUST_PROXY,
      maxStreamsPerUser: output.MAX_STREAMS_PER_USER,
    },
    server: {
      host: output.HOST,
      port: output.PORT,
      headersTimeout: output.HEADERS_TIMEOUT,
      requestTimeout: output.REQUEST_TIMEOUT,
      keepAliveTimeout: output.KEEP_ALIVE_TIMEOUT,
      maxConnections: output.MAX_CONNECTIONS,
      maxConnectionsPerClient: output.TRUST_PROXY > 0 ? Number.POSITIVE_INFINITY : output.MAX_CONNECTIONS_PER_CLIENT,
      shutdownDelay: output.SHUTDOWN_DELAY,
      shutdownTimeout: output.SHUTDOWN_TIMEOUT,
    },
    database: {
      target: output.DATABASE_URL,
      migrateOnStart: output.MIGRATE_ON_START,
      pool: { size: output.DATABASE_POOL_SIZE, preparedStatements: output.DATABASE_PREPARED_STATEMENTS },
      maxTasksPerUser: output.MAX_TASKS_PER_USER,
      tombstoneDays: output.TOMBSTONE_DAYS,
    },
    tokens: {
      secretKey: output.SECRET_KEY ?? randomBytes(48).toString('base64'),
      secretKeySource: sourceOfKey(output.SECRET_KEY),
      previousSecretKey: output.SECRET_KEY_PREVIOUS,
      algorithm: output.ALGORITHM,
      expiresIn: output.ACCESS_TOKEN_EXPIRE_MINUTES * 60,
    },
    passwords: {
      bcryptRounds: output.BCRYPT_ROUNDS,
      queueLimit: output.PASSWORD_QUEUE_LIMIT,
      refuseCommon: output.REFUSE_COMMON_PASSWORDS,
    },
    accounts: {
      registrationEnabled: output.REGISTRATION_ENABLED,
      passwordMinLength: output.PASSWORD_MIN_LENGTH,
      sessions: {
        idle: output.SESSION_IDLE_DAYS * DAY,
        max: output.SESSION_MAX_DAYS * DAY,
        grace: output.REFRESH_GRACE_SECONDS * 1_000,
      },
    },
    limits: output.RATE_LIMIT_ENABLED
      ? {
          user: output.RATE_LIMIT_USER,
          login: output.RATE_LIMIT_LOGIN,
          register: output.RATE_LIMIT_REGISTER,
          refresh: output.RATE_LIMIT_REFRESH,
          failedLogins: output.RATE_LIMIT_FAILED_LOGINS,
        }
      : undefined,
    process: {
      concurrency: output.WEB_CONCURRENCY,
      metricsPort: output.METRICS_PORT,
      logLevel: output.LOG_LEVEL,
      logFormat: output.ENVIRONMENT === 'development' ? 'text' : 'json',
    },
  }
}

/**
 * Reads the configuration for commands that sign nothing and therefore need no SECRET_KEY, also in production.
 *
 * @throws ConfigError
 */
export function readCommandConfig(environment: Environment): Config {
  return readConfig({ ...environment, SECRET_KEY: randomBytes(64).toString('base64') })
}
