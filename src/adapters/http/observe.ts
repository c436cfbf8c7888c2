import type { Context, Middleware } from 'koa'

/** What is known of a request once its answer is sent, or the client is gone. */
export interface Answered {
  readonly method: string
  /** Template of the route, never the path itself; nothing where no route matched. */
  readonly route: string | undefined
  readonly status: number
  /** Whether the client went away before it had the whole answer. */
  readonly aborted: boolean
  readonly milliseconds: number
  readonly requestId: string
  readonly userId: number | undefined
  /** Of the caller's trace, 32 hexadecimal digits. */
  readonly traceId: string | undefined
}

/** Somebody who is told of every request. */
export interface RequestObserver {
  started?(): void
  answered(request: Answered): void
}

/** https://www.w3.org/TR/trace-context/#traceparent-header: later versions may be longer, the first may not. */
const TRACEPARENT = /^(?!ff|00.{54})[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})[\da-f]{16}-[\da-f]{2}(?:$|-)/

/** Characters that the pattern looks at: what follows them is of a later version. */
const TRACEPARENT_END = 56

/** Tells the observers of each request, from the first middleware to the last byte. */
export function observe(observers: readonly RequestObserver[]): Middleware {
  return (ctx, next) => {
    const start = performance.now()
    for (const observer of observers) observer.started?.()
    ctx.res.once('close', () => {
      const request = answered(ctx, performance.now() - start)
      for (const observer of observers) observer.answered(request)
    })
    return next()
  }
}

/** nginx's status for a client that closed the connection; no standard has one. */
const CLIENT_CLOSED_REQUEST = 499
/** What Node answers by itself when a request takes too long to arrive. */
const REQUEST_TIMEOUT = 408

function statusOf({ req, res }: Context): number {
  if (res.writableFinished) return res.statusCode
  const { code } = (req.socket.errored ?? {}) as NodeJS.ErrnoException
  return code === 'ERR_HTTP_REQUEST_TIMEOUT' ? REQUEST_TIMEOUT : CLIENT_CLOSED_REQUEST
}

function answered(ctx: Context, milliseconds: number): Answered {
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
