import type { AccessPolicy } from './access.ts'
import type { BodyType } from './body.ts'
import type { LimitName } from './limits.ts'
import type { ProblemCode } from './problems.ts'
import type { ReplyOf, Responses } from './reply.ts'
import type { ObjectSchema, Schema } from './validation.ts'

/** The groups of endpoints and their descriptions. */
export const tags = {
  Accounts: 'Register, and manage your account.',
  Sessions: 'Log in, stay logged in, and log out.',
  'API tokens': 'Credentials for scripts.',
  Administration: 'Manage the accounts of all users, as an admin.',
  Tasks: 'Your private list of tasks.',
  Service: 'The service itself.',
}

/** The valid parts of a request, and the caller that the endpoint's access yields. */
export interface Request<Caller, Params, Query, Headers, Body> {
  readonly caller: Caller
  readonly params: Params
  readonly query: Query
  readonly headers: Headers
  readonly body: Body
  /** The bytes of the body after decompression. */
  readonly rawBody: Buffer
}

/** A route: its handler, its validation and its documentation. */
export interface Endpoint<
  Caller = unknown,
  Params = unknown,
  Query = unknown,
  Headers = unknown,
  Body = unknown,
  Declared extends Responses = Responses,
> {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  /** Path template with `{name}` for each parameter, as in OpenAPI. */
  readonly path: string
  readonly operationId: string
  readonly tag: keyof typeof tags
  readonly summary: string
  readonly description: string
  readonly access: AccessPolicy<Caller>
  /** Rate-limit bucket, if it differs from that of `access`. */
  readonly limit?: LimitName
  readonly params?: Schema<Params>
  /** Without a schema, every query parameter is refused. */
  readonly query?: ObjectSchema<Query>
  /** For a route outside the prefix: monitors and browsers add parameters of their own. */
  readonly ignoresQuery?: true
  /** Headers by lower-case name; others are ignored. */
  readonly headers?: ObjectSchema<Headers>
  readonly body?: { readonly types: readonly BodyType[]; readonly schema: ObjectSchema<Body> }
  /** How many requests a valid one counts as; 1 by default. */
  countOf?(body: Body): number
  /** By status. `handle` does not compile when it returns any other reply. */
  readonly responses: Declared
  /**
   * Whether errors also carry the members of OAuth (RFC 6749, section 5.2), for OAuth client libraries. With `json`, errors with
   * status 400 are `application/json` for a client that accepts no problem documents.
   */
  readonly oauthErrors?: 'problem' | 'json'
  /** Errors in addition to those that follow from access, limit, parameters and body. */
  readonly errors: readonly ProblemCode[]
  handle(request: Request<Caller, Params, Query, Headers, Body>): Promise<ReplyOf<Declared>>
}

/** Infers the types of an endpoint from its schemas, then erases them, so that all endpoints fit into one table. */
export function endpoint<Caller, Params, Query, Headers, Body, const Declared extends Responses>(
  definition: Endpoint<Caller, Params, Query, Headers, Body, Declared>,
): Endpoint {
  return definition as unknown as Endpoint
}

/** Rate-limit bucket of an endpoint's requests. */
export const limitOf = ({ limit, access }: Pick<Endpoint, 'limit' | 'access'>): LimitName | undefined =>
  limit ?? access.limit
