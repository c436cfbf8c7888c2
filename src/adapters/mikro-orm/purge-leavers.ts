import { bigint, preparedQuery, type Statement } from './prepared-query.ts'
import { type Store, writing } from './store.ts'

/** Maximum number of rows that one transaction deletes. */
const PORTION = 500

interface Owner {
  readonly ownerId: number
}

interface Rows extends Owner {
  /** Ids of tasks, or revisions of tombstones. */
  readonly keys: readonly number[]
}

interface Key extends Owner {
  readonly scope: string
  readonly key: string
}

function leaverQueries({ kysely, isAnyOf }: Store) {
  return {
    leavers: preparedQuery(() =>
      kysely.selectFrom('users').select('id').where('left_at', 'is not', null).orderBy('left_at').limit(PORTION),
    ),
    tasks: preparedQuery(({ ownerId }: Owner) =>
      kysely.selectFrom('tasks').select('id').where('owner_id', '=', bigint(ownerId)).orderBy('id').limit(PORTION),
    ),
    deleteTasks: preparedQuery(({ ownerId, keys }: Rows) =>
      kysely.deleteFrom('tasks').where('owner_id', '=', bigint(ownerId)).where(isAnyOf('id', keys)),
    ),
    tombstones: preparedQuery(({ ownerId }: Owner) =>
      kysely
        .selectFrom('tombstones')
        .select('revision')
        .where('owner_id', '=', bigint(ownerId))
        .orderBy('revision')
        .limit(PORTION),
    ),
    deleteTombstones: preparedQuery(({ ownerId, keys }: Rows) =>
      kysely.deleteFrom('tombstones').where('owner_id', '=', bigint(ownerId)).where(isAnyOf('revision', keys)),
    ),
    idempotencyKeys: preparedQuery(({ ownerId }: Owner) =>
      kysely
        .selectFrom('idempotency_keys')
        .select(['scope', 'key'])
        .where('owner_id', '=', bigint(ownerId))
        .orderBy('scope')
        .orderBy('key')
        .limit(PORTION),
    ),
    deleteIdempotencyKey: preparedQuery(({ ownerId, scope, key }: Key) =>
      kysely
        .deleteFrom('idempotency_keys')
        .where('owner_id', '=', bigint(ownerId))
        .where('scope', '=', scope)
        .where('key', '=', key),
    ),
    user: preparedQuery(({ ownerId }: Owner) =>
      kysely.deleteFrom('users').where('id', '=', bigint(ownerId)).where('left_at', 'is not', null),
    ),
  }
}

/**
 * A portion is read before it is deleted. The number of rows that a statement deleted would not show whether any are left,
 * because another instance may have deleted the same ones. With the portion as a subquery, PostgreSQL may run the subquery for
 * each row of the user, if its statistics are older than the user.
 *
 * No transaction writes these rows any more, because none can lock the user's list, so they are deleted without a lock.
 */
function portionsOf(store: Store) {
  const queries = leaverQueries(store)
  /** @returns the statements that delete the next portion */
  type Portion = (owner: Owner) => Promise<readonly Statement[]>
  const tasks: Portion = async (owner) => {
    const keys = (await store.read(queries.tasks(owner))).map(({ id }) => id)
    return keys.length > 0 ? [queries.deleteTasks({ ...owner, keys })] : []
  }
  const tombstones: Portion = async (owner) => {
    const keys = (await store.read(queries.tombstones(owner))).map(({ revision }) => revision)
    return keys.length > 0 ? [queries.deleteTombstones({ ...owner, keys })] : []
  }
  const idempotencyKeys: Portion = async (owner) =>
    (await store.read(queries.idempotencyKeys(owner))).map((row) => queries.deleteIdempotencyKey({ ...owner, ...row }))
  return { ...queries, portions: [tasks, tombstones, idempotencyKeys] }
}

/**
 * Deletes the rows of users who left, in portions, so that other transactions write in between. Handles one user after the
 * other, even when several leave at once.
 */
export class LeaverPurge {
  readonly #store: Store
  readonly #queries: ReturnType<typeof portionsOf>
  #stopped = false
  #last: Promise<void> = Promise.resolve()

  constructor(store: Store) {
    this.#store = store
    this.#queries = portionsOf(store)
  }

  /** Deletes the rows of one user in the background. If this fails, `run` does it later. */
  start(ownerId: number): void {
    this.#enqueue(() => this.#purge(ownerId)).catch(() => {})
  }

  /** @throws StoreUnavailable */
  run(): Promise<void> {
    return this.#enqueue(async () => {
      for (;;) {
        const leavers = await this.#store.read(this.#queries.leavers({}))
        for (const { id } of leavers) await this.#purge(id)
        if (leavers.length < PORTION || this.#stopped) return
      }
    })
  }

  /** Resolves when no statement runs any more. The next process continues where this one stopped. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#last
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => {})
    return done
  }

  async #purge(ownerId: number): Promise<void> {
    const { portions, user } = this.#queries
    for (const portion of portions) {
      for (;;) {
        if (this.#stopped) return
        const [first, ...others] = await portion({ ownerId })
        if (!first) break
        await this.#store.transact(writing(first, ...others))
      }
    }
    if (!this.#stopped) await this.#store.transact(writing(user({ ownerId })))
  }
}
