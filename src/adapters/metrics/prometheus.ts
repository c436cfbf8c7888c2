import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { ListenError } from '../../operator-error.ts'

/** The address that serves `GET /metrics`. */
interface Address {
  readonly host: string
  readonly port: number
}

interface Pool {
  readonly totalCount: number
  readonly idleCount: number
  readonly waitingCount: number
}

/** The sources of gauges, read on each scrape. */
export interface Sources {
  readonly passwordHasher: {
    /** Passwords that wait to be hashed or verified, and those in progress. */
    load(): { readonly waiting: number; readonly running: number }
  }
  readonly database: {
    readonly pool: Pool | undefined
    /** Statements without a response from the database. */
    pending(): { readonly reads: number; readonly writes: number }
  }
}

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** The metrics of one process, named by OpenTelemetry and Prometheus conventions. The HTTP adapter reports each request. */
export class Metrics {
  readonly registry = new Registry()
  readonly #duration: Histogram
  readonly #inFlight: Gauge
  readonly #refused: Counter

  constructor(version: string, { passwordHasher, database }: Sources) {
    const registers = [this.registry]
    collectDefaultMetrics({ register: this.registry })
    this.#duration = new Histogram({
      name: 'http_server_request_duration_seconds',
      help: 'Time from the first byte of a request to the last byte of its response.',
      labelNames: ['method', 'route', 'status'],
      buckets: BUCKETS,
      registers,
    })
    this.#inFlight = new Gauge({
      name: 'http_server_active_requests',
      help: 'Requests in progress.',
      registers,
    })
    this.#refused = new Counter({
      name: 'rate_limit_refusals_total',
      help: 'Requests refused by a rate limit.',
      labelNames: ['route'],
      registers,
    })
    const gauge = (name: string, label: string, help: string, read: () => Readonly<Record<string, number>>) =>
      new Gauge({
        name,
        help,
        labelNames: [label],
        registers,
        collect() {
          for (const [value, count] of Object.entries(read())) this.set({ [label]: value }, count)
        },
      })
    gauge('password_queue', 'state', 'Passwords that wait to be hashed or verified, and those in progress.', () =>
      passwordHasher.load(),
    )
    gauge('db_client_pending_statements', 'kind', 'Statements without a response from the database.', () =>
      database.pending(),
    )
    gauge(
      'db_client_connections',
      'state',
      'Connections of the pool for limits and migrations; requests share a few others.',
      () => connectionsOf(database.pool),
    )
    new Gauge({
      name: 'build_info',
      help: 'Version of the service and of Node.',
      labelNames: ['version', 'node'],
      registers,
      // Identical in all processes, so it is not summed.
      aggregator: 'first',
    }).set({ version, node: process.version }, 1)
  }

  started(): void {
    this.#inFlight.inc()
  }

  finished(request: {
    readonly method: string
    readonly route: string | undefined
    readonly status: number
    readonly milliseconds: number
  }): void {
    const { method, route = 'none', status, milliseconds } = request
    this.#inFlight.dec()
    this.#duration.observe({ method, route, status }, milliseconds / 1_000)
    if (status === 429) this.#refused.inc({ route })
  }
}

const connectionsOf = (pool: Pool | undefined): Readonly<Record<string, number>> =>
  pool ? { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount } : {}

export interface MetricsServer {
  close(): Promise<void>
}

/**
 * Serves the metrics of this process; in a worker, lets the primary process collect them.
 *
 * @throws ListenError
 */
export async function publishMetrics({ registry }: Metrics, address: Address): Promise<MetricsServer> {
  if (cluster.isPrimary) return serve(() => registry.metrics(), registry.contentType, address)
  AggregatorRegistry.setRegistries(registry)
  new AggregatorRegistry()
  return { close: async () => {} }
}

/**
 * Serves the sum of all workers' metrics from the primary process.
 *
 * @throws ListenError
 */
export function serveWorkersMetrics(address: Address): Promise<MetricsServer> {
  const workers = new AggregatorRegistry()
  return serve(() => workers.clusterMetrics(), workers.contentType, address)
}

function serve(read: () => Promise<string>, contentType: string, { host, port }: Address): Promise<MetricsServer> {
  const server = createServer(async ({ method, url }, response) => {
    if (method !== 'GET' || url?.split('?')[0] !== '/metrics') {
      response.writeHead(404).end()
      return
    }
    const metrics = await read().catch(() => undefined)
    // A worker that is starting or stopping may not respond.
    if (metrics === undefined) response.writeHead(503).end()
    else response.writeHead(200, { 'Content-Type': contentType }).end(metrics)
  })
  const close = async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  return new Promise((resolve, reject) => {
    server.once('error', ({ code = '' }: NodeJS.ErrnoException) =>
      reject(new ListenError(host, port, 'METRICS_PORT', code)),
    )
    server.listen({ host, port }, () => resolve({ close }))
  })
}
