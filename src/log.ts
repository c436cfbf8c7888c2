import { openSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { type Logger, pino } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { Config } from './config.ts'
import { LineWriter } from './line-writer.ts'

/** The part of a logger used by the rest of the service. */
export interface Log {
  debug(details: object, message: string): void
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

export const REDACTED = '[redacted]'

/** Redacting shorter strings would garble the text. */
export const SHORTEST_SECRET = 4

/** Names of members, headers and parameters whose values are never logged. */
export const SECRET_NAME = /passw\w*|secret|token|cookie|authori[sz]ation|api.?key/i

/** Secrets within a text: JSON Web Tokens, hashes, credentials, passwords in URLs, and values that follow their name. */
const SECRET_TEXTS: readonly [RegExp, string][] = [
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, REDACTED],
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
const SUSPICIOUS = new RegExp(String.raw`eyJ|\$2|://|bearer|basic|${SECRET_NAME.source}`, 'i')

/**
 * JSON in production, for machines; in development lines for people. No secret reaches either, at any level. Whoever
 * ends the process flushes it first.
 */
export function createLog(
  { process: { logFormat, logLevel }, tokens: { secretKey }, database: { target } }: Config,
  destination: number | string = 1,
): Logger {
  const format = logFormat === 'text' ? readable : asItIs
  const file = typeof destination === 'string' ? openSync(destination, 'a') : destination
  const writer = new LineWriter(
    (bytes) => writeSync(file, bytes),
    (lost) => format(noticeOf(lost)),
  )
  const own = [secretKey, ...(target.kind === 'postgresql' ? target.secrets : [])]
    .filter(({ length }) => length >= SHORTEST_SECRET)
    .map((text): OwnSecret => ({ text, inJson: JSON.stringify(text).slice(1, -1) }))
  return pino({ level: logLevel, hooks: { streamWrite: (line) => format(withoutSecrets(line, own)) } }, inTurns(writer))
}

const asItIs = (line: string) => line

const pretty = prettyFactory({ ignore: 'pid,hostname', singleLine: true })

/** A line for people: of a request that succeeded without its ids, which only help to find out why one failed. */
function readable(line: string): string {
  const { msg, method, route = '(no route)', status, ms, ...rest } = JSON.parse(line)
  if (msg !== 'request') return pretty(line)
  const { requestId: _requestId, userId: _userId, traceId: _traceId, ...bare } = rest
  const details = status < 400 ? bare : rest
  return pretty({ ...details, msg: `${method} ${route} ${status} ${ms.toFixed(1)} ms` })
}

/** A line as pino makes it. */
function noticeOf(lost: number): string {
  const msg = 'the log could not be written; `lost` counts the missing lines'
  return `${JSON.stringify({ level: 40, time: Date.now(), pid: process.pid, hostname: hostname(), lost, msg })}\n`
}

/** Of this service, by its configuration. */
interface OwnSecret {
  readonly text: string
  /** As a line has it. */
  readonly inJson: string
}

/** Lines of one turn of the event loop are written together: a system call for each costs more than the line does. */
function inTurns(writer: LineWriter) {
  let lines = ''
  const flushSync = () => {
    const written = lines
    lines = ''
    writer.write(written)
  }
  return {
    write(line: string) {
      if (lines === '') setImmediate(flushSync)
      lines += line
    },
    flush: flushSync,
    flushSync,
  }
}

/**
 * A line of JSON without what must not be written. Looking for it in the text is many times cheaper than pino's own
 * redaction, which takes each line apart.
 */
function withoutSecrets(line: string, own: readonly OwnSecret[]): string {
  if (!SUSPICIOUS.test(line) && !own.some(({ inJson }) => line.includes(inJson))) return line
  const clean = (text: string) =>
    SECRET_TEXTS.reduce(
      (rest, [secret, stands]) => rest.replace(secret, stands),
      own.reduce((rest, secret) => rest.replaceAll(secret.text, REDACTED), text),
    )
  const written = JSON.parse(line, (member, value) => {
    if (SECRET_NAME.test(member)) return REDACTED
    return typeof value === 'string' ? clean(value) : value
  })
  return `${JSON.stringify(written)}\n`
}
