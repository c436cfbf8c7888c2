import { type Logger, pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from './config.ts'

/** Members that are never written, wherever in a line they stand. */
const SECRET_MEMBERS = [
  'password',
  'hashedPassword',
  'token',
  'access_token',
  'secret',
  'secretKey',
  'authorization',
  'cookie',
]

/** Secrets within a text: JSON Web Tokens, bearer credentials, passwords in URLs, and queries. */
const SECRET_TEXTS: readonly [RegExp, string][] = [
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, '[token]'],
  [/\b(bearer|basic) +[\w\-.~+/]+=*/gi, '$1 [redacted]'],
  [/(\w+:\/\/[^\s:/@"]*):[^\s@"]*@/g, '$1:[redacted]@'],
  [/((?:password|secret|token|cookie|authorization)\\?"?\s*[=:]\s*\\?"?)[^\s&"\\,}]+/gi, '$1[redacted]'],
]

/** JSON in production, for machines; in development lines for people. No secret reaches either, at any level. */
export function createLog(
  { environment, logLevel }: Pick<Config, 'environment' | 'logLevel'>,
  destination = 1,
): Logger {
  const sink =
    environment === 'development'
      ? pretty({ sync: true, destination, ignore: 'pid,hostname' })
      : pino.destination({ sync: true, dest: destination })
  return pino(
    {
      level: logLevel,
      redact: { paths: SECRET_MEMBERS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[redacted]' },
      hooks: { streamWrite: withoutSecrets },
    },
    sink,
  )
}

function withoutSecrets(line: string): string {
  return SECRET_TEXTS.reduce((text, [secret, stands]) => text.replace(secret, stands), line)
}
