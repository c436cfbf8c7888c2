import type { Context } from 'koa'
import bodyParser from 'koa-bodyparser'
import { HttpError, type InputError } from './problems.ts'
import { onlyOnce } from './validation.ts'

export const JSON_TYPE = 'application/json'
export const MERGE_PATCH_TYPE = 'application/merge-patch+json'
export const FORM_TYPE = 'application/x-www-form-urlencoded'
export type BodyType = typeof JSON_TYPE | typeof MERGE_PATCH_TYPE | typeof FORM_TYPE

const decoders: Readonly<Record<BodyType, (bytes: string, mistakes: InputError[]) => unknown>> = {
  [JSON_TYPE]: decodeJson,
  [MERGE_PATCH_TYPE]: decodeJson,
  [FORM_TYPE]: decodeForm,
}

/**
 * Reads the body of a request strictly, by its media type alone: koa-bodyparser limits, inflates and reads the bytes
 * (as Latin-1, which keeps each of them), and what they mean is decided here.
 */
export function bodyReader(types: readonly BodyType[]): (ctx: Context, mistakes: InputError[]) => Promise<unknown> {
  const options: bodyParser.Options & { encoding: 'latin1' } = {
    encoding: 'latin1',
    enableTypes: ['text'],
    extendTypes: { text: [...types] },
    textLimit: '1mb',
    onerror(error) {
      throw asHttpError(error)
    },
  }
  const read = bodyParser(options)
  return async (ctx, mistakes) => {
    const type = types.find((taken) => taken === mediaType(ctx))
    if (type === undefined) throw new HttpError('unsupported_media_type')
    // A coding has no case (RFC 9110, section 8.4.1), but the package that inflates compares it with one.
    const encoding = ctx.req.headers['content-encoding']
    if (encoding !== undefined) ctx.req.headers['content-encoding'] = encoding.toLowerCase()
    if (ctx.req.headers.expect?.toLowerCase() === '100-continue') ctx.res.writeContinue()
    await read(ctx, async () => {})
    return decoders[type]((ctx.request.rawBody as string | undefined) ?? '', mistakes)
  }
}

function mediaType(ctx: Context): string {
  return ctx.request.type.replace(/[ \t]+$/, '').toLowerCase()
}

function asHttpError(error: Error & { status?: number }): HttpError {
  if (error.status === 413) return new HttpError('body_too_large')
  if (error.status === 415) return new HttpError('unsupported_media_type')
  return new HttpError('malformed_body')
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeJson(bytes: string): unknown {
  try {
    return JSON.parse(decodeUtf8(bytes))
  } catch {
    throw new HttpError('malformed_body')
  }
}

function decodeForm(bytes: string, mistakes: InputError[]): Record<string, string> {
  decodeUtf8(bytes.replace(/%([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))))
  return onlyOnce(new URLSearchParams(decodeUtf8(bytes)), 'body', mistakes)
}

function decodeUtf8(bytes: string): string {
  try {
    return utf8.decode(Buffer.from(bytes, 'latin1'))
  } catch {
    throw new HttpError('malformed_body')
  }
}
