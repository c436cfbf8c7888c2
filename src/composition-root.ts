import 'reflect-metadata'
import cluster from 'node:cluster'
import { type DependencyContainer, instanceCachingFactory, container as root } from 'tsyringe'
import packageJson from '../package.json' with { type: 'json' }
import { LogAudit } from './adapters/audit/log-audit.ts'
import { PollingChangeSignal } from './adapters/change-signal/polling-change-signal.ts'
import { accessLog } from './adapters/http/access-log.ts'
import { createApp } from './adapters/http/app.ts'
import { type HealthCheck, Readiness } from './adapters/http/readiness.ts'
import { type ListeningServer, listen } from './adapters/http/server.ts'
import { inMemoryDatabase } from './adapters/in-memory/in-memory-database.ts'
import { Metrics, publishMetrics } from './adapters/metrics/prometheus.ts'
import { type Database, openDatabase } from './adapters/mikro-orm/database.ts'
import { ensureSchema } from './adapters/mikro-orm/ensure-schema.ts'
import { purgeRegularly } from './adapters/mikro-orm/purge-regularly.ts'
import { RATE_LIMITS_TABLE } from './adapters/mikro-orm/records.ts'
import { loginThrottle, requestLimiters } from './adapters/rate-limits/rate-limits.ts'
import { SharedCounts } from './adapters/rate-limits/shared-counts.ts'
import { passwordHasher } from './adapters/security/bounded-password-hasher.ts'
import { CheckedApiTokenService } from './adapters/security/checked-api-token-service.ts'
import { commonPasswords } from './adapters/security/common-passwords.ts'
import { HmacRefreshTokenService } from './adapters/security/hmac-refresh-token-service.ts'
import { JwtTokenService } from './adapters/security/jwt-token-service.ts'
import type { Config, DatabaseConfig } from './config.ts'
import type { AccountPolicy } from './domain/accounts/account-policy.ts'
import { AdministerUsers } from './domain/accounts/administer-users.ts'
import { ExportAccount } from './domain/accounts/export-account.ts'
import { ManageAccount } from './domain/accounts/manage-account.ts'
import { ManageApiTokens } from './domain/accounts/manage-api-tokens.ts'
import type {
  ApiTokenRepository,
  ApiTokenService,
  Audit,
  CommonPasswords,
  Idna,
  LoginThrottle,
  PasswordHasher,
  RefreshTokenService,
  SessionRepository,
  TokenService,
  UserRepository,
} from './domain/accounts/ports.ts'
import { SignIn } from './domain/accounts/sign-in.ts'
import type { Clock } from './domain/clock.ts'
import { ManageTasks } from './domain/tasks/manage-tasks.ts'
import type { ChangeSignal, TaskRepository } from './domain/tasks/ports.ts'
import { SyncTasks } from './domain/tasks/sync-tasks.ts'
import { urlIdna } from './idna.ts'
import type { Log } from './log.ts'

export const { version } = packageJson

/** Every driven port. The specs in `test/contracts` hold each adapter to its port. */
export interface Ports {
  readonly tasks: TaskRepository
  readonly changeSignal: ChangeSignal
  readonly users: UserRepository
  readonly sessions: SessionRepository
  readonly apiTokens: ApiTokenRepository
  readonly passwordHasher: PasswordHasher
  readonly commonPasswords: CommonPasswords
  readonly loginThrottle: LoginThrottle
  readonly tokens: TokenService
  readonly refreshTokens: RefreshTokenService
  readonly apiTokenService: ApiTokenService
  readonly idna: Idna
  readonly audit: Audit
  readonly clock: Clock
  readonly health: HealthCheck
}

/** A factory for each port; a missing one does not compile. */
export type AdapterSet = { readonly [Port in keyof Ports]: (container: DependencyContainer) => Ports[Port] }

/** Each service has its own container, never the global one, so that several can run in one process. */
function compose(adapters: AdapterSet, policy: AccountPolicy): DependencyContainer {
  const container = root.createChildContainer()
  for (const [port, build] of Object.entries(adapters)) {
    container.register(port, { useFactory: instanceCachingFactory<unknown>(build) })
  }
  const ports = Object.fromEntries(Object.keys(adapters).map((port) => [port, container.resolve(port)])) as Ports
  container.register(SignIn, { useValue: new SignIn(ports, policy) })
  container.register(ManageAccount, { useValue: new ManageAccount(ports, policy) })
  container.register(ManageApiTokens, { useValue: new ManageApiTokens(ports) })
  container.register(ExportAccount, { useValue: new ExportAccount(ports) })
  container.register(AdministerUsers, { useValue: new AdministerUsers(ports, policy) })
  container.register(ManageTasks, { useValue: new ManageTasks(ports) })
  container.register(SyncTasks, { useValue: new SyncTasks(ports) })
  return container
}

/**
 * Opens the adapter that serves DATABASE_URL.
 *
 * @throws DatabaseUnavailable
 */
