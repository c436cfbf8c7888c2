import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerConfig } from '../../config.ts'
import { ListenError } from '../../operator-error.ts'
import { Connections } from './connections.ts'
import { serveInOrder } from './pipelining.ts'

export interface ListeningServer {
  /** Without a trailing slash. */
  readonly url: string
  /** Stops accepting connections, drains the requests in flight, then runs `atEnd`, all within the shutdown timeout. */
  close(): Promise<void>
}

export interface Lifecycle {
  /** Runs when `close` is called. */
  whenClosing(): void
  /** Runs after the last request. */
  atEnd(): Promise<void>
}

/** Maximum bytes of a request line and headers; Node refuses more with 431. */
const MAX_HEADER_SIZE = 16 * 1024
/** Milliseconds between two checks for timed-out requests, and for idle connections while the server closes. */
const CHECK_INTERVAL = 1_000
const CLOSING_INTERVAL = 20
/** Fractions of the shutdown timeout after which requests are cut off and `atEnd` is no longer awaited. */
const DRAIN_SHARE = 0.9
const CLOSE_SHARE = 0.95

/** @throws ListenError */
export async function listen(
  listener: RequestListener,
  config: ServerConfig,
  lifecycle: Lifecycle,
): Promise<ListeningServer> {
  const server = createServer({
    // Node rejects a headersTimeout longer than the requestTimeout.
    headersTimeout: Math.min(config.headersTimeout, config.requestTimeout) * 1_000,
    requestTimeout: config.requestTimeout * 1_000,
    keepAliveTimeout: config.keepAliveTimeout * 1_000,
    connectionsCheckingInterval: CHECK_INTERVAL,
    maxHeaderSize: MAX_HEADER_SIZE,
  })
  serveInOrder(server, listener)
  server.maxConnections = config.maxConnections
  const connections = new Connections(server, config)
  await startListening(server, config)
  return {
    url: urlOf(server.address() as AddressInfo),
    async close() {
      lifecycle.whenClosing()
      await delay(config.shutdownDelay * 1_000)
      const timeout = config.shutdownTimeout * 1_000
      const deadline = delay(timeout * CLOSE_SHARE, undefined, { ref: false })
      await drain(server, connections, timeout * DRAIN_SHARE)
      await Promise.race([lifecycle.atEnd(), deadline])
    },
  }
}

function startListening(server: Server, { host, port }: ServerConfig): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', ({ code = '' }: NodeJS.ErrnoException) => reject(new ListenError(host, port, 'PORT', code)))
    server.listen({ host, port }, resolve)
  })
}

/** Closes each connection when it has no request; after the timeout, closes the rest. */
async function drain(server: Server, connections: Connections, timeout: number): Promise<void> {
  const endIdle = server.closeIdleConnections.bind(server)
  // `server.close` calls this too, and Node considers a connection idle once its response has ended, even if bytes are unsent.
  server.closeIdleConnections = () => {
    if (!connections.writing) endIdle()
    connections.endUnused()
  }
  const idle = setInterval(() => server.closeIdleConnections(), CLOSING_INTERVAL)
  const deadline = setTimeout(() => server.closeAllConnections(), timeout)
  await new Promise((closed) => server.close(closed))
  clearInterval(idle)
  clearTimeout(deadline)
}

export function urlOf({ address, port }: AddressInfo): string {
  return `http://${isIPv6(address) ? `[${address}]` : address}:${port}`
}
