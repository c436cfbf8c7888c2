import { randomUUID } from 'node:crypto'
import cors from '@koa/cors'
import type { Context, Middleware, Next } from 'koa'
import { OutcomeUnknown, StoreUnavailable } from '../../domain/errors.ts'
import type { Log } from '../../log.ts'
import { JSON_TYPE } from './endpoint/body.ts'
import type { Endpoint } from './endpoint/endpoint.ts'
import { HttpError, type Problem, toProblem, withOAuthError } from './endpoint/problems.ts'
import { checkHead } from './endpoint/request-head.ts'
import { ClientLeft } from './endpoint/requester.ts'
import { settleUnreadBody } from './endpoint/unread-body.ts'
import type { Readiness } from './readiness.ts'
import { redactError } from './redact-error.ts'

const REQUEST_ID = /^[\w.-]{1,128}$/
const MAX_REQUEST_ID = 128

/** Strict-Transport-Security is left to the proxy that terminates TLS. */
const COMMON_HEADERS = Object.entries({
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Cache-Control': 'no-store',
  Vary: 'Origin',
})

/** Sets the headers of every response, with the request id: the client's if it is valid, or a new one. */
export function setCommonHeaders(): Middleware {
  return ({ req, res, state }, next) => {
    const sent = req.headers['x-request-id']
    const kept = typeof sent === 'string' && sent.length <= MAX_REQUEST_ID && REQUEST_ID.test(sent)
    state.requestId = kept ? sent : randomUUID()
    res.setHeader('X-Request-Id', state.requestId)
    for (const [name, value] of COMMON_HEADERS) res.setHeader(name, value)
    return next()
  }
}

/** Explains in the log why all clients behind a proxy share one rate limit while TRUST_PROXY is 0. */
export function warnOfUntrustedProxy(log: Log): Middleware {
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

export function allowOrigins(origins: readonly string[]): Middleware {
  const allowed = new Set(origins)
  const handleCors = cors({
    origin: (ctx) => (allowed.has(ctx.get('Origin')) ? ctx.get('Origin') : ''),
    credentials: true,
    allowMethods: ['GET', 'HEAD', 'POST', 'PATCH', 'DELETE'],
    allowHeaders: [
      'Authorization',
      'Content-Type',
      'X-Request-Id',
      'If-Match',
      'If-None-Match',
      'Idempotency-Key',
      'Last-Event-ID',
      'traceparent',
      'tracestate',
    ],
    exposeHeaders: [
      'ETag',
      'Idempotency-Replayed',
      'Location',
      'Link',
      'X-Total-Count',
      'X-Request-Id',
      'WWW-Authenticate',
      'Retry-After',
      'RateLimit',
      'RateLimit-Policy',
      'Accept',
      'Accept-Patch',
      'Accept-Encoding',
      'Content-Disposition',
    ],
    maxAge: 600,
  })
  // Most requests have no Origin header and need no CORS headers.
  return (ctx, next) => (ctx.req.headers.origin === undefined ? next() : handleCors(ctx, next))
}

/** Asks clients to reconnect while shutting down, or when the body is unread (RFC 9112, sections 9.3 and 9.6). */
export function closeConnections(readiness: Readiness): Middleware {
  return async ({ req, res }, next) => {
    await next()
    if (readiness.stopping) res.setHeader('Connection', 'close')
    if (!req.complete) settleUnreadBody(req, res)
  }
}

/** Responds to each error with its problem document, and logs the faults of the service and of the store. */
export function reportProblems(log: Log, endpoints: readonly Pick<Endpoint, 'path' | 'oauthErrors'>[]): Middleware {
  const logFault = faultLogger(log)
  // By path, because an error may precede the router.
  const oauthErrors = new Map(endpoints.map((endpoint) => [endpoint.path, endpoint.oauthErrors]))
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
      ctx.status = problem.status
      ctx.set(headers)
      ctx.type = PROBLEM_TYPE
      ctx.body = problem
      addOAuthError(ctx, problem, oauthErrors.get(instance))
      try {
        logFault(error, problem.status, ctx)
      } catch {
        // Koa would replace the response by a text without headers.
      }
    }
  }
}

