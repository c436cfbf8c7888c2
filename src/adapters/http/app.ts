import { randomUUID } from 'node:crypto'
import cors from '@koa/cors'
import Router from '@koa/router'
import Koa, { type Context, type Middleware, type Next } from 'koa'
import helmet from 'koa-helmet'
import * as v from 'valibot'
import type { HttpConfig } from '../../config.ts'
import type { ManageAccounts } from '../../domain/accounts/manage-accounts.ts'
import { OutcomeUnknown, StoreUnavailable } from '../../domain/errors.ts'
import type { ManageTasks } from '../../domain/tasks/manage-tasks.ts'
import type { Log } from '../../log.ts'
import { openApiDocument } from './docs/openapi.ts'
import { mountDocs } from './docs/pages.ts'
import { anyone } from './endpoint/access.ts'
import { type Endpoint, endpoint } from './endpoint/endpoint.ts'
import type { Limits } from './endpoint/limits.ts'
import { mount } from './endpoint/mount.ts'
import { HttpError, toProblem } from './endpoint/problems.ts'
import { checkHead } from './endpoint/request-head.ts'
import { ClientLeft } from './endpoint/requester.ts'
import { settleUnreadBody } from './endpoint/unread-body.ts'
import { observe, type RequestObserver } from './observe.ts'
import type { Readiness } from './readiness.ts'
import { discreet } from './redact-error.ts'
import { accountEndpoints } from './routes/accounts.ts'
import { probeEndpoints } from './routes/probes.ts'
import { taskEndpoints } from './routes/tasks.ts'

export interface AppOptions extends HttpConfig {
  readonly version: string
}

/** What the endpoints call, and who is told of what they do. */
export interface Surroundings {
  readonly accounts: ManageAccounts
  readonly tasks: ManageTasks
  readonly readiness: Readiness
  readonly limits: Limits
  readonly observers: readonly RequestObserver[]
  readonly log: Log
}

/** Every middleware, in the order in which a request passes them. */
export function createApp(options: AppOptions, surroundings: Surroundings): Koa {
  const { projectName, version, apiPrefix, rootPath, environment, corsOrigins, trustedProxies } = options
  const { accounts, tasks, readiness, limits, observers, log } = surroundings
  const documented = [
    ...probeEndpoints(environment, () => readiness.check()),
    ...accountEndpoints(apiPrefix, accounts),
    ...taskEndpoints(apiPrefix, tasks, rootPath),
  ]
  const about = { title: projectName, version, loginPath: `${apiPrefix}/auth/login` }
  const endpoints = [...documented, openApiEndpoint(openApiDocument(about, documented))]

  const router = new Router({ strict: true, sensitive: true })
  for (const each of endpoints) mount(router, each, accounts, limits)
  mountDocs(router, projectName)

  const app = new Koa({ proxy: trustedProxies > 0, maxIpsCount: trustedProxies })
  app.on('error', (error, ctx: Context) => {
    // A client that is gone, or sends what is no HTTP, is in the line of its request.
    const level = error === ctx.req.socket.errored ? 'debug' : 'error'
    log[level]({ requestId: ctx.state.requestId, err: discreet(error, ctx) }, 'an answer could not be sent')
  })
  if (observers.length > 0) app.use(observe(observers))
  app.use(answerHeaders())
  if (trustedProxies === 0) app.use(warnOfUntrustedProxy(log))
  app.use(allowOrigins(corsOrigins))
  app.use(endConnections(readiness))
  app.use(reportProblems(log))
  app.use(router.routes())
  app.use(refuseUnknown)
  return app
}

const REQUEST_ID = /^[\w.-]{1,128}$/
const MAX_REQUEST_ID = 128

/** What every answer carries, whatever becomes of the request. */
function answerHeaders(): Middleware {
  const headers = Object.entries({
    ...securityHeaders(),
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    'Cache-Control': 'no-store',
    Vary: 'Origin',
  })
  return ({ req, res, state }, next) => {
    const sent = req.headers['x-request-id']
    const kept = typeof sent === 'string' && sent.length <= MAX_REQUEST_ID && REQUEST_ID.test(sent)
    state.requestId = kept ? sent : randomUUID()
    res.setHeader('X-Request-Id', state.requestId)
    for (const [name, value] of headers) res.setHeader(name, value)
    return next()
  }
}

/**
 * koa-helmet's headers are the same for each request, so it is asked for them once. Left out is what concerns pages
 * that load others, and Strict-Transport-Security, which belongs to whoever ends TLS.
 */
function securityHeaders(): Record<string, string> {
  const headers: Record<string, string> = {}
  const res = {
    setHeader: (name: string, value: string) => {
      headers[name] = value
    },
    removeHeader: () => {},
  }
  const setHeaders = helmet({
    contentSecurityPolicy: false,
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
    strictTransportSecurity: false,
    xDnsPrefetchControl: false,
    xDownloadOptions: false,
    xFrameOptions: { action: 'deny' },
    xPermittedCrossDomainPolicies: false,
    xXssProtection: false,
  })
  setHeaders({ req: {}, res } as unknown as Context, async () => {})
  return headers
}

