import { InMemoryTaskRepository } from './in-memory-task-repository.ts'
import { InMemoryUserRepository } from './in-memory-user-repository.ts'

/** A database without a schema, a pool or anything that could fail. */
export function inMemoryDatabase() {
  return {
    tasks: new InMemoryTaskRepository(),
    users: new InMemoryUserRepository(),
    pool: undefined,
    pending: () => ({ reads: 0, writes: 0 }),
    ping: async () => {},
    migrate: async () => [],
    upToDate: async () => true,
    close: async () => {},
  }
}
