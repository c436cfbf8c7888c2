import type Router from '@koa/router'
import type { Context } from 'koa'
import * as v from 'valibot'
import type { ManageAccounts } from '../../../domain/accounts/manage-accounts.ts'
import type { Requester } from '../../../domain/accounts/ports.ts'
import type { UserSnapshot } from '../../../domain/accounts/user.ts'
import { authenticate } from './access.ts'
import { type BodyType, bodyReader } from './body.ts'
import { type LimitName, type Limits, limitBy } from './limits.ts'
import { type InputError, InvalidRequest, type ProblemCode } from './problems.ts'
import { requesterOf } from './requester.ts'
import { judge, type ObjectSchema, onlyOnce, type Schema } from './validation.ts'

/** A successful answer: the same status each time, so it is a part of the endpoint and not of the reply. */
export interface Reply<Body> {
  readonly body: Body
  readonly headers?: Readonly<Record<string, string>>
}

/** Who may call: anybody, or a user who shows a bearer token. */
export type Access = 'public' | 'user'

interface Request<Who extends Access, Params, Query, Body> {
  readonly user: Who extends 'user' ? UserSnapshot : undefined
  readonly params: Params
  readonly query: Query
  readonly body: Body
  readonly requester: Who extends 'public' ? Requester : undefined
}

/** The groups of endpoints, with what the documentation says about each. */
export const tags = {
  Accounts: 'Register, log in, and see who you are.',
  Tasks: 'Your private list of tasks.',
  Service: 'The service itself.',
}

/** A route with everything that serves it, checks it and documents it. */
export interface Endpoint<
  Who extends Access = Access,
  Params = unknown,
  Query = unknown,
  Body = unknown,
  Answer = unknown,
> {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  /** With `{name}` for each parameter, as OpenAPI writes it. */
  readonly path: string
  readonly operationId: string
  readonly tag: keyof typeof tags
  readonly summary: string
  readonly description: string
  readonly access: Who
  /** What its requests are counted as. */
  readonly limit?: LimitName
  readonly params?: Schema<Params>
  /** Without one every parameter is refused. */
  readonly query?: Schema<Query>
  /** For a route outside the prefix: monitors and browsers add parameters of their own. */
  readonly ignoresQuery?: true
  readonly body?: { readonly types: readonly BodyType[]; readonly schema: ObjectSchema<Body> }
  readonly response: {
    readonly status: 200 | 201 | 204
    readonly description: string
    /** An allow-list: `handle` does not compile when it answers more or less. */
    readonly schema?: Schema<Answer>
    /** Headers of this answer. */
    readonly headers?: Readonly<Record<string, { readonly description: string; readonly example: string }>>
  }
  /** The errors of its own; those that follow from its parts (a token, a body, a parameter) are known without saying. */
  readonly errors: readonly ProblemCode[]
  handle(request: Request<Who, Params, Query, Body>): Promise<Reply<Answer>>
}

/** Infers the types of a route's parts from its schemas, then forgets them, so that routes of all types fit one table. */
export function endpoint<Who extends Access, Params, Query, Body, Answer = undefined>(
  definition: Endpoint<Who, Params, Query, Body, Answer>,
): Endpoint {
  return definition as unknown as Endpoint
}

const noParameters = v.strictObject({})
const none = {}

type Routed = Context & { params: Record<string, string> }

/** Everything that does not depend on the request is made here, at start-up. */
export function mount(router: Router, endpoint: Endpoint, accounts: ManageAccounts, limits: Limits): void {
  const { access, path, params, body, response } = endpoint
  const limiter = endpoint.limit && limits[endpoint.limit]
  const limit = limiter && limitBy(limiter)
  const readQuery = queryReader(endpoint)
  const readBody = body && bodyReader(body, endpoint.method)

  const judged = async (ctx: Routed, user: UserSnapshot | undefined, requester: Requester | undefined) => {
    const mistakes: InputError[] = []
    const sent = await readBody?.(ctx, mistakes)
    const request = {
      user: user as UserSnapshot,
      requester: requester as Requester,
      params: params && judge(params, ctx.params, 'parameters', mistakes),
      query: readQuery(ctx, mistakes),
      body: body && judge(body.schema, sent, 'body', mistakes),
    }
    refuse(mistakes)
    return request
  }
  const serve = async (ctx: Routed) => {
    ctx.state.route = path
    const user = access === 'user' ? await authenticate(ctx, accounts) : undefined
    ctx.state.userId = user?.id
    const requester = user ? undefined : requesterOf(ctx)
    if (limit) await limit(ctx, requester ? requester.clientNetwork : String(user?.id))
    const { body: answer, headers } = await endpoint.handle(await judged(ctx, user, requester))
    if (headers) ctx.set(headers)
    ctx.status = response.status
    if (answer !== undefined) ctx.res.setHeader('Content-Type', 'application/json; charset=utf-8')
    ctx.body = answer
  }
  router.register(koaPath(endpoint.path), [endpoint.method], serve)
}

/** @throws InvalidRequest when there is a mistake */
function refuse(mistakes: readonly InputError[]): void {
  if (mistakes.length > 0) throw new InvalidRequest(mistakes)
}

function queryReader({ query, ignoresQuery }: Endpoint): (ctx: Context, mistakes: InputError[]) => unknown {
  if (ignoresQuery) return () => undefined
  if (query) return (ctx, mistakes) => judge(query, queryOf(ctx, mistakes), 'parameters', mistakes)
  return (ctx, mistakes) => {
    if (ctx.querystring !== '') judge(noParameters, queryOf(ctx, mistakes), 'parameters', mistakes)
  }
}

function queryOf(ctx: Context, mistakes: InputError[]): Record<string, string> {
  return ctx.querystring === '' ? none : onlyOnce(ctx.querystring, 'parameters', mistakes)
}

function koaPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1')
}
