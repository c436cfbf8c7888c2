import 'reflect-metadata'
import { availableParallelism } from 'node:os'
import { type DependencyContainer, instanceCachingFactory, container as root } from 'tsyringe'
import packageJson from '../package.json' with { type: 'json' }
import { createApp, type Log } from './adapters/http/app.ts'
import { type ListeningServer, listen } from './adapters/http/server.ts'
import { InMemoryTaskRepository } from './adapters/in-memory/in-memory-task-repository.ts'
import { InMemoryUserRepository } from './adapters/in-memory/in-memory-user-repository.ts'
import { type Database, openDatabase } from './adapters/mikro-orm/database.ts'
import { BcryptPasswordHasher } from './adapters/security/bcrypt-password-hasher.ts'
import { BoundedPasswordHasher } from './adapters/security/bounded-password-hasher.ts'
import { JwtTokenService } from './adapters/security/jwt-token-service.ts'
import type { Config } from './config.ts'
import type { Ports } from './domain/ports.ts'
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
    tokens: port('tokens'),
    clock: port('clock'),
  }
}

type Repositories = Pick<AdapterSet, 'tasks' | 'users'>

function inMemory(): Repositories {
  return { tasks: () => new InMemoryTaskRepository(), users: () => new InMemoryUserRepository() }
}

function stored(database: Database): Repositories {
  return { tasks: () => database.tasks, users: () => database.users }
}

/** What does not depend on where the data is kept. */
function everywhere(config: Config): Omit<AdapterSet, keyof Repositories> {
  const { secretKey, algorithm, accessTokenExpireMinutes, bcryptRounds, passwordQueueLimit, webConcurrency } = config
  const jwt = { secretKey, algorithm, expiresIn: accessTokenExpireMinutes * 60 }
  // One core is left to answer everybody else; the others are shared by the processes.
  const concurrency = Math.max(1, Math.floor((availableParallelism() - 1) / webConcurrency))
  const bounds = { concurrency, mostWaiting: passwordQueueLimit }
  return {
    passwords: () => new BoundedPasswordHasher(new BcryptPasswordHasher(bcryptRounds), bounds),
    tokens: (container) => new JwtTokenService(jwt, container.resolve('clock')),
    clock: () => ({ now: () => new Date() }),
  }
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
  const database = config.database.kind === 'memory' ? undefined : await openDatabase(config.database)
  const closeDatabase = async () => database?.close()
  try {
    if (config.migrateOnStart) await database?.migrate()
    const repositories = database ? stored(database) : inMemory()
    const container = compose({ ...everywhere(config), ...repositories, ...overrides })
    const useCases = { accounts: container.resolve(ManageAccounts), tasks: container.resolve(ManageTasks) }
    const app = createApp({ ...config, version: packageJson.version }, useCases, log)
    return await listen(app.callback(), config, closeDatabase)
  } catch (error) {
    await closeDatabase()
    throw error
  }
}

/**
 * Sees that the database can be opened, and brings its schema up to date unless told not to.
 *
 * @throws DatabaseUnavailable
 */
export async function prepareDatabase({ database: target, migrateOnStart }: Config): Promise<void> {
  if (target.kind === 'memory') return
  const database = await openDatabase(target)
  try {
    if (migrateOnStart) await database.migrate()
  } finally {
    await database.close()
  }
}
