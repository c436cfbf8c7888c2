import { readFileSync } from 'node:fs'
import { readConfig } from '#src/config.ts'
import { createLog } from '#src/log.ts'

/** A log for that environment into a file, and the text that it has written. */
export function logFile(path: string, environment: Readonly<Record<string, string>>) {
  const log = createLog(readConfig(environment), path)
  return {
    log,
    written() {
      log.flush()
      return readFileSync(path, 'utf8')
    },
  }
}
