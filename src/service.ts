import cluster from 'node:cluster'
import type { ListeningServer } from './adapters/http/server.ts'
import { serveWorkersMetrics } from './adapters/metrics/prometheus.ts'
import { prepareDatabase, startService, version } from './composition-root.ts'
import { type Config, readConfig, readEnvironment } from './config.ts'
import { describeTarget } from './database-target.ts'
import { createLog, type Log } from './log.ts'
import { exitWith } from './operator-error.ts'
import { startWorkers, stopWorkers, WorkerFailed } from './workers.ts'

/** Fraction of SHUTDOWN_TIMEOUT reserved for flushing traces. */
const TRACES_SHARE = 0.05

const KEY_WARNINGS = {
  operator: undefined,
  random: 'SECRET_KEY is not set; using a random one. Tokens become invalid when the process stops. To keep them valid',
  placeholder:
    'SECRET_KEY is the placeholder from .env.example, which is public: anyone can sign valid tokens. To prevent that',
}

let stopping = false

try {
  const config = readConfig(readEnvironment())
  const log = createLog(config)
  process.once('exit', () => log.flush())
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'Uncaught exception; exiting')
    process.exit(1)
  })
  let service: ListeningServer | undefined
  // Handle signals before starting: start-up may wait for PostgreSQL or a migration, and PID 1 ignores unhandled signals.
  stopOnSignal(log, async () => {
    if (!service) {
      await stopWorkers(config.server)
      process.exit(0)
    }
    await service.close()
    exitWithin(config.server.shutdownTimeout * TRACES_SHARE)
  })
  service = await start(config, log)
  if (cluster.isPrimary) announce(service.url, config, log)
} catch (error) {
  // A signal during start-up closes connections that start-up uses, so errors are expected then.
  if (!stopping) {
    if (error instanceof WorkerFailed) process.exit(1) // The worker printed the reason.
    exitWith(error)
  }
}

function announce(url: string, { http, database, tokens }: Config, log: Log): void {
  const addresses = `API ${url}${http.apiPrefix}, documentation ${url}/docs and ${url}/redoc`
  log.info({}, `Version ${version} is ready: ${addresses}, ${describeTarget(database.target)}`)
  const warning = KEY_WARNINGS[tokens.secretKeySource]
  if (warning !== undefined) log.warn({}, `${warning}, set it to the output of \`openssl rand -base64 48\`.`)
}

async function start(config: Config, log: Log): Promise<ListeningServer> {
  if (cluster.isWorker || config.process.concurrency === 1) return startService(config, log)
  await prepareDatabase(config.database, log)
  const { metricsPort: port } = config.process
  const metrics = port === undefined ? undefined : await serveWorkersMetrics({ host: config.server.host, port })
  const workers = await startWorkers(config, log)
  return {
    url: workers.url,
    async close() {
      await workers.close()
      await metrics?.close()
    },
  }
}

/** Lets pending work such as flushing traces finish, but exits after this many seconds. */
function exitWithin(seconds: number): void {
  cluster.worker?.disconnect()
  process.exitCode = 0
  setTimeout(() => process.exit(0), seconds * 1_000).unref()
}

function stopOnSignal(log: Log, close: () => Promise<void>): void {
  const stop = async (signal: string) => {
    if (stopping) return
    stopping = true
    if (cluster.isPrimary) log.info({}, `${signal} received; draining requests`)
    await close()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}