const PROBLEM_TYPE = 'application/problem+json'
/** Maximum length of an Accept header that is read, in characters. */
const MAX_ACCEPT = 1_024

function addOAuthError(ctx: Context, problem: Problem, kind: Endpoint['oauthErrors']): void {
  if (kind) ctx.body = withOAuthError(problem)
  if (kind === 'json' && problem.status === 400 && acceptsOnlyJson(ctx)) ctx.type = JSON_TYPE
}

/** OAuth client libraries ask for `application/json` and understand nothing else (RFC 6749, section 5.2). */
const acceptsOnlyJson = (ctx: Context) =>
  ctx.get('Accept').length <= MAX_ACCEPT && !ctx.accepts(PROBLEM_TYPE) && ctx.accepts(JSON_TYPE) !== false

/** Logs the cause of a fault of the service or of the store. */
function faultLogger(log: Log): (error: unknown, status: number, ctx: Context) => void {
  const logStoreFault = storeFaultLogger(log)
  return (error, status, ctx) => {
    const { requestId } = ctx.state
    if (status === 500) log.error({ requestId, err: redactError(error, ctx) }, 'Request failed')
    // An error without a cause was already logged.
    if ((error instanceof StoreUnavailable || error instanceof OutcomeUnknown) && error.cause !== undefined)
      logStoreFault(requestId, redactError(error, ctx) as Error)
  }
}

/** An unreachable store fails every request for the same reason, so the stack is logged only when the reason changes. */
function storeFaultLogger(log: Log): (requestId: string, err: Error) => void {
  let reason: string | undefined
  return (requestId, err) => {
    const details = err.message === reason ? { reason } : { err }
    reason = err.message
    log.warn({ requestId, ...details }, 'Request could not be served')
  }
}

/** Maximum length of a path in characters; the path of every route is shorter. */
const MAX_PATH = 2_048
/** Maximum length of a target in absolute form. */
const MAX_URL = 4_096

/** Koa uses `url.parse`, which accepts invalid ports and prints a warning that quotes them. */
const isUrl = (target: string) => target.length <= MAX_URL && URL.canParse(target)

/** The path of the target, which may have the absolute form (RFC 9112, section 3.2.2). */
function pathOf(ctx: Context): string {
  if (!ctx.url.startsWith('/') && ctx.url !== '*' && !isUrl(ctx.url)) throw new HttpError('malformed_target')
  try {
    const path: string | null = ctx.path
    if (path !== null) return path
  } catch {
    // Reported below.
  }
  throw new HttpError('malformed_target')
}

/** Rejects a request that no route matches: 405 if its path has other methods, otherwise 404. */
export function refuseUnmatched(
  ctx: Context & { matched?: readonly { methods: string[] }[] },
  next: Next,
): Promise<void> {
  if (ctx.routeMatched) return next()
  const methods = new Set((ctx.matched ?? []).flatMap((route) => route.methods))
  if (methods.size === 0) throw new HttpError('route_not_found')
  throw new HttpError('method_not_allowed', { Allow: [...methods].sort().join(', ') })
}

/** Logs responses that could not be sent, at `debug` if the client left, because the access log shows that. */
export function logSendErrors(log: Log): (error: NodeJS.ErrnoException, ctx: Context) => void {
  return (error, ctx) => {
    const clientLeft = error.code === 'ERR_STREAM_PREMATURE_CLOSE' || error === ctx.req.socket.errored
    const details = { requestId: ctx.state.requestId, err: redactError(error, ctx) }
    log[clientLeft ? 'debug' : 'error'](details, 'Response could not be sent')
  }
}
