import type { Log } from '../../log.ts'
import type { RequestObserver } from './observe.ts'
import { PROBES } from './routes/probes.ts'

const PROBE_PATHS: ReadonlySet<unknown> = new Set(Object.values(PROBES))

/** Logs one line per request. Only the method, the request id and the trace id come from the client. */
export function accessLog(log: Log): RequestObserver {
  return {
    finished({ method, route, status, aborted, milliseconds, requestId, userId, traceId }) {
      const ms = Math.round(milliseconds * 1_000) / 1_000
      const details = { method, route, status, ms, requestId, userId, traceId, aborted: aborted || undefined }
      log[levelOf(status, route)](details, 'request')
    },
  }
}

/** Monitors call the probes every few seconds; at `info` their lines would bury the others. */
function levelOf(status: number, route: string | undefined): keyof Log {
  if (status === 503 || status === 429) return 'warn'
  if (status >= 500) return 'error'
  return PROBE_PATHS.has(route) ? 'debug' : 'info'
}