/** Without TRUST_PROXY all clients of a proxy share one rate limit, which nothing else in the log explains. */
function warnOfUntrustedProxy(log: Log): Middleware {
  let warned = false
  return ({ req }, next) => {
    if (!warned && req.headers['x-forwarded-for'] !== undefined) {
      warned = true
      log.warn(
        {},
        'A request has X-Forwarded-For, which is ignored while TRUST_PROXY is 0. Behind a proxy, set TRUST_PROXY to the number of proxies, or all clients share one rate limit.',
      )
    }
    return next()
  }
}

function allowOrigins(origins: readonly string[]): Middleware {
  const allowed = new Set(origins)
  const answerOrigin = cors({
    origin: (ctx) => (allowed.has(ctx.get('Origin')) ? ctx.get('Origin') : ''),
    credentials: true,
    allowMethods: ['GET', 'HEAD', 'POST', 'PATCH', 'DELETE'],
    allowHeaders: ['Authorization', 'Content-Type', 'X-Request-Id', 'traceparent', 'tracestate'],
    exposeHeaders: [
      'Location',
      'Link',
      'X-Request-Id',
      'WWW-Authenticate',
      'Retry-After',
      'RateLimit',
      'RateLimit-Policy',
      'Accept',
      'Accept-Patch',
      'Accept-Encoding',
    ],
    maxAge: 600,
  })
  // Without an origin there is nothing to answer, and most requests have none.
  return (ctx, next) => (ctx.req.headers.origin === undefined ? next() : answerOrigin(ctx, next))
}

/** Whether another request may follow on this connection (RFC 9112, sections 9.3 and 9.6). */
function endConnections(readiness: Readiness): Middleware {
  return async ({ req, res }, next) => {
    await next()
    if (readiness.stopping) res.setHeader('Connection', 'close')
    if (!req.complete) settleUnreadBody(req, res)
  }
}

/** Answers each error with its problem document; what is a mistake of ours, or the store's, goes to the log. */
function reportProblems(log: Log): Middleware {
  return async (ctx, next) => {
    let instance = ''
    try {
      instance = pathOf(ctx)
      checkHead(ctx.req)
      if (instance.length > MAX_PATH) throw new HttpError('route_not_found')
      await next()
    } catch (error) {
      if (error instanceof ClientLeft) return
      const { problem, headers } = toProblem(error, instance)
      const details = () => ({ requestId: ctx.state.requestId, err: discreet(error, ctx) })
      if (problem.status === 500) log.error(details(), 'a request failed')
      // The other reasons for a 503 are known without a stack, and one without a cause has its own line.
      if ((error instanceof StoreUnavailable || error instanceof OutcomeUnknown) && error.cause !== undefined)
        log.warn(details(), 'a request could not be served')
      ctx.status = problem.status
      ctx.set(headers)
      ctx.type = 'application/problem+json'
      ctx.body = problem
    }
  }
}

/** Characters of a path; every route's is shorter. */
const MAX_PATH = 2_048
/** Characters of a target that is a whole URL. */
const MAX_URL = 4_096

/** Koa parses with `url.parse`, which accepts wrong ports and prints a warning that quotes them. */
const isUrl = (target: string) => target.length <= MAX_URL && URL.canParse(target)

/** A target may be a whole URL (RFC 9112, section 3.2.2), and as such no URL at all. */
function pathOf(ctx: Context): string {
  if (!ctx.url.startsWith('/') && ctx.url !== '*' && !isUrl(ctx.url)) throw new HttpError('malformed_target')
  try {
    const path: string | null = ctx.path
    if (path !== null) return path
  } catch {
    // The same.
  }
  throw new HttpError('malformed_target')
}

function refuseUnknown(ctx: Context & { matched?: readonly { methods: string[] }[] }, next: Next): Promise<void> {
  if (ctx.routeMatched) return next()
  const methods = new Set((ctx.matched ?? []).flatMap((route) => route.methods))
  if (methods.size === 0) throw new HttpError('route_not_found')
  throw new HttpError('method_not_allowed', { Allow: [...methods].sort().join(', ') })
}

function openApiEndpoint(document: Record<string, unknown>): Endpoint {
  return endpoint({
    method: 'GET',
    path: '/openapi.json',
    operationId: 'getOpenApi',
    tag: 'Service',
    summary: 'Get the OpenAPI document',
    description: 'Describes every other operation.',
    access: anyone,
    ignoresQuery: true,
    responses: { 200: { description: 'The document.', schema: v.looseObject({}) } },
    errors: [],
    async handle() {
      return { status: 200, body: document }
    },
  })
}
