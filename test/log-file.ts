import { readFileSync } from 'node:fs'
import { readConfig } from '#src/config.ts'
import { createLog } from '#src/log.ts'

/** A log of that environment into a file, and all that it has written there. */
export function logFile(path: string, environment: Readonly<Record<string, string>>) {
  return {
    log: createLog(readConfig(environment), path),
    written: () => readFileSync(path, 'utf8'),
  }
}
