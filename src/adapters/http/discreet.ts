import { inspect } from 'node:util'
import type { Context } from 'koa'
import { stdSerializers } from 'pino'

const REDACTED = '[redacted]'
const SECRET = /passw|secret|token|cookie|authori[sz]ation|api.?key/i

/** Shorter ones would make a text illegible, and are no secrets. */
const SHORTEST = 4

/**
 * An error as it may be logged: a library's message may quote what it was given, so whatever the request sent in
 * confidence is taken out of it, word for word.
 */
export function discreet(error: unknown, ctx: Context): unknown {
  const secrets = [...new Set(secretsOf(ctx).flatMap(spellings))]
    .filter(({ length }) => length >= SHORTEST)
    .sort((one, other) => other.length - one.length)
  const clean = (value: unknown) =>
    typeof value === 'string' ? secrets.reduce((text, secret) => text.replaceAll(secret, REDACTED), value) : value
  if (!(error instanceof Error)) return clean(inspect(error))
  const told = Object.entries(stdSerializers.err(error)).filter(([, value]) => typeof value !== 'object')
  return Object.fromEntries(told.map(([name, value]) => [name, clean(value)]))
}

/** What a quotation may look like: as it is, in JSON, in a URL. */
const spellings = (text: string) => [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text.toWellFormed())]

function secretsOf({ headers, querystring, request }: Context): string[] {
  const sent = Object.entries(headers).filter(([name]) => SECRET.test(name))
  const ofHeaders = sent.flatMap(([, value = '']) => [String(value), ...String(value).split(/[\s;,=]+/)])
  const query = [...new URLSearchParams(querystring).values()]
  return [...ofHeaders, querystring, ...query, ...secretsInBody((request.rawBody as string | undefined) ?? '')]
}

/** @param body of which each character is a byte */
function secretsInBody(body: string): string[] {
  const text = Buffer.from(body, 'latin1').toString()
  const found = [...new URLSearchParams(text)].flatMap(([name, value]) => (SECRET.test(name) ? [value] : []))
  try {
    JSON.parse(text, (name, value) => {
      if (SECRET.test(name) && typeof value === 'string') found.push(value)
      return value
    })
  } catch {
    // A form, or nothing.
  }
  return found
}
