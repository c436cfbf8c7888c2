import cluster from 'node:cluster'
import type { Log } from './adapters/http/access-log.ts'
import { ListenError, type ListeningServer } from './adapters/http/server.ts'
import { MetricsListenError, serveWorkersMetrics } from './adapters/metrics/prometheus.ts'
import { DatabaseUnavailable } from './adapters/mikro-orm/database.ts'
import { prepareDatabase, startService } from './composition-root.ts'
import { type Config, ConfigError, readConfig, readEnvironment } from './config.ts'
import { createLog } from './log.ts'
import { startWorkers, stopWorkers, WorkerFailed } from './workers.ts'

/** What an operator can mend; the message says it all, so no stack. */
const operatorErrors = [ConfigError, DatabaseUnavailable, ListenError, MetricsListenError]

/** Of the time to stop; requests and the database have most of it. */
const SHARE_OF_TRACES = 0.05

let stopping = false

try {
  const config = readConfig(readEnvironment())
  const log = createLog(config)
  process.once('exit', () => log.flush())
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'an error that nobody caught ends the process')
    process.exit(1)
  })
  if (config.secretKeyIsRandom) {
    log.warn(
      {},
      'SECRET_KEY is not set: every token ends with this process. `openssl rand -base64 48` makes a key to set.',
    )
  }
  let service: ListeningServer | undefined
  // A start may take long: PostgreSQL is away, another instance migrates. The first process of a container would ignore
  // a signal that nobody handles.
  stopOnSignal(log, async () => {
    if (!service) {
      await stopWorkers(config)
      process.exit(0)
    }
    await service.close()
    endWithin(config.shutdownTimeout * SHARE_OF_TRACES)
  })
  service = await start(config, log)
  if (cluster.isPrimary) {
    const { url } = service
    log.info({}, `API on ${url}${config.apiPrefix}, its documentation on ${url}/docs and ${url}/redoc`)
  }
} catch (error) {
  // Who is told to stop while it starts may not get to its end.
  if (!stopping) {
    report(error)
    // Whatever listens already, as the metrics may, would keep the process.
    process.exit(1)
  }
}

function report(error: unknown): void {
  if (error instanceof WorkerFailed) return // it has said why itself
  const expected = operatorErrors.some((kind) => error instanceof kind)
  console.error(expected ? (error as Error).message : error)
}

async function start(config: Config, log: Log): Promise<ListeningServer> {
  if (cluster.isWorker || config.webConcurrency === 1) return startService(config, log)
  await prepareDatabase(config, log)
  const { host, metricsPort: port } = config
  const metrics = port === undefined ? undefined : await serveWorkersMetrics({ host, port })
  const workers = await startWorkers(config, log)
  return {
    url: workers.url,
    async close() {
      await workers.close()
      await metrics?.close()
    },
  }
}

/**
 * Nothing of the service keeps the process any more, but what traces it may have something to send.
 *
 * @param seconds after which the process ends all the same
 */
function endWithin(seconds: number): void {
  cluster.worker?.disconnect()
  process.exitCode = 0
  setTimeout(() => process.exit(0), seconds * 1_000).unref()
}

function stopOnSignal(log: Log, close: () => Promise<void>): void {
  const stop = async (signal: string) => {
    if (stopping) return
    stopping = true
    if (cluster.isPrimary) log.info({}, `${signal}: answering the requests in flight, then stopping`)
    await close()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}
