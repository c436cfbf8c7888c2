import { InMemoryTaskRepository } from './in-memory-task-repository.ts'
import { InMemoryUserRepository } from './in-memory-user-repository.ts'

/** A database without a schema or a connection pool; its operations never fail. */
export function inMemoryDatabase(maxTasksPerUser: number) {
  const tasks = new InMemoryTaskRepository(maxTasksPerUser)
  return {
    tasks,
    users: new InMemoryUserRepository(),
    pool: undefined,
    schema: undefined,
    pending: () => ({ reads: 0, writes: 0 }),
    ping: async () => {},
    migrate: async () => [],
    upToDate: async () => true,
    forgetDeletions: (before: Date) => tasks.forgetDeletions(before),
    forgetKeys: (before: Date) => tasks.forgetKeys(before),
    raiseCounters: async () => {},
    close: async () => {},
  }
}
