import { Accounts } from './accounts.ts'
import { InMemoryApiTokenRepository } from './in-memory-api-token-repository.ts'
import { InMemorySessionRepository } from './in-memory-session-repository.ts'
import { InMemoryTaskRepository } from './in-memory-task-repository.ts'
import { InMemoryUserRepository } from './in-memory-user-repository.ts'

/** A database without a schema or a connection pool; its operations never fail. */
export function inMemoryDatabase(maxTasksPerUser: number) {
  const accounts = new Accounts()
  const tasks = new InMemoryTaskRepository(maxTasksPerUser, (id) => accounts.users.has(id))
  const sessions = new InMemorySessionRepository(accounts)
  const apiTokens = new InMemoryApiTokenRepository(accounts)
  return {
    tasks,
    users: new InMemoryUserRepository(accounts, (id) => tasks.removeList(id)),
    sessions,
    apiTokens,
    pool: undefined,
    schema: undefined,
    pending: () => ({ reads: 0, writes: 0 }),
    ping: async () => {},
    migrate: async () => [],
    upToDate: async () => true,
    purgeDeletions: (before: Date) => tasks.purgeDeletions(before),
    purgeKeys: (before: Date) => tasks.purgeKeys(before),
    purgeSessions: (before: { readonly lastUsed: Date; readonly created: Date }) => sessions.purge(before),
    purgeApiTokens: (before: Date) => apiTokens.purge(before),
    purgeLeavers: async () => {},
    raiseCounters: async () => {},
    close: async () => {},
  }
}
