import { inspect } from 'node:util'
import type { Context } from 'koa'
import { stdSerializers } from 'pino'
import { REDACTED, SECRET_NAME, SHORTEST_SECRET } from '../../log.ts'
import { rawBodyOf } from './endpoint/body.ts'
import { readParameters } from './endpoint/validation.ts'

/** Maximum number of secrets to search for. With more, the search would take too long, so the whole text is redacted. */
const MAX_SECRETS = 1_000
/** Maximum number of logged errors of an AggregateError. */
const MAX_ERRORS = 10

/** Removes request secrets that a library's message may quote, so that the error can be logged. */
export function redactError(error: unknown, ctx: Context): unknown {
  const secrets = secretsOf(ctx)
  return redact(error, secrets.length > MAX_SECRETS ? () => REDACTED : remover(secrets))
}

function remover(secrets: readonly string[]): (text: string) => string {
  const longestFirst = [...new Set(secrets.flatMap(spellings))]
    .filter(({ length }) => length >= SHORTEST_SECRET)
    .sort((one, other) => other.length - one.length)
  return (text) => longestFirst.reduce((rest, secret) => rest.replaceAll(secret, REDACTED), text)
}

function redact(error: unknown, clean: (text: string) => string): unknown {
  try {
    if (error instanceof Error) return redactMembers(error, clean)
  } catch {
    // The error is frozen, or one of its getters throws.
  }
  return clean(inspect(error, { depth: 0, customInspect: false }))
}

function redactMembers(error: Error, clean: (text: string) => string): object {
  const { type, name: _, ...members } = stdSerializers.err(error)
  // Without a constructor, pino takes the type from `name`.
  const redacted = Object.create(null, { name: { value: type } })
  for (const [name, value] of Object.entries(members)) {
    if (typeof value === 'string') redacted[name] = clean(value)
    else if (typeof value !== 'object') redacted[name] = value
  }
  const errors = causes(error).flatMap((cause) => (cause instanceof AggregateError ? cause.errors : []))
  if (errors.length > 0) redacted.errors = errors.slice(0, MAX_ERRORS).map((each) => redact(each, clean))
  return redacted
}

/** The error and its chain of causes. */
function causes(error: Error): readonly Error[] {
  const chain = new Set<Error>()
  for (let each: unknown = error; each instanceof Error && !chain.has(each); each = each.cause) chain.add(each)
  return [...chain]
}

/** The forms in which a message may quote a text: verbatim, in JSON, in a URL. */
const spellings = (text: string) => [text, JSON.stringify(text).slice(1, -1), encodeURIComponent(text.toWellFormed())]

function secretsOf(ctx: Context): string[] {
  const { headers, querystring } = ctx
  const secretHeaders = Object.entries(headers).filter(([name]) => SECRET_NAME.test(name))
  const ofHeaders = secretHeaders.flatMap(([, value = '']) => [String(value), ...String(value).split(/[\s;,=]+/)])
  const query = readParameters(querystring)?.values() ?? []
  return [...ofHeaders, querystring, ...query, ...secretsInBody(rawBodyOf(ctx).toString())]
}

function secretsInBody(text: string): string[] {
  const fields = readParameters(text) ?? []
  const found = [...fields].flatMap(([name, value]) => (SECRET_NAME.test(name) ? [value] : []))
  try {
    JSON.parse(text.replace(/^\ufeff/, ''), (name, value) => {
      if (SECRET_NAME.test(name) && typeof value === 'string') found.push(value)
      return value
    })
  } catch {
    // Not JSON.
  }
  return found
}
