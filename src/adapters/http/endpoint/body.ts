import type { IncomingMessage } from 'node:http'
import type { Transform } from 'node:stream'
import { createBrotliDecompress, createUnzip } from 'node:zlib'
import type { Context, Middleware } from 'koa'
import bodyParser from 'koa-bodyparser'
import { HttpError } from './problems.ts'
import { type Input, memberNames, type ObjectSchema, readUnique, validate } from './validation.ts'

export const JSON_TYPE = 'application/json'
export const MERGE_PATCH_TYPE = 'application/merge-patch+json'
export const FORM_TYPE = 'application/x-www-form-urlencoded'
export type BodyType = typeof JSON_TYPE | typeof MERGE_PATCH_TYPE | typeof FORM_TYPE

/** @param known names of the members; other fields of a form are ignored (RFC 6749, section 3.2) */
type Decode = (bytes: Buffer, known: ReadonlySet<string>) => Input
const decoders: Readonly<Record<BodyType, Decode>> = {
  [JSON_TYPE]: decodeJson,
  [MERGE_PATCH_TYPE]: decodeJson,
  [FORM_TYPE]: decodeForm,
}

/** Maximum bytes of a body after decompression. */
export const BODY_LIMIT = 1_048_576
/** Maximum bytes before decompression. No coding doubles a body, but endless compressed bytes can decode to an empty one. */
const COMPRESSED_LIMIT = 2 * BODY_LIMIT

const decompressors: ReadonlyMap<string, () => Transform> = new Map([
  ['gzip', createUnzip],
  ['x-gzip', createUnzip],
  ['deflate', createUnzip],
  ['br', createBrotliDecompress],
])

/** @param header lists the supported types or codings (RFC 9110, section 15.5.16; RFC 5789, section 2.2) */
function unsupported(what: string, header: string, supported: string): HttpError {
  const detail = `The ${what} of the body is not supported; the ${header} header lists those that are.`
  return new HttpError('unsupported_media_type', { [header]: supported }, detail)
}

export const unsupportedType = (method: string, types: readonly BodyType[]) =>
  unsupported('media type', method === 'PATCH' ? 'Accept-Patch' : 'Accept', types.join(', '))
const unsupportedCoding = () => unsupported('content coding', 'Accept-Encoding', 'gzip, deflate, br')

/** Returns a reader of bodies. koa-bodyparser reads and bounds the bytes; the decoder of the media type parses them. */
export function bodyReader(
  { types, schema }: { readonly types: readonly BodyType[]; readonly schema: ObjectSchema },
  method: string,
): (ctx: Context) => Promise<Input> {
  const options: bodyParser.Options & { encoding: null } = {
    encoding: null,
    enableTypes: ['text'],
    extendTypes: { text: [...types] },
    textLimit: String(BODY_LIMIT),
    onerror(error) {
      throw asHttpError(error)
    },
  }
  const read = bodyParser(options)
  const known = memberNames(schema)
  return async (ctx) => {
    if (method === 'DELETE' && hasNoBody(ctx.req)) return validate(schema, noMembers, 'body')
    const type = types.find((supported) => supported === mediaType(ctx))
    if (type === undefined) throw unsupportedType(method, types)
    await readBytes(ctx, read)
    return validate(schema, decoders[type](rawBodyOf(ctx), known), 'body')
  }
}

/** @param read keeps the bytes for `rawBodyOf` */
async function readBytes(ctx: Context, read: Middleware): Promise<void> {
  const { req, res } = ctx
  const decompressor = decompressorFor(req)
  if (Number(req.headers['content-length']) > (decompressor ? COMPRESSED_LIMIT : BODY_LIMIT))
    throw new HttpError('body_too_large')
  if (!req.complete && req.headers.expect?.toLowerCase() === '100-continue' && req.httpVersion === '1.1')
    res.writeContinue()
  if (decompressor) await readCompressed(ctx, decompressor(), read)
  else await read(ctx, noNext)
}

const noMembers: Input = { value: {}, violations: [] }

