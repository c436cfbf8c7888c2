import type { Context } from 'koa'
import { type Access, authorize, type Caller, type Scope } from '../../../domain/accounts/caller.ts'
import type { Requester } from '../../../domain/accounts/ports.ts'
import type { SignIn } from '../../../domain/accounts/sign-in.ts'
import { InvalidToken, UserNotFound } from '../../../domain/errors.ts'
import type { LimitName } from './limits.ts'
import { HttpError, type ProblemCode } from './problems.ts'
import { requesterOf } from './requester.ts'

/** The part of the use case that access depends on. */
export type Authenticator = Pick<SignIn, 'authenticate'>

/** The access policy of an endpoint: decides whether a request is allowed, and yields the caller that `handle` receives. */
export interface AccessPolicy<AnyCaller = unknown> {
  /** The access that a credential must give; `nothing` if the request needs no credential. */
  readonly needs: 'nothing' | Access
  /** Rate-limit bucket, unless the endpoint names another. */
  readonly limit?: LimitName
  /** Codes of the errors that `authenticate` and `authorize` throw. */
  readonly errors: readonly ProblemCode[]
  /** @throws DomainError or HttpError when the credential is missing or invalid */
  authenticate(ctx: Context, signIn: Authenticator): Promise<AnyCaller>
  /**
   * Called once the request was counted, so that refused requests are limited as well.
   *
   * @throws DomainError or HttpError when the caller may not do this
   */
  authorize(caller: AnyCaller): void
  /** Key within the rate-limit bucket: requests with the same key are counted together. */
  limitKey(caller: AnyCaller): string
}

/** The caller of a request that carries a credential. */
export class SignedInCaller implements Caller {
  readonly user: Caller['user']
  readonly credential: Caller['credential']
  readonly #ctx: Context
  /**
   * For a request that waits or streams.
   *
   * @throws DomainError or HttpError once the credential no longer allows the request
   */
  readonly reauthorize: () => Promise<void>

  constructor({ user, credential }: Caller, ctx: Context, reauthorize: () => Promise<void>) {
    this.user = user
    this.credential = credential
    this.#ctx = ctx
    this.reauthorize = reauthorize
  }

  /** Created on demand, because most requests need neither the signal nor the client's network. */
  get requester(): Requester {
    return requesterOf(this.#ctx)
  }
}

export const anyone: AccessPolicy<Requester> = {
  needs: 'nothing',
  errors: [],
  authenticate: async (ctx) => requesterOf(ctx),
  authorize() {},
  limitKey: ({ clientNetwork }) => clientNetwork,
}

/** Users who logged in; API tokens are refused, whatever their scopes. */
export const session = signedIn('session', ['session_required'])

/** Users who logged in, and API tokens with this scope. */
export const scope = (scope: Scope): AccessPolicy<SignedInCaller> => signedIn({ scope }, ['insufficient_scope'])

/** Admins who logged in; to all other users the route is unknown. */
export const admin = signedIn('admin', ['session_required', 'route_not_found'])

function signedIn(needs: Access, errors: readonly ProblemCode[]): AccessPolicy<SignedInCaller> {
  const authenticate = async (ctx: Context, signIn: Authenticator) => {
    const caller = await signIn.authenticate(bearerTokenOf(ctx))
    ctx.state.userId = caller.user.id
    return caller
  }
  return {
    needs,
    limit: 'user',
    errors: ['not_authenticated', 'invalid_token', ...errors, 'store_unavailable'],
    authenticate: async (ctx, signIn) =>
      new SignedInCaller(await authenticate(ctx, signIn), ctx, async () =>
        check(await authenticate(ctx, signIn), needs),
      ),
    authorize: (caller) => check(caller, needs),
    limitKey: ({ user }) => String(user.id),
  }
}

/** @throws DomainError or HttpError */
function check(caller: Caller, needs: Access): void {
  try {
    authorize(caller, needs)
  } catch (error) {
    throw error instanceof UserNotFound ? new HttpError('route_not_found') : error
  }
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
