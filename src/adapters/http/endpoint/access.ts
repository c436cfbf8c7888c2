import type { Context } from 'koa'
import type { ManageAccounts } from '../../../domain/accounts/manage-accounts.ts'
import type { UserSnapshot } from '../../../domain/accounts/user.ts'
import { InvalidToken } from '../../../domain/errors.ts'
import { HttpError } from './problems.ts'

/** `b64token`, RFC 6750, section 2.1; the scheme's case does not count (RFC 9110, section 11.1). */
const BEARER = /^bearer +([\w\-.~+/]+=*)$/i
const SCHEME = /^bearer(?: |$)/i
/** Characters of the header; a token of ours has some 200. */
const MAX_AUTHORIZATION = 4_096

/**
 * The user whom the request's bearer token names.
 *
 * @throws HttpError `not_authenticated` without an Authorization header of that scheme
 * @throws InvalidToken
 */
export async function authenticate(ctx: Context, accounts: ManageAccounts): Promise<UserSnapshot> {
  const { authorization = '' } = ctx.req.headers
  const token = authorization.length > MAX_AUTHORIZATION ? undefined : BEARER.exec(authorization)?.[1]
  if (token === undefined) {
    throw SCHEME.test(authorization.slice(0, 'bearer '.length))
      ? new InvalidToken()
      : new HttpError('not_authenticated')
  }
  return (await accounts.authenticate(token)).snapshot()
}
