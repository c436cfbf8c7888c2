import { CompiledQuery, type Dialect, Kysely } from 'kysely'
import { MikroOrmTaskRepository } from '#src/adapters/mikro-orm/mikro-orm-task-repository.ts'
import { MikroOrmUserRepository } from '#src/adapters/mikro-orm/mikro-orm-user-repository.ts'
import type { Tables } from '#src/adapters/mikro-orm/records.ts'
import type { Store } from '#src/adapters/mikro-orm/store.ts'

/** The repositories over a dialect of theirs, with what the ports hide: any SQL beside, and the SQL that they run. */
export function observedStore(dialect: Dialect, storeOf: (kysely: Kysely<Tables>) => Store) {
  const ran: CompiledQuery[] = []
  const kysely = new Kysely<Tables>({ dialect, log: ({ query }) => void ran.push(query) })
  const store = storeOf(kysely)
  return {
    tasks: new MikroOrmTaskRepository(store),
    users: new MikroOrmUserRepository(store),
    ran,
    async sql<Row = Record<string, unknown>>(text: string, parameters: readonly unknown[] = []): Promise<Row[]> {
      return (await kysely.executeQuery<Row>(CompiledQuery.raw(text, [...parameters]))).rows
    },
    close: () => kysely.destroy(),
  }
}

export type ObservedStore = ReturnType<typeof observedStore>
