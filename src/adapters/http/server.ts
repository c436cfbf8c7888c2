import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerConfig } from '../../config.ts'
import { ListenError } from '../../operator-error.ts'
import { Connections } from './connections.ts'
import { serveInOrder } from './pipelining.ts'

export interface ListeningServer {
  /** Without a slash at its end. */
  readonly url: string
  /** Takes no new connection, answers the requests in flight, then closes what they needed, if it can be in time. */
  close(): Promise<void>
}

export interface Lifecycle {
  /** Runs as soon as the server is asked to close. */
  whenClosing(): void
  /** Runs once no request is left. */
  atEnd(): Promise<void>
}

/** Bytes of a request's line and headers; a longer one is answered with 431. */
const MAX_HEADER_SIZE = 16 * 1024
/** Milliseconds between two looks for what has run out of time, or is idle while the server closes. */
const CHECK_INTERVAL = 1_000
const CLOSING_INTERVAL = 20
/** Of the time to close. Then comes what the requests needed, and a rest is left to whoever ends the process. */
const SHARE_OF_REQUESTS = 0.9
const SHARE_OF_CLOSING = 0.95

/** @throws ListenError */
export async function listen(
  listener: RequestListener,
  config: ServerConfig,
  lifecycle: Lifecycle,
): Promise<ListeningServer> {
  const server = createServer({
    // Node refuses to start with headers that may take longer than the whole of the request.
    headersTimeout: Math.min(config.headersTimeout, config.requestTimeout) * 1_000,
    requestTimeout: config.requestTimeout * 1_000,
    keepAliveTimeout: config.keepAliveTimeout * 1_000,
    connectionsCheckingInterval: CHECK_INTERVAL,
    maxHeaderSize: MAX_HEADER_SIZE,
  })
  serveInOrder(server, listener)
  server.maxConnections = config.maxConnections
  const connections = new Connections(server, config)
  await bound(server, config)
  return {
    url: urlOf(server.address() as AddressInfo),
    async close() {
      lifecycle.whenClosing()
      await delay(config.shutdownDelay * 1_000)
      const timeout = config.shutdownTimeout * 1_000
      const over = delay(timeout * SHARE_OF_CLOSING, undefined, { ref: false })
      await drained(server, connections, timeout * SHARE_OF_REQUESTS)
      await Promise.race([lifecycle.atEnd(), over])
    },
  }
}

function bound(server: Server, { host, port }: ServerConfig): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', ({ code = '' }: NodeJS.ErrnoException) => reject(new ListenError(host, port, 'PORT', code)))
    server.listen({ host, port }, resolve)
  })
}

/** Connections end as soon as they have no request; what is left after the timeout is cut off. */
async function drained(server: Server, connections: Connections, timeout: number): Promise<void> {
  const endIdle = server.closeIdleConnections.bind(server)
  // `close` calls it too. To Node a connection is idle as soon as its answer is given, though it may not be written yet.
  server.closeIdleConnections = () => {
    if (!connections.writing) endIdle()
    connections.endUnused()
  }
  const idle = setInterval(() => server.closeIdleConnections(), CLOSING_INTERVAL)
  const patience = setTimeout(() => server.closeAllConnections(), timeout)
  await new Promise((closed) => server.close(closed))
  clearInterval(idle)
  clearTimeout(patience)
}

export function urlOf({ address, port }: AddressInfo): string {
  return `http://${isIPv6(address) ? `[${address}]` : address}:${port}`
}
