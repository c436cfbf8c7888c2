import { CompiledQuery, type Dialect, Kysely } from 'kysely'
import { MikroOrmTaskRepository } from '#src/adapters/mikro-orm/mikro-orm-task-repository.ts'
import { MikroOrmUserRepository } from '#src/adapters/mikro-orm/mikro-orm-user-repository.ts'
import type { Tables } from '#src/adapters/mikro-orm/records.ts'
import type { Store } from '#src/adapters/mikro-orm/store.ts'

interface Dialects {
  readonly writer: Dialect
  readonly reader: Dialect
}

/** The repositories over dialects of theirs, with what the ports hide: any SQL beside, and the SQL that they run. */
export function observedStore(dialects: Dialects, storeOf: (writer: Kysely<Tables>, reader: Kysely<Tables>) => Store) {
  const ran: CompiledQuery[] = []
  const open = (dialect: Dialect) => new Kysely<Tables>({ dialect, log: ({ query }) => void ran.push(query) })
  const [writer, reader] = [open(dialects.writer), open(dialects.reader)]
  const store = storeOf(writer, reader)
  return {
    tasks: new MikroOrmTaskRepository(store),
    users: new MikroOrmUserRepository(store),
    ran,
    async sql<Row = Record<string, unknown>>(text: string, parameters: readonly unknown[] = []): Promise<Row[]> {
      return (await writer.executeQuery<Row>(CompiledQuery.raw(text, [...parameters]))).rows
    },
    async close() {
      await reader.destroy()
      await writer.destroy()
    },
  }
}

export type ObservedStore = ReturnType<typeof observedStore>
