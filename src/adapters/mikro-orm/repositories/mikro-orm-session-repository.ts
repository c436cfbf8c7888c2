import type { SessionRepository, SignedIn } from '../../../domain/accounts/ports.ts'
import {
  MAX_SESSIONS,
  type RefreshOutcome,
  Session,
  type SessionDraft,
  type SessionKey,
  type SessionSnapshot,
} from '../../../domain/accounts/session.ts'
import type { UserSnapshot } from '../../../domain/accounts/user.ts'
import { bigint, preparedQuery, type Statement } from '../prepared-query.ts'
import { ownerColumns, sessionColumns, toOwner, toSession, toSessionColumns } from '../records.ts'
import type { Store, Transaction } from '../store.ts'

interface Owner {
  readonly ownerId: number
}

function sessionQueries({ kysely, milliseconds, isAnyOf }: Store) {
  const sessionsOf = (ownerId: number) => kysely.selectFrom('sessions').where('owner_id', '=', bigint(ownerId))
  const update = ({ id, ownerId }: SessionKey) =>
    kysely.updateTable('sessions').where('id', '=', bigint(id)).where('owner_id', '=', bigint(ownerId))
  const remove = ({ ownerId }: Owner) => kysely.deleteFrom('sessions').where('owner_id', '=', bigint(ownerId))
  return {
    insert: preparedQuery((draft: SessionDraft) =>
      kysely.insertInto('sessions').values(toSessionColumns(draft)).returning('id'),
    ),
    find: preparedQuery(({ id, ownerId }: SessionKey) =>
      sessionsOf(ownerId)
        .innerJoin('users', 'users.id', 'owner_id')
        .select(sessionColumns(milliseconds))
        .select(ownerColumns(milliseconds))
        .where('sessions.id', '=', bigint(id)),
    ),
    list: preparedQuery(({ ownerId }: Owner) =>
      sessionsOf(ownerId).select(sessionColumns(milliseconds)).orderBy('id', 'desc'),
    ),
    owner: preparedQuery(({ ownerId }: Owner) =>
      kysely
        .selectFrom('users')
        .select(['hashed_password', 'disabled'])
        .where('id', '=', bigint(ownerId))
        .where('left_at', 'is', null),
    ),
    lastUse: preparedQuery(({ id, ownerId }: SessionKey) =>
      sessionsOf(ownerId).select(milliseconds('last_used_at').as('last_used_at')).where('id', '=', bigint(id)),
    ),
    rotate: preparedQuery((session: SessionSnapshot) =>
      update(session).set({
        counter: session.counter,
        token_hash: session.tokenHash,
        rotated_at: session.rotatedAt,
        last_used_at: session.lastUsedAt,
      }),
    ),
    use: preparedQuery((use: SessionKey & { readonly now: Date }) => update(use).set({ last_used_at: use.now })),
    remove: preparedQuery((key: SessionKey) => remove(key).where('id', '=', bigint(key.id))),
    removeAny: preparedQuery(({ ids, ownerId }: Owner & { readonly ids: readonly number[] }) =>
      remove({ ownerId }).where(isAnyOf('id', ids)),
    ),
  }
}

/** The part of a user's list that these transactions read and write, so that they need not wait for edits of tasks. */
const KEYS = ['sessions']

export class MikroOrmSessionRepository implements SessionRepository {
  readonly #store: Store
  readonly #queries: ReturnType<typeof sessionQueries>

  constructor(store: Store) {
    this.#store = store
    this.#queries = sessionQueries(store)
  }

  async start(
    draft: SessionDraft,
    { hashedPassword }: Pick<UserSnapshot, 'hashedPassword'>,
  ): Promise<Session | undefined> {
    const { owner, list, insert, removeAny } = this.#queries
    const { ownerId } = draft
    return this.#transact(ownerId, {
      reads: { owner: owner(draft), sessions: list(draft) },
      decide: ({ owner: [owner], sessions }) => {
        if (owner?.hashed_password !== hashedPassword || owner.disabled) return { writes: [], result: () => undefined }
        const ids = sessions.slice(MAX_SESSIONS - 1).map(({ id }) => id)
        return {
          writes: [insert(draft), ...(ids.length > 0 ? [removeAny({ ownerId, ids })] : [])],
          result: ([rows]) => Session.restore({ ...draft, ...(rows as [{ readonly id: number }])[0] }),
        }
      },
    })
  }

  async find(key: SessionKey): Promise<SignedIn | undefined> {
    const [found] = (await this.#store.read(this.#queries.find(key))).map(toSignedIn)
    return found
  }

  async list(ownerId: number): Promise<readonly Session[]> {
    return (await this.#store.read(this.#queries.list({ ownerId }))).map(toSession)
  }

  async refresh(key: SessionKey, decide: (found: SignedIn | undefined) => RefreshOutcome): Promise<RefreshOutcome> {
    const { find } = this.#queries
    return this.#transact(key.ownerId, {
      reads: { found: find(key) },
      decide: ({ found: [row] }) => {
        const refresh = decide(row && toSignedIn(row))
        return { writes: this.#writesOf(refresh, key), result: () => refresh }
      },
    })
  }

  #writesOf(refresh: RefreshOutcome, key: SessionKey): readonly Statement[] {
    const { rotate, remove } = this.#queries
    if (refresh.outcome === 'rotated') return [rotate(refresh.session.snapshot())]
    return refresh.outcome === 'reused' ? [remove(key)] : []
  }

  async use(key: SessionKey, now: Date): Promise<void> {
    const { lastUse, use } = this.#queries
    await this.#transact(key.ownerId, {
      reads: { last: lastUse(key) },
      decide: ({ last: [last] }) => ({
        writes: last && last.last_used_at < now.getTime() ? [use({ ...key, now })] : [],
        result: () => undefined,
      }),
    })
  }

  async end(key: SessionKey): Promise<boolean> {
    const { lastUse, remove } = this.#queries
    return this.#transact(key.ownerId, {
      reads: { found: lastUse(key) },
      decide: ({ found }) => ({
        writes: found.map(() => remove(key)),
        result: () => found.length > 0,
      }),
    })
  }

  async endAll(ownerId: number, except?: number): Promise<void> {
    const { list, removeAny } = this.#queries
    await this.#transact(ownerId, {
      reads: { sessions: list({ ownerId }) },
      decide: ({ sessions }) => {
        const ids = sessions.map(({ id }) => id).filter((id) => id !== except)
        return { writes: ids.length > 0 ? [removeAny({ ownerId, ids })] : [], result: () => undefined }
      },
    })
  }

  /** Takes the lock of the owner's list, like every write of a user's data. */
  #transact<Seen extends object, Result>(
    owner: number,
    transaction: Pick<Transaction<Seen, Result>, 'reads' | 'decide'>,
  ): Promise<Result> {
    return this.#store.transact({ ...transaction, owner, keys: KEYS })
  }
}

type SignedInRow = Parameters<typeof toSession>[0] & Parameters<typeof toOwner>[0]

const toSignedIn = (row: SignedInRow): SignedIn => ({ user: toOwner(row), session: toSession(row) })
