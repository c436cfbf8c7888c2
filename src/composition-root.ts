import 'reflect-metadata'
import cluster from 'node:cluster'
import { availableParallelism } from 'node:os'
import { type DependencyContainer, instanceCachingFactory, container as root } from 'tsyringe'
import packageJson from '../package.json' with { type: 'json' }
import { accessLog } from './adapters/http/access-log.ts'
import { createApp } from './adapters/http/app.ts'
import type { LimitName, Limits } from './adapters/http/endpoint/limits.ts'
import type { HealthCheck } from './adapters/http/readiness.ts'
import { Readiness } from './adapters/http/readiness.ts'
import { type ListeningServer, listen } from './adapters/http/server.ts'
import { InMemoryTaskRepository } from './adapters/in-memory/in-memory-task-repository.ts'
import { InMemoryUserRepository } from './adapters/in-memory/in-memory-user-repository.ts'
import { Metrics, serveMetrics, shareMetrics } from './adapters/metrics/prometheus.ts'
import { type Database, openDatabase } from './adapters/mikro-orm/database.ts'
import { CountingLoginThrottle, noLoginThrottle, rateLimiter } from './adapters/rate-limits/rate-limits.ts'
import { SharedCounts } from './adapters/rate-limits/shared-counts.ts'
import { BcryptPasswordHasher } from './adapters/security/bcrypt-password-hasher.ts'
import { BoundedPasswordHasher } from './adapters/security/bounded-password-hasher.ts'
import { JwtTokenService } from './adapters/security/jwt-token-service.ts'
import type { Config, DatabaseConfig, LimitConfig } from './config.ts'
import { ManageAccounts } from './domain/accounts/manage-accounts.ts'
import type { LoginThrottle, PasswordHasher, TokenService, UserRepository } from './domain/accounts/ports.ts'
import type { Clock } from './domain/clock.ts'
import { ManageTasks } from './domain/tasks/manage-tasks.ts'
import type { TaskRepository } from './domain/tasks/ports.ts'
import type { Log } from './log.ts'

export const { version } = packageJson

/** Every driven port. An adapter set provides all of them; `test/contracts` holds each adapter to its port. */
export interface Ports {
  readonly tasks: TaskRepository
  readonly users: UserRepository
  readonly passwordHasher: PasswordHasher
  readonly loginThrottle: LoginThrottle
  readonly tokens: TokenService
  readonly clock: Clock
  readonly health: HealthCheck
}

/** How to build each port. Leaving one out does not compile. */
export type AdapterSet = { readonly [Port in keyof Ports]: (container: DependencyContainer) => Ports[Port] }

/** A container of its own for each service, never the global one, so that two of them stay apart. */
export function compose(adapters: AdapterSet): DependencyContainer {
  const container = root.createChildContainer()
  for (const [port, build] of Object.entries(adapters)) {
    container.register(port, { useFactory: instanceCachingFactory<unknown>(build) })
  }
  const resolved = Object.keys(adapters).map((port) => [port, container.resolve(port)])
  const ports: Ports = Object.fromEntries(resolved)
  container.register(ManageAccounts, { useValue: new ManageAccounts(ports) })
  container.register(ManageTasks, { useValue: new ManageTasks(ports) })
  return container
}

/** Where tasks and users are kept. Memory needs no more than the ports do. */
type Storage = Pick<Ports, 'tasks' | 'users' | 'health'> & Closable & { readonly database?: Database }

async function openStorage({ target, pool }: DatabaseConfig, log: Log): Promise<Storage> {
  if (target.kind === 'memory') {
    return {
      tasks: new InMemoryTaskRepository(),
      users: new InMemoryUserRepository(),
      health: { ping: async () => {} },
      close: async () => {},
    }
  }
  const database = await openDatabase(target, pool, log)
  return { tasks: database.tasks, users: database.users, health: database, close: () => database.close(), database }
}

const QUARTER_OF_AN_HOUR = 15 * 60

interface Shared {
  readonly storage: Storage
  readonly passwordHasher: BoundedPasswordHasher
  /** Counts of several instances, where they have a place for them. */
  readonly counts: SharedCounts | undefined
}

