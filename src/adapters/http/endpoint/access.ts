import type { Context } from 'koa'
import type { ManageAccounts } from '../../../domain/accounts/manage-accounts.ts'
import type { Requester } from '../../../domain/accounts/ports.ts'
import type { UserSnapshot } from '../../../domain/accounts/user.ts'
import { InvalidToken } from '../../../domain/errors.ts'
import type { LimitName } from './limits.ts'
import { HttpError, type ProblemCode } from './problems.ts'
import { requesterOf } from './requester.ts'

/** The access policy of an endpoint: decides whether a request is allowed, and yields the caller that `handle` receives. */
export interface Access<Caller = unknown> {
  /** Whether the request must carry a bearer token. */
  readonly needsToken: boolean
  /** Rate-limit bucket, unless the endpoint names another. */
  readonly limit?: LimitName
  /** Codes of the errors that `authorize` throws. */
  readonly errors: readonly ProblemCode[]
  /** @throws DomainError or HttpError when the request is not allowed */
  authorize(ctx: Context, accounts: ManageAccounts): Promise<Caller>
  /** Key within the rate-limit bucket: requests with the same key are counted together. */
  limitKey(caller: Caller): string
}

export const anyone: Access<Requester> = {
  needsToken: false,
  errors: [],
  authorize: async (ctx) => requesterOf(ctx),
  limitKey: ({ clientNetwork }) => clientNetwork,
}

export const signedInUser: Access<UserSnapshot> = {
  needsToken: true,
  limit: 'user',
  errors: ['not_authenticated', 'invalid_token', 'store_unavailable'],
  async authorize(ctx, accounts) {
    const user = (await accounts.authenticate(bearerTokenOf(ctx))).snapshot()
    ctx.state.userId = user.id
    return user
  },
  limitKey: ({ id }) => String(id),
}

/** A user whose request waits or streams. */
export interface WaitingUser extends UserSnapshot {
  /** Aborts when the client leaves. */
  readonly signal: AbortSignal
  /** @throws InvalidToken once the token has expired or the user is gone */
  reauthorize(): Promise<void>
}

export const waitingUser: Access<WaitingUser> = {
  ...signedInUser,
  async authorize(ctx, accounts) {
    // Before the lookup, during which the client may leave.
    const { signal } = requesterOf(ctx)
    const reauthorize = async () => {
      await signedInUser.authorize(ctx, accounts)
    }
    return { ...(await signedInUser.authorize(ctx, accounts)), signal, reauthorize }
  },
}

/** `b64token`, RFC 6750, section 2.1; the scheme is case-insensitive (RFC 9110, section 11.1). */
const BEARER = /^bearer +([\w\-.~+/]+=*)$/i
const SCHEME = /^bearer(?: |$)/i
/** Maximum length of the header in characters; a token of this service has some 200. */
const MAX_AUTHORIZATION = 4_096

/**
 * @throws HttpError `not_authenticated` when the Authorization header is missing or has another scheme
 * @throws InvalidToken
 */
function bearerTokenOf(ctx: Context): string {
  const { authorization = '' } = ctx.req.headers
  const token = authorization.length > MAX_AUTHORIZATION ? undefined : BEARER.exec(authorization)?.[1]
  if (token !== undefined) return token
  if (SCHEME.test(authorization.slice(0, 'bearer '.length))) throw new InvalidToken()
  throw new HttpError('not_authenticated')
}