export async function openPersistence(
  { target, pool, maxTasksPerUser }: Omit<DatabaseConfig, 'migrateOnStart' | 'tombstoneDays'>,
  log?: Log,
): Promise<Database> {
  return target.kind === 'memory' ? inMemoryDatabase(maxTasksPerUser) : openDatabase(target, pool, log, maxTasksPerUser)
}

/**
 * Opens the database, ensures its schema, and listens.
 *
 * @param overrides replace ports in tests
 * @throws ListenError
 * @throws DatabaseUnavailable
 */
export async function startService(
  { http, server, database: databaseConfig, tokens, passwords, accounts, limits, process }: Config,
  log: Log,
  overrides: Partial<AdapterSet> = {},
): Promise<ListeningServer> {
  const resources = new AsyncDisposableStack()
  try {
    const database = await openPersistence(databaseConfig, log)
    resources.defer(() => database.close())
    // The primary process ensures the schema before it starts workers.
    if (cluster.isPrimary) await ensureSchema(database, databaseConfig, log)

    const { tombstoneDays } = databaseConfig
    resources.use(purgeRegularly(database, { tombstoneDays, sessions: accounts.sessions }, log))

    const hasher = passwordHasher(passwords, process.concurrency)
    const warnOfLocalCounts = (err: unknown) =>
      log.warn({ err }, 'Login counts in PostgreSQL are unavailable; limiting per process')
    const place = { table: RATE_LIMITS_TABLE, schema: database.schema }
    const counts = database.pool && new SharedCounts(database.pool, warnOfLocalCounts, place)
    const common = await commonPasswords(passwords.refuseCommon)
    const adapters: AdapterSet = {
      tasks: () => database.tasks,
      changeSignal: (container) => new PollingChangeSignal(container.resolve('tasks')),
      users: () => database.users,
      sessions: () => database.sessions,
      apiTokens: () => database.apiTokens,
      passwordHasher: () => hasher,
      commonPasswords: () => common,
      loginThrottle: () => loginThrottle(limits, counts),
      tokens: (container) => new JwtTokenService(tokens, container.resolve('clock')),
      refreshTokens: () => new HmacRefreshTokenService(tokens),
      apiTokenService: () => new CheckedApiTokenService(),
      idna: () => urlIdna,
      audit: () => new LogAudit(log),
      clock: () => ({ now: () => new Date() }),
      health: () => ({
        ping: () => database.ping(),
        ...(!databaseConfig.migrateOnStart && { upToDate: () => database.upToDate() }),
      }),
    }
    const container = compose({ ...adapters, ...overrides }, accounts)
    const readiness = new Readiness(container.resolve<HealthCheck>('health'))
    const observers = [accessLog(log)]
    if (process.metricsPort !== undefined) {
      const metrics = new Metrics(version, { passwordHasher: hasher, database })
      observers.push(metrics)
      const published = await publishMetrics(metrics, { host: server.host, port: process.metricsPort })
      resources.defer(() => published.close())
    }
    const { passwordMinLength } = accounts
    const app = createApp(
      { ...http, version, passwordMinLength },
      {
        signIn: container.resolve(SignIn),
        account: container.resolve(ManageAccount),
        accountExport: container.resolve(ExportAccount),
        apiTokens: container.resolve(ManageApiTokens),
        users: container.resolve(AdministerUsers),
        tasks: container.resolve(ManageTasks),
        sync: container.resolve(SyncTasks),
        readiness,
        limits: requestLimiters(limits, counts),
        observers,
        log,
      },
    )
    return await listen(app.callback(), server, {
      whenClosing: () => readiness.stop(),
      atEnd: () => resources.disposeAsync(),
    })
  } catch (error) {
    await resources.disposeAsync()
    throw error
  }
}

/**
 * Opens the database and ensures its schema.
 *
 * @throws DatabaseUnavailable
 */
export async function prepareDatabase(config: DatabaseConfig, log: Log): Promise<void> {
  const database = await openPersistence(config, log)
  try {
    await ensureSchema(database, config, log)
  } finally {
    await database.close()
  }
}

/** The administration of users in a database, for commands. */
export interface Administration extends AsyncDisposable {
  readonly users: AdministerUsers
  /** Whether all migrations are applied. @throws DatabaseUnavailable */
  schemaIsUpToDate(): Promise<boolean>
}

/**
 * Opens the database and leaves its schema as it is.
 *
 * @throws DatabaseUnavailable
 */
export async function openAdministration(
  { database: databaseConfig, passwords, accounts, process }: Config,
  log: Log,
): Promise<Administration> {
  const database = await openPersistence(databaseConfig, log)
  const ports = {
    users: database.users,
    sessions: database.sessions,
    passwordHasher: passwordHasher(passwords, process.concurrency),
    commonPasswords: await commonPasswords(passwords.refuseCommon),
    idna: urlIdna,
    // Long polls and streams are in other processes, whose polls find the change.
    changeSignal: { raise() {} },
    audit: new LogAudit(log),
  }
  return {
    users: new AdministerUsers(ports, accounts),
    schemaIsUpToDate: () => database.upToDate(),
    [Symbol.asyncDispose]: () => database.close(),
  }
}
