import { ApiToken, type ApiTokenDraft, type ApiTokenKey, MAX_API_TOKENS } from '../../domain/accounts/api-token.ts'
import type { ApiTokenRepository, TokenHolder } from '../../domain/accounts/ports.ts'
import { User } from '../../domain/accounts/user.ts'
import { ApiTokenLimitReached, InvalidToken } from '../../domain/errors.ts'
import { Accounts } from './accounts.ts'

/** Keeps API tokens for the life of the process. */
export class InMemoryApiTokenRepository implements ApiTokenRepository {
  readonly #accounts: Accounts

  constructor(accounts = new Accounts()) {
    this.#accounts = accounts
  }

  async add(draft: ApiTokenDraft): Promise<ApiToken> {
    const { users, apiTokens } = this.#accounts
    if (!users.has(draft.ownerId)) throw new InvalidToken()
    if (apiTokens.of(draft.ownerId).length >= MAX_API_TOKENS) throw new ApiTokenLimitReached(MAX_API_TOKENS)
    return ApiToken.restore(apiTokens.add(draft))
  }

  async find(key: ApiTokenKey): Promise<TokenHolder | undefined> {
    const { users, apiTokens } = this.#accounts
    const token = apiTokens.find(key)
    const user = users.get(key.ownerId)
    return token && user && { user: User.restore(user), apiToken: ApiToken.restore(token) }
  }

  async list(ownerId: number): Promise<readonly ApiToken[]> {
    return this.#accounts.apiTokens.of(ownerId).reverse().map(ApiToken.restore)
  }

  async use(key: ApiTokenKey, now: Date): Promise<void> {
    const { apiTokens } = this.#accounts
    const stored = apiTokens.find(key)
    if (stored && (stored.lastUsedAt === null || stored.lastUsedAt < now)) {
      apiTokens.set(key.id, { ...stored, lastUsedAt: now })
    }
  }

  async remove(key: ApiTokenKey): Promise<boolean> {
    const { apiTokens } = this.#accounts
    return apiTokens.find(key) !== undefined && apiTokens.delete(key.id)
  }

  /** Purges the tokens that expired before a time. */
  async purge(before: Date): Promise<void> {
    const { apiTokens } = this.#accounts
    for (const { id, expiresAt } of apiTokens.values()) {
      if (expiresAt !== null && expiresAt < before) apiTokens.delete(id)
    }
  }
}
