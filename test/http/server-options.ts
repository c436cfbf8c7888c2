import type { Lifecycle } from '#src/adapters/http/server.ts'
import type { ServerConfig } from '#src/config.ts'

/** For a server that closes no connection during a test. Times are in seconds. */
export const LONG_TIMEOUTS: ServerConfig = {
  host: '127.0.0.1',
  port: 0,
  headersTimeout: 3_600,
  requestTimeout: 3_600,
  keepAliveTimeout: 3_600,
  maxConnections: 1_000,
  maxConnectionsPerClient: 1_000,
  shutdownDelay: 0,
  shutdownTimeout: 1,
}

export const NO_LIFECYCLE: Lifecycle = { whenClosing: () => undefined, atEnd: async () => undefined }
