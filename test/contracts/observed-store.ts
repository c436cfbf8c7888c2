import type { Statement } from '#src/adapters/mikro-orm/prepared-query.ts'
import { MikroOrmApiTokenRepository } from '#src/adapters/mikro-orm/repositories/mikro-orm-api-token-repository.ts'
import { MikroOrmSessionRepository } from '#src/adapters/mikro-orm/repositories/mikro-orm-session-repository.ts'
import { MikroOrmTaskRepository } from '#src/adapters/mikro-orm/repositories/mikro-orm-task-repository.ts'
import { MikroOrmUserRepository } from '#src/adapters/mikro-orm/repositories/mikro-orm-user-repository.ts'
import { type Store, writing } from '#src/adapters/mikro-orm/store.ts'

interface DirectAccess {
  /** Runs any SQL on the connection for writes. */
  sql<Row = Record<string, unknown>>(text: string, parameters?: readonly unknown[]): Promise<Row[]>
  close(): Promise<unknown>
}

/** The repositories over a store, with direct access to its SQL and a record of the statements that they run. */
export function observedStore(store: Store, { sql, close }: DirectAccess) {
  const ran: Statement[] = []
  const noted = <Query extends Statement>(query: Query): Query => {
    ran.push(query)
    return query
  }
  const observed: Store = {
    ...store,
    read: (query) => store.read(noted(query)),
    transact: (transaction) =>
      store.transact({
        ...transaction,
        decide(...seen) {
          for (const query of Object.values<Statement>(transaction.reads)) noted(query)
          const decision = transaction.decide(...seen)
          decision.writes.forEach(noted)
          return decision
        },
      }),
  }
  return {
    store: observed,
    tasks: new MikroOrmTaskRepository(observed),
    users: new MikroOrmUserRepository(observed),
    sessions: new MikroOrmSessionRepository(observed),
    apiTokens: new MikroOrmApiTokenRepository(observed),
    write: <Row>(query: Statement<Row>) => observed.transact(writing(query)),
    ran,
    sql,
    close,
  }
}

export type ObservedStore = ReturnType<typeof observedStore>
