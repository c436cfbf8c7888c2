import { pino } from 'pino'
import pretty from 'pino-pretty'
import { ListenError } from './adapters/http/server.ts'
import { DatabaseUnavailable } from './adapters/mikro-orm/database.ts'
import { startService } from './composition-root.ts'
import { ConfigError, readConfig, readEnvironment } from './config.ts'

/** What an operator can mend; the message says it all, so no stack. */
const operatorErrors = [ConfigError, DatabaseUnavailable, ListenError]

try {
  const config = readConfig(readEnvironment())
  const log = pino(
    { level: config.logLevel },
    config.environment === 'development'
      ? pretty({ sync: true, ignore: 'pid,hostname' })
      : pino.destination({ sync: true }),
  )
  if (config.secretKeyIsRandom) {
    log.warn('SECRET_KEY is not set: every token ends with this process. `openssl rand -base64 48` makes a key to set.')
  }
  const service = await startService(config, log)
  log.info(
    `API on ${service.url}${config.apiPrefix}, its documentation on ${service.url}/docs and ${service.url}/redoc`,
  )

  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, async () => {
      log.info(`${signal}: answering the requests in flight, then stopping`)
      await service.close()
    })
  }
} catch (error) {
  const expected = operatorErrors.some((kind) => error instanceof kind)
  console.error(expected ? (error as Error).message : error)
  process.exitCode = 1
}
