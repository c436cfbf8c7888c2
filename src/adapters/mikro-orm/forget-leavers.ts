import { bigint, preparedQuery } from './prepared-query.ts'
import { type Store, writing } from './store.ts'

/** Rows that one transaction deletes. */
const PORTION = 500
/** The tables in which a user can have many rows. */
const PORTIONED = ['tasks', 'tombstones', 'idempotency_keys'] as const

interface Owner {
  readonly ownerId: number
}

/** No transaction writes these rows any more, because none can lock the user's list, so they are deleted without a lock. */
function leaverQueries({ kysely }: Store) {
  return {
    leavers: preparedQuery(() =>
      kysely.selectFrom('users').select('id').where('left_at', 'is not', null).orderBy('left_at').limit(PORTION),
    ),
    /** Each deletes a portion. */
    portions: [
      preparedQuery(({ ownerId }: Owner) =>
        kysely
          .deleteFrom('tasks')
          .where('owner_id', '=', bigint(ownerId))
          .where(
            'id',
            'in',
            kysely
              .selectFrom('tasks')
              .select('id')
              .where('owner_id', '=', bigint(ownerId))
              .orderBy('id')
              .limit(PORTION),
          )
          .returning('id'),
      ),
      preparedQuery(({ ownerId }: Owner) =>
        kysely
          .deleteFrom('tombstones')
          .where('owner_id', '=', bigint(ownerId))
          .where(
            'revision',
            'in',
            kysely
              .selectFrom('tombstones')
              .select('revision')
              .where('owner_id', '=', bigint(ownerId))
              .orderBy('revision')
              .limit(PORTION),
          )
          .returning('id'),
      ),
      preparedQuery(({ ownerId }: Owner) =>
        kysely
          .deleteFrom('idempotency_keys')
          .where('owner_id', '=', bigint(ownerId))
          .where(({ eb, refTuple }) =>
            eb(
              refTuple('scope', 'key'),
              'in',
              kysely
                .selectFrom('idempotency_keys')
                .select(['scope', 'key'])
                .where('owner_id', '=', bigint(ownerId))
                .orderBy('scope')
                .orderBy('key')
                .limit(PORTION)
                .$asTuple('scope', 'key'),
            ),
          )
          .returning('key'),
      ),
    ],
    /**
     * Spares a user with other rows: a portion is empty, too, when another instance deleted the same rows meanwhile, and the
     * foreign keys would delete all that it has left in one statement.
     */
    user: preparedQuery(({ ownerId }: Owner) =>
      kysely
        .deleteFrom('users')
        .where('id', '=', bigint(ownerId))
        .where('left_at', 'is not', null)
        .where(({ and, exists, not, selectFrom }) =>
          and(
            PORTIONED.map((table) =>
              not(exists(selectFrom(table).select('owner_id').where('owner_id', '=', bigint(ownerId)))),
            ),
          ),
        ),
    ),
  }
}

/**
 * Deletes the rows of users who left, in portions between which others write: one user after the other, also when several leave
 * at once.
 */
export class LeaverPurge {
  readonly #store: Store
  readonly #queries: ReturnType<typeof leaverQueries>
  #stopped = false
  #last: Promise<void> = Promise.resolve()

  constructor(store: Store) {
    this.#store = store
    this.#queries = leaverQueries(store)
  }

  /** Deletes the rows of one user in the background. If this fails, `run` does it later. */
  start(ownerId: number): void {
    this.#enqueue(() => this.#forget(ownerId)).catch(() => {})
  }

  /** @throws StoreUnavailable */
  run(): Promise<void> {
    return this.#enqueue(async () => {
      for (;;) {
        const leavers = await this.#store.read(this.#queries.leavers({}))
        for (const { id } of leavers) await this.#forget(id)
        if (leavers.length < PORTION || this.#stopped) return
      }
    })
  }

  /** Resolves when no statement runs any more. The next process goes on where this one stopped. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#last
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => {})
    return done
  }

  async #forget(ownerId: number): Promise<void> {
    const { portions, user } = this.#queries
    for (const portion of portions) {
      for (let deleted = PORTION; deleted === PORTION; ) {
        if (this.#stopped) return
        deleted = (await this.#store.transact(writing<unknown>(portion({ ownerId })))).length
      }
    }
    if (!this.#stopped) await this.#store.transact(writing(user({ ownerId })))
  }
}