function adapters({ tokens, limits }: Config, { storage, passwordHasher, counts }: Shared): AdapterSet {
  return {
    tasks: () => storage.tasks,
    users: () => storage.users,
    passwordHasher: () => passwordHasher,
    loginThrottle: () =>
      limits ? new CountingLoginThrottle(limits.failedLogins, QUARTER_OF_AN_HOUR, counts) : noLoginThrottle,
    tokens: (container) => new JwtTokenService(tokens, container.resolve('clock')),
    clock: () => ({ now: () => new Date() }),
    health: () => storage.health,
  }
}

/** One core is left to answer everybody else; the others are shared by the processes. */
function boundedHasher({ passwords, process }: Config): BoundedPasswordHasher {
  const concurrency = Math.max(1, Math.floor((availableParallelism() - 1) / process.concurrency))
  return new BoundedPasswordHasher(new BcryptPasswordHasher(passwords.bcryptRounds), {
    concurrency,
    mostWaiting: passwords.queueLimit,
  })
}

function sharedCounts({ database }: Storage, log: Log): SharedCounts | undefined {
  if (!database?.pool) return undefined
  return new SharedCounts(database.pool, (err) => {
    log.warn({ err }, 'Login counts in PostgreSQL are unavailable; limiting per process')
  })
}

/** Those of accounts are shared, where they can be; a count for each request would be too dear. */
function rateLimiters(limits: LimitConfig | undefined, counts: SharedCounts | undefined): Limits {
  if (!limits) return {}
  const aMinute = (name: LimitName, allowed: number) => ({ name, allowed, window: 60 })
  return {
    user: rateLimiter(aMinute('user', limits.user)),
    login: rateLimiter(aMinute('login', limits.login), counts),
    register: rateLimiter(aMinute('register', limits.register), counts),
  }
}

/** Whoever migrates by command may have forgotten it, and without tables every request fails. */
async function prepare({ database }: Storage, { migrateOnStart }: DatabaseConfig, log: Log): Promise<void> {
  if (!database) return
  if (migrateOnStart) {
    await database.migrate()
    return
  }
  // The supervisor of several workers has asked before it started them.
  if (cluster.isWorker) return
  try {
    if (await database.upToDate()) return
    log.warn({}, 'The schema is not up to date, and MIGRATE_ON_START is false: `npm run migrate` brings it there.')
  } catch (error) {
    // Another role may have made the tables, and keep its notes to itself.
    log.warn({ err: error }, 'It cannot be told whether the schema is up to date.')
  }
}

interface Closable {
  close(): Promise<void>
}

/** Metrics cost time at each request, so there are none unless somebody can read them. */
async function openMetrics(
  { server: { host }, process: { metricsPort: port, concurrency } }: Config,
  { storage: { database }, passwordHasher }: Shared,
): Promise<{ readonly metrics: Metrics; readonly server?: Closable } | undefined> {
  if (port === undefined) return undefined
  const pool = database?.pool
  const metrics = new Metrics(version, {
    passwords: () => passwordHasher.load(),
    connections: () => (pool ? { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount } : {}),
    statements: () => ({ ...database?.pending() }),
  })
  if (concurrency === 1) return { metrics, server: await serveMetrics(metrics, { host, port }) }
  shareMetrics(metrics)
  return { metrics }
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
  const storage = await openStorage(config.database, log)
  const opened: Closable[] = [storage]
  const close = async () => {
    for (const each of opened.toReversed()) await each.close()
  }
  try {
    await prepare(storage, config.database, log)
    const shared = { storage, passwordHasher: boundedHasher(config), counts: sharedCounts(storage, log) }
    const container = compose({ ...adapters(config, shared), ...overrides })
    const readiness = new Readiness(container.resolve<HealthCheck>('health'))
    const { metrics, server } = (await openMetrics(config, shared)) ?? {}
    if (server) opened.push(server)
    const app = createApp(
      { ...config.http, version },
      {
        accounts: container.resolve(ManageAccounts),
        tasks: container.resolve(ManageTasks),
        readiness,
        limits: rateLimiters(config.limits, shared.counts),
        observers: metrics ? [accessLog(log), metrics] : [accessLog(log)],
        log,
      },
    )
    return await listen(app.callback(), config.server, { whenClosing: () => readiness.stop(), atEnd: close })
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
  const storage = await openStorage(config.database, log)
  try {
    await prepare(storage, config.database, log)
  } finally {
    await storage.close()
  }
}
