import type { Log } from '../../log.ts'
import type { RequestObserver } from './observe.ts'

/** Asked every few seconds by machines; a line for each would bury the others. */
const PROBES = new Set(['/health', '/livez', '/readyz'])

/** One line for each request, with nothing in it that the client chose but the method and the request id. */
export function accessLog(log: Log): RequestObserver {
  return {
    answered({ method, route, status, aborted, milliseconds, requestId, userId, traceId }) {
      const ms = Math.round(milliseconds * 1_000) / 1_000
      const details = { method, route, status, ms, requestId, userId, traceId, aborted: aborted || undefined }
      log[levelOf(status, route)](details, 'request')
    },
  }
}

/** `error`: a fault of the service. `warn`: a request was turned away. */
function levelOf(status: number, route: string | undefined): keyof Log {
  if (status === 503 || status === 429) return 'warn'
  if (status >= 500) return 'error'
  return route !== undefined && PROBES.has(route) ? 'debug' : 'info'
}
