import { InvalidInput } from '../errors.ts'
import { all, enforce, notBlank, type Rule, text } from '../rules.ts'
import { SCOPES, type Scope } from './caller.ts'
import { isUseDue } from './last-use.ts'

/** Maximum number of API tokens of a user. */
export const MAX_API_TOKENS = 100
export const TOKEN_NAME_LIMITS = { min: 1, max: 100 }
/** Default time from creation to expiry in milliseconds. */
export const DEFAULT_LIFETIME = 90 * 86_400_000

const scopes: Rule = (value) => {
  if (!Array.isArray(value)) return { code: 'not_a_list', detail: 'must be a list' }
  const known = value.length > 0 && value.length <= SCOPES.length && value.every((scope) => SCOPES.includes(scope))
  return known ? undefined : { code: 'unknown_value', detail: `must hold one or more of ${SCOPES.join(', ')}` }
}

/** The rule for each member of a new token, apart from its expiry, which must be in the future. */
export const apiTokenRules: Readonly<Record<'name' | 'scopes', Rule>> = {
  name: all(text(TOKEN_NAME_LIMITS), notBlank),
  scopes,
}

export interface NewApiToken {
  readonly name: string
  readonly scopes: readonly Scope[]
  /** Null for a token without expiry; 90 days from now if absent. */
  readonly expiresAt?: Date | null | undefined
}

/** The complete state of an API token, a credential for scripts. */
export interface ApiTokenSnapshot {
  /** Never reused. */
  readonly id: number
  readonly ownerId: number
  readonly name: string
  /** Each once, in the order of SCOPES. */
  readonly scopes: readonly Scope[]
  readonly tokenHash: string
  readonly createdAt: Date
  readonly expiresAt: Date | null
  /** To the minute; null before the first use. */
  readonly lastUsedAt: Date | null
}

/** An API token before the store assigns its id. */
export type ApiTokenDraft = Omit<ApiTokenSnapshot, 'id'>

/** The owner is part of the key: code that forgets the check finds nothing, never another user's token. */
export type ApiTokenKey = Pick<ApiTokenSnapshot, 'id' | 'ownerId'>

export class ApiToken {
  /** The token hash is not a public member, because JSON, `console.log` and deep equality show every member. */
  readonly #state: ApiTokenSnapshot
  readonly id: number
  readonly ownerId: number

  private constructor(state: ApiTokenSnapshot) {
    this.#state = state
    this.id = state.id
    this.ownerId = state.ownerId
  }

  /** @throws InvalidInput */
  static create(
    ownerId: number,
    { name, scopes, expiresAt }: NewApiToken,
    tokenHash: string,
    now: Date,
  ): ApiTokenDraft {
    enforce(apiTokenRules, { name, scopes })
    if (expiresAt && expiresAt <= now) {
      throw new InvalidInput([{ member: 'expires_at', code: 'not_in_future', detail: 'must be in the future' }])
    }
    return {
      ownerId,
      name,
      scopes: SCOPES.filter((scope) => scopes.includes(scope)),
      tokenHash,
      createdAt: now,
      expiresAt: expiresAt === undefined ? new Date(now.getTime() + DEFAULT_LIFETIME) : expiresAt,
      lastUsedAt: null,
    }
  }

  static restore(state: ApiTokenSnapshot): ApiToken {
    return new ApiToken(state)
  }

  snapshot(): ApiTokenSnapshot {
    return this.#state
  }

  /** Whether the hash is that of this token, and the token has not expired. */
  accepts(tokenHash: string, now: Date): boolean {
    const { tokenHash: own, expiresAt } = this.#state
    return tokenHash === own && (expiresAt === null || expiresAt > now)
  }

  isUseDue(now: Date): boolean {
    return isUseDue(this.#state.lastUsedAt, now)
  }
}
