import { InsufficientScope, SessionRequired, UserNotFound } from '../errors.ts'
import type { UserSnapshot } from './user.ts'

/** The permissions that an API token can have. */
export const SCOPES = ['tasks:read', 'tasks:write', 'account'] as const
export type Scope = (typeof SCOPES)[number]

/** Scopes that include another one. */
const includedIn: { readonly [scope in Scope]?: Scope } = { 'tasks:read': 'tasks:write' }

export interface SessionCredential {
  readonly kind: 'session'
  /** Undefined for a token that was issued before there were sessions. */
  readonly sessionId: number | undefined
}

export interface ApiTokenCredential {
  readonly kind: 'api-token'
  readonly tokenId: number
  readonly scopes: readonly Scope[]
}

/** The user on whose behalf a request is made, and the credential that it carries. */
export interface Caller {
  readonly user: UserSnapshot
  readonly credential: SessionCredential | ApiTokenCredential
}

/** The requirement of a route for its caller. A session allows everything that its user may do. */
export type Access = 'session' | 'admin' | { readonly scope: Scope }

/**
 * @throws UserNotFound when the caller is no admin, so that the response does not reveal what admins can do
 * @throws SessionRequired
 * @throws InsufficientScope
 */
export function authorize({ user, credential }: Caller, access: Access): void {
  if (access === 'admin' && user.role !== 'admin') throw new UserNotFound()
  if (credential.kind === 'session') return
  if (typeof access === 'string') throw new SessionRequired()
  const { scope } = access
  const wider = includedIn[scope]
  const granted = credential.scopes.includes(scope) || (wider !== undefined && credential.scopes.includes(wider))
  if (!granted) throw new InsufficientScope(scope)
}
