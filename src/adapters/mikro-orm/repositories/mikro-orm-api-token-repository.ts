import { ApiToken, type ApiTokenDraft, type ApiTokenKey, MAX_API_TOKENS } from '../../../domain/accounts/api-token.ts'
import type { ApiTokenRepository, TokenHolder } from '../../../domain/accounts/ports.ts'
import { ApiTokenLimitReached, InvalidToken } from '../../../domain/errors.ts'
import { bigint, preparedQuery } from '../prepared-query.ts'
import { apiTokenColumns, ownerColumns, toApiToken, toApiTokenColumns, toOwner, withScopeText } from '../records.ts'
import type { Store, Transaction } from '../store.ts'

interface Owner {
  readonly ownerId: number
}

function apiTokenQueries({ kysely, milliseconds }: Store) {
  const tokensOf = (ownerId: number) => kysely.selectFrom('api_tokens').where('owner_id', '=', bigint(ownerId))
  return {
    insert: preparedQuery((draft: ReturnType<typeof withScopeText>) =>
      kysely.insertInto('api_tokens').values(toApiTokenColumns(draft)).returning('id'),
    ),
    find: preparedQuery(({ id, ownerId }: ApiTokenKey) =>
      tokensOf(ownerId)
        .innerJoin('users', 'users.id', 'owner_id')
        .select(apiTokenColumns(milliseconds))
        .select(ownerColumns(milliseconds))
        .where('api_tokens.id', '=', bigint(id)),
    ),
    list: preparedQuery(({ ownerId }: Owner) =>
      tokensOf(ownerId).select(apiTokenColumns(milliseconds)).orderBy('id', 'desc'),
    ),
    lastUse: preparedQuery(({ id, ownerId }: ApiTokenKey) =>
      tokensOf(ownerId).select(milliseconds('last_used_at').as('last_used_at')).where('id', '=', bigint(id)),
    ),
    use: preparedQuery(({ id, ownerId, now }: ApiTokenKey & { readonly now: Date }) =>
      kysely
        .updateTable('api_tokens')
        .set({ last_used_at: now })
        .where('id', '=', bigint(id))
        .where('owner_id', '=', bigint(ownerId)),
    ),
    remove: preparedQuery(({ id, ownerId }: ApiTokenKey) =>
      kysely.deleteFrom('api_tokens').where('id', '=', bigint(id)).where('owner_id', '=', bigint(ownerId)),
    ),
  }
}

/** The part of a user's list that these transactions read and write, so that they need not wait for edits of tasks. */
const KEYS = ['api_tokens']

export class MikroOrmApiTokenRepository implements ApiTokenRepository {
  readonly #store: Store
  readonly #queries: ReturnType<typeof apiTokenQueries>

  constructor(store: Store) {
    this.#store = store
    this.#queries = apiTokenQueries(store)
  }

  async add(draft: ApiTokenDraft): Promise<ApiToken> {
    const { list, insert } = this.#queries
    return this.#transact(draft.ownerId, {
      reads: { tokens: list(draft) },
      decide: ({ tokens }, list) => {
        if (!list) throw new InvalidToken()
        if (tokens.length >= MAX_API_TOKENS) throw new ApiTokenLimitReached(MAX_API_TOKENS)
        return {
          writes: [insert(withScopeText(draft))],
          result: ([rows]) => ApiToken.restore({ ...draft, ...(rows as [{ readonly id: number }])[0] }),
        }
      },
    })
  }

  async find(key: ApiTokenKey): Promise<TokenHolder | undefined> {
    const [row] = await this.#store.read(this.#queries.find(key))
    return row && { user: toOwner(row), apiToken: toApiToken(row) }
  }

  async list(ownerId: number): Promise<readonly ApiToken[]> {
    return (await this.#store.read(this.#queries.list({ ownerId }))).map(toApiToken)
  }

  async use(key: ApiTokenKey, now: Date): Promise<void> {
    const { lastUse, use } = this.#queries
    await this.#transact(key.ownerId, {
      reads: { last: lastUse(key) },
      decide: ({ last: [last] }) => ({
        writes: last && (last.last_used_at ?? 0) < now.getTime() ? [use({ ...key, now })] : [],
        result: () => undefined,
      }),
    })
  }

  async remove(key: ApiTokenKey): Promise<boolean> {
    const { lastUse, remove } = this.#queries
    return this.#transact(key.ownerId, {
      reads: { found: lastUse(key) },
      decide: ({ found }) => ({ writes: found.map(() => remove(key)), result: () => found.length > 0 }),
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