/** Many clients send none with DELETE; the violations then name the members that are missing. */
const hasNoBody = ({ headers }: IncomingMessage) =>
  headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0

const noNext = async () => {}
const noBytes = Buffer.alloc(0)

/** The decompressed bytes that koa-bodyparser read; it declares them as text. */
export const rawBodyOf = ({ request }: Context) =>
  ((request.rawBody as Buffer | string | undefined) || noBytes) as Buffer

/** Content codings are case-insensitive (RFC 9110, section 8.4.1); koa-bodyparser compares case-sensitively. */
function decompressorFor({ headers }: IncomingMessage): (() => Transform) | undefined {
  if (!headers['content-encoding']) return undefined
  const coding = headers['content-encoding'].toLowerCase()
  headers['content-encoding'] = coding
  if (coding === 'identity') return undefined
  const decompressor = decompressors.get(coding)
  if (!decompressor) throw unsupportedCoding()
  return decompressor
}

async function readCompressed({ req, request }: Context, decompressor: Transform, read: Middleware): Promise<void> {
  let remaining = COMPRESSED_LIMIT
  const count = ({ length }: Buffer) => {
    remaining -= length
    if (remaining < 0) decompressor.destroy(new HttpError('body_too_large'))
  }
  const abort = (error: Error) => decompressor.destroy(error)
  req.on('data', count).once('error', abort).pipe(decompressor)
  try {
    const decompressed = Object.assign(decompressor, { headers: {} })
    await read({ request, req: decompressed } as unknown as Context, noNext)
  } finally {
    req.off('data', count).off('error', abort).unpipe(decompressor)
    decompressor.destroy()
  }
}

/** A type and a subtype have at most 127 characters each (RFC 6838, section 4.2). */
const MAX_MEDIA_TYPE = 255

/** Returns an empty string if the header is too long for a media type. */
function mediaType({ request: { type } }: Context): string {
  return type.length > MAX_MEDIA_TYPE ? '' : type.replace(/[ \t]+$/, '').toLowerCase()
}

function asHttpError(error: Error & { status?: number; code?: string }): HttpError {
  if (error instanceof HttpError) return error
  if (error.status === 413) return new HttpError('body_too_large')
  if (/^(?:Z|ERR)_/.test(error.code ?? '')) return malformed('The compression of the body is broken.')
  return new HttpError('malformed_body')
}

const malformed = (detail: string) => new HttpError('malformed_body', {}, detail)
export const invalidJson = () => malformed('The body is not valid JSON.')

/** A byte order mark before JSON may be ignored (RFC 8259, section 8.1). */
const jsonText = new TextDecoder('utf-8', { fatal: true })
const formText = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeJson(bytes: Buffer): Input {
  const text = decodeUtf8(bytes, jsonText)
  try {
    return { value: JSON.parse(text), violations: [] }
  } catch {
    throw invalidJson()
  }
}

function decodeForm(bytes: Buffer, known: ReadonlySet<string>): Input {
  decodeUtf8(percentDecode(bytes), formText)
  return readUnique(decodeUtf8(bytes, formText), 'body', { known })
}

const PERCENT = 0x25
const digits = new Map(
  Array.from('0123456789abcdefABCDEF', (digit) => [digit.charCodeAt(0), Number.parseInt(digit, 16)]),
)

/** Decodes escapes in one pass. A % without two hexadecimal digits is kept (URL Standard, section 1.3). */
function percentDecode(escaped: Buffer): Buffer {
  const bytes = Buffer.from(escaped)
  let length = 0
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes.readUInt8(at)
    const high = byte === PERCENT ? digits.get(bytes[at + 1] ?? 0) : undefined
    const low = high === undefined ? undefined : digits.get(bytes[at + 2] ?? 0)
    if (high !== undefined && low !== undefined) at += 2
    bytes.writeUInt8(high !== undefined && low !== undefined ? high * 16 + low : byte, length++)
  }
  return bytes.subarray(0, length)
}

function decodeUtf8(bytes: Buffer, decoder: typeof jsonText): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw malformed('The body is not valid UTF-8.')
  }
}
