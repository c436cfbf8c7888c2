import type { Context, Middleware } from 'koa'

/** A request whose response was sent or whose client left. */
export interface FinishedRequest {
  readonly method: string
  /** Path template of the matched route; never the path itself. */
  readonly route: string | undefined
  readonly status: number
  /** Whether the client left before the whole response was sent. */
  readonly aborted: boolean
  readonly milliseconds: number
  readonly requestId: string
  readonly userId: number | undefined
  /** From `traceparent`: 32 hexadecimal digits. */
  readonly traceId: string | undefined
}

/** Receives each request when it starts and when its response ends. */
export interface RequestObserver {
  started?(): void
  finished(request: FinishedRequest): void
}

/** https://www.w3.org/TR/trace-context/#traceparent-header: only later versions than 00 may be longer. */
const TRACEPARENT = /^(?!ff|00.{54})[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})[\da-f]{16}-[\da-f]{2}(?:$|-)/

/** Number of characters that the pattern needs; later versions may append more. */
const TRACEPARENT_END = 56

/** Reports each request to the observers. */
export function observe(observers: readonly RequestObserver[]): Middleware {
  return (ctx, next) => {
    const start = performance.now()
    for (const observer of observers) observer.started?.()
    ctx.res.once('close', () => {
      const request = finishedRequest(ctx, performance.now() - start)
      for (const observer of observers) observer.finished(request)
    })
    return next()
  }
}

/** nginx's status for a client that closed the connection; no standard defines one. */
const CLIENT_CLOSED_REQUEST = 499
/** Node's own response to a request that arrives too slowly. */
const REQUEST_TIMEOUT = 408

function statusOf({ req, res }: Context): number {
  if (res.writableFinished) return res.statusCode
  const { code } = (req.socket.errored ?? {}) as NodeJS.ErrnoException
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' ? REQUEST_TIMEOUT : CLIENT_CLOSED_REQUEST
}

function finishedRequest(ctx: Context, milliseconds: number): FinishedRequest {
  const { method, res, state, req } = ctx
  const traceparent = req.headers.traceparent
  return {
    method,
    route: state.route,
    status: statusOf(ctx),
    aborted: !res.writableFinished,
    milliseconds,
    requestId: state.requestId,
    userId: state.userId,
    traceId: typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent.slice(0, TRACEPARENT_END))?.[1] : undefined,
  }
}
