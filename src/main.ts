import cluster from 'node:cluster'
import { type Logger, pino } from 'pino'
import pretty from 'pino-pretty'
import { ListenError, type ListeningServer } from './adapters/http/server.ts'
import { DatabaseUnavailable } from './adapters/mikro-orm/database.ts'
import { prepareDatabase, startService } from './composition-root.ts'
import { type Config, ConfigError, readConfig, readEnvironment } from './config.ts'
import { startWorkers, WorkerFailed } from './workers.ts'

/** What an operator can mend; the message says it all, so no stack. */
const operatorErrors = [ConfigError, DatabaseUnavailable, ListenError]

try {
  const config = readConfig(readEnvironment())
  const log = createLog(config)
  if (config.secretKeyIsRandom) {
    log.warn('SECRET_KEY is not set: every token ends with this process. `openssl rand -base64 48` makes a key to set.')
  }
  const service = await start(config, log)
  if (cluster.isPrimary) {
    const { url } = service
    log.info(`API on ${url}${config.apiPrefix}, its documentation on ${url}/docs and ${url}/redoc`)
  }
  stopOnSignal(service, log)
} catch (error) {
  process.exitCode = 1
  report(error)
  cluster.worker?.disconnect()
}

function report(error: unknown): void {
  if (error instanceof WorkerFailed) return // it has said why itself
  const expected = operatorErrors.some((kind) => error instanceof kind)
  console.error(expected ? (error as Error).message : error)
}

function createLog({ environment, logLevel: level }: Config): Logger {
  const development = environment === 'development'
  return pino(
    { level },
    development ? pretty({ sync: true, ignore: 'pid,hostname' }) : pino.destination({ sync: true }),
  )
}

async function start(config: Config, log: Logger): Promise<ListeningServer> {
  if (cluster.isWorker || config.webConcurrency === 1) return startService(config, log)
  await prepareDatabase(config)
  return startWorkers(config, log)
}

function stopOnSignal(service: ListeningServer, log: Logger): void {
  let stopping = false
  const stop = async (signal: string) => {
    if (stopping) return
    stopping = true
    if (cluster.isPrimary) log.info(`${signal}: answering the requests in flight, then stopping`)
    await service.close()
    cluster.worker?.disconnect()
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}
