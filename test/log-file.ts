import { openSync, readFileSync } from 'node:fs'
import { symbols } from 'pino'
import { readConfig } from '#src/config.ts'
import { createLog } from '#src/log.ts'

/** A log of that environment into a file, and all that it has written there. */
export function logFile(path: string, environment: Readonly<Record<string, string>>) {
  const log = createLog(readConfig(environment), openSync(path, 'a'))
  const { [symbols.streamSym]: stream } = log as unknown as { [symbols.streamSym]: { flushSync?(): void } }
  return {
    log,
    written(): string {
      stream.flushSync?.()
      return readFileSync(path, 'utf8')
    },
  }
}
