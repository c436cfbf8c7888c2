import { openSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { type Logger, pino } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { Config } from './config.ts'
import { LineWriter } from './line-writer.ts'
import { oncePerTurn } from './once-per-turn.ts'

/** The part of pino's logger that the service uses. */
export interface Log {
  debug(details: object, message: string): void
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

export const REDACTED = '[redacted]'

/** Redacting shorter strings would garble the text. */
export const SHORTEST_SECRET = 4

/** Names of members, headers and parameters whose values are never logged; the id of a token is no secret. */
export const SECRET_NAME = /passw\w*|secret|token(?!_?ids?\b)|cookie|authori[sz]ation|api.?key/i

/** Secrets within a text: tokens, hashes, credentials, passwords in URLs, and values that follow their name. */
const SECRET_TEXTS: readonly [RegExp, string][] = [
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, REDACTED],
  // API tokens and refresh tokens, also with a few characters changed or lost.
  [/(?<![A-Za-z0-9])tm[ar]_[\w.-]{8,}/g, REDACTED],
  [/\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}/g, REDACTED],
  [/\b(bearer|basic) +[\w\-.~+/]{4,}=*/gi, `$1 ${REDACTED}`],
  [/(\w+:\/\/[^\s:/@]*):[^\s/]*@/g, `$1:${REDACTED}@`],
  [
    new RegExp(
      String.raw`((?:${SECRET_NAME.source})[\\"']*(?:\s*[=:]\s*|\s+(?=["'])))(?:\\*"[^"]*"|'[^']*'|[^\s&,;]+)`,
      'gi',
    ),
    `$1${REDACTED}`,
  ],
]

/** A line that matches none of these holds no secret, so most lines are searched only once. */
const SUSPICIOUS = new RegExp(String.raw`eyJ|tm[ar]_|\$2|://|bearer|basic|${SECRET_NAME.source}`, 'i')

/**
 * Logs JSON in production and readable lines in development, without secrets at any level. Flush it before the process
 * exits.
 */
export function createLog(
  { process: { logFormat, logLevel }, tokens: { secretKey, previousSecretKey = '' }, database: { target } }: Config,
  destination: number | string = 1,
): Logger {
  const format = logFormat === 'text' ? readable : unchanged
  const file = typeof destination === 'string' ? openSync(destination, 'a') : destination
  const writer = new LineWriter(
    (bytes) => writeSync(file, bytes),
    (lost) => format(lostLinesNotice(lost)),
  )
  const configuredSecrets = [secretKey, previousSecretKey, ...('secrets' in target ? target.secrets : [])]
    .filter(({ length }) => length >= SHORTEST_SECRET)
    .map((text): ConfiguredSecret => ({ text, inJson: JSON.stringify(text).slice(1, -1) }))
  const streamWrite = (line: string) => format(redact(line, configuredSecrets))
  const formatters = { level: (level: string) => ({ level }) }
  return pino({ level: logLevel, formatters, hooks: { streamWrite } }, batchedDestination(writer))
}

const unchanged = (line: string) => line

const pretty = prettyFactory({ ignore: 'pid,hostname', singleLine: true })

/** Formats a line for development. Omits the ids of a successful request, because they only help to explain a failure. */
function readable(line: string): string {
  const { msg, method, route = '(no route)', status, ms, ...rest } = JSON.parse(line)
  if (msg !== 'request') return pretty(line)
  const { requestId: _requestId, userId: _userId, traceId: _traceId, ...withoutIds } = rest
  const details = status < 400 ? withoutIds : rest
  return pretty({ ...details, msg: `${method} ${route} ${status} ${ms.toFixed(1)} ms` })
}

/** A line in pino's format. */
function lostLinesNotice(lost: number): string {
  const msg = 'Some log lines could not be written; `lost` is how many'
  return `${JSON.stringify({ level: 'warn', time: Date.now(), pid: process.pid, hostname: hostname(), lost, msg })}\n`
}

/** A secret from the configuration. */
interface ConfiguredSecret {
  readonly text: string
  /** Escaped as in a line of JSON. */
  readonly inJson: string
}

/** Writes the lines of one event-loop turn together, because a system call costs more than formatting a line. */
function batchedDestination(writer: LineWriter) {
  let lines = ''
  const flushSync = () => {
    const written = lines
    lines = ''
    writer.write(written)
  }
  const scheduleFlush = oncePerTurn(flushSync)
  return {
    write(line: string) {
      lines += line
      scheduleFlush()
    },
    flush: flushSync,
    flushSync,
  }
}

/** Removes secrets from a line of JSON. Searching the text first is many times cheaper than pino's redaction by path. */
function redact(line: string, configuredSecrets: readonly ConfiguredSecret[]): string {
  if (!SUSPICIOUS.test(line) && !configuredSecrets.some(({ inJson }) => line.includes(inJson))) return line
  const clean = (text: string) =>
    SECRET_TEXTS.reduce(
      (rest, [pattern, replacement]) => rest.replace(pattern, replacement),
      configuredSecrets.reduce((rest, secret) => rest.replaceAll(secret.text, REDACTED), text),
    )
  const redacted = JSON.parse(line, (member, value) => {
    if (SECRET_NAME.test(member)) return REDACTED
    return typeof value === 'string' ? clean(value) : value
  })
  return `${JSON.stringify(redacted)}\n`
}
