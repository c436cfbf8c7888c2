import 'reflect-metadata'
import { availableParallelism } from 'node:os'
import { type DependencyContainer, instanceCachingFactory, container as root } from 'tsyringe'
import packageJson from '../package.json' with { type: 'json' }
import { accessLog, type Log } from './adapters/http/access-log.ts'
import { createApp } from './adapters/http/app.ts'
import type { LimitName, Limits } from './adapters/http/limits.ts'
import { Readiness } from './adapters/http/readiness.ts'
import { type ListeningServer, listen } from './adapters/http/server.ts'
import { InMemoryTaskRepository } from './adapters/in-memory/in-memory-task-repository.ts'
import { InMemoryUserRepository } from './adapters/in-memory/in-memory-user-repository.ts'
import { Metrics, serveMetrics, shareMetrics } from './adapters/metrics/prometheus.ts'
import { type Database, openDatabase } from './adapters/mikro-orm/database.ts'
import { CountingLoginThrottle, noLoginThrottle, rateLimiter } from './adapters/rate-limits/rate-limits.ts'
import { BcryptPasswordHasher } from './adapters/security/bcrypt-password-hasher.ts'
import { BoundedPasswordHasher } from './adapters/security/bounded-password-hasher.ts'
import { JwtTokenService } from './adapters/security/jwt-token-service.ts'
import type { Config } from './config.ts'
import type { Ports, Store } from './domain/ports.ts'
import { ManageAccounts } from './domain/use-cases/manage-accounts.ts'
import { ManageTasks } from './domain/use-cases/manage-tasks.ts'

/** How to build each port. Leaving one out does not compile. */
export type AdapterSet = { readonly [Port in keyof Ports]: (container: DependencyContainer) => Ports[Port] }

/** A container of its own for each service, never the global one, so that two of them stay apart. */
export function compose(adapters: AdapterSet): DependencyContainer {
  const container = root.createChildContainer()
  for (const [port, build] of Object.entries(adapters)) {
    container.register(port, { useFactory: instanceCachingFactory<unknown>(build) })
  }
  const ports = portsOf(container)
  container.register(ManageAccounts, { useFactory: instanceCachingFactory(() => new ManageAccounts(ports)) })
  container.register(ManageTasks, { useFactory: instanceCachingFactory(() => new ManageTasks(ports)) })
  return container
}

function portsOf(container: DependencyContainer): Ports {
  const port = <Name extends keyof Ports>(name: Name) => container.resolve<Ports[Name]>(name)
  return {
    tasks: port('tasks'),
    users: port('users'),
    passwords: port('passwords'),
    logins: port('logins'),
    tokens: port('tokens'),
    clock: port('clock'),
    store: port('store'),
  }
}

/** Where tasks and users are kept, opened. */
async function openStorage({ database: target, databasePool }: Config): Promise<Database> {
  if (target.kind !== 'memory') return openDatabase(target, databasePool)
  return {
    tasks: new InMemoryTaskRepository(),
    users: new InMemoryUserRepository(),
    pool: undefined,
    waiting: () => 0,
    ping: async () => {},
    migrate: async () => [],
    pending: async () => [],
    close: async () => {},
  }
}

const QUARTER_OF_AN_HOUR = 15 * 60

function adapters(config: Config, storage: Database, passwords: BoundedPasswordHasher): AdapterSet {
  const { secretKey, algorithm, accessTokenExpireMinutes, rateLimits } = config
  const jwt = { secretKey, algorithm, expiresIn: accessTokenExpireMinutes * 60 }
  return {
    tasks: () => storage.tasks,
    users: () => storage.users,
    passwords: () => passwords,
    logins: () =>
      rateLimits
        ? new CountingLoginThrottle(rateLimits.failedLogins, QUARTER_OF_AN_HOUR, storage.pool)
        : noLoginThrottle,
    tokens: (container) => new JwtTokenService(jwt, container.resolve('clock')),
    clock: () => ({ now: () => new Date() }),
    store: () => storage,
  }
}

/** One core is left to answer everybody else; the others are shared by the processes. */
function boundedHasher({ bcryptRounds, passwordQueueLimit, webConcurrency }: Config): BoundedPasswordHasher {
  const concurrency = Math.max(1, Math.floor((availableParallelism() - 1) / webConcurrency))
  return new BoundedPasswordHasher(new BcryptPasswordHasher(bcryptRounds), {
    concurrency,
    mostWaiting: passwordQueueLimit,
  })
}

/** Those of accounts are shared through PostgreSQL, where there is one; a count for each request would be too dear. */
function limits({ rateLimits }: Config, { pool }: Database): Limits {
  if (!rateLimits) return {}
  const aMinute = (name: LimitName, allowed: number) => ({ name, allowed, window: 60 })
  return {
    user: rateLimiter(aMinute('user', rateLimits.user)),
    login: rateLimiter(aMinute('login', rateLimits.login), pool),
    register: rateLimiter(aMinute('register', rateLimits.register), pool),
  }
}

/** Whoever migrates by command may have forgotten it, and without tables every request fails. */
async function prepare(storage: Database, { migrateOnStart }: Config, log: Log): Promise<void> {
  if (migrateOnStart) await storage.migrate()
  else if ((await storage.pending()).length > 0) {
    log.warn({}, 'The schema is not up to date, and MIGRATE_ON_START is false: `npm run migrate` brings it there.')
  }
}

interface Closable {
  close(): Promise<void>
}

/**
 * Metrics cost time at each request, so there are none unless somebody can read them.
 *
 * @param opened what has to be closed, to which their server is added
 */
async function metricsOf(
  { host, metricsPort: port, webConcurrency }: Config,
  { pool, waiting }: Database,
  passwords: BoundedPasswordHasher,
  opened: Closable[],
): Promise<Metrics[]> {
  if (port === undefined) return []
  const metrics = new Metrics(packageJson.version, {
    passwords: () => passwords.load(),
    connections: () => (pool ? { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount } : {}),
    waiting,
  })
  if (webConcurrency > 1) shareMetrics(metrics)
  else opened.push(await serveMetrics(metrics, { host, port }))
  return [metrics]
}

/**
 * Opens the database, brings its schema up to date unless told not to, and listens.
 *
 * @param overrides ports to replace, for tests
 * @throws ListenError
 * @throws DatabaseUnavailable
 */
export async function startService(
  config: Config,
  log: Log,
  overrides: Partial<AdapterSet> = {},
): Promise<ListeningServer> {
  const storage = await openStorage(config)
  const opened: Closable[] = [storage]
  const close = async () => {
    for (const each of opened.toReversed()) await each.close()
  }
  try {
    await prepare(storage, config, log)
    const passwords = boundedHasher(config)
    const container = compose({ ...adapters(config, storage, passwords), ...overrides })
    const readiness = new Readiness(container.resolve<Store>('store'))
    const app = createApp(
      { ...config, version: packageJson.version },
      {
        accounts: container.resolve(ManageAccounts),
        tasks: container.resolve(ManageTasks),
        readiness,
        limits: limits(config, storage),
        observers: [accessLog(log), ...(await metricsOf(config, storage, passwords, opened))],
        log,
      },
    )
    return await listen(app.callback(), config, { whenClosing: () => readiness.stop(), atEnd: close })
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * Sees that the database can be opened, and brings its schema up to date unless told not to.
 *
 * @throws DatabaseUnavailable
 */
export async function prepareDatabase(config: Config, log: Log): Promise<void> {
  const storage = await openStorage(config)
  try {
    await prepare(storage, config, log)
  } finally {
    await storage.close()
  }
}
