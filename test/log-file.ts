import { readFileSync } from 'node:fs'
import { readConfig } from '#src/config.ts'
import { createLog } from '#src/log.ts'

/** A log for this environment that writes to a file, and the text written so far. */
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
