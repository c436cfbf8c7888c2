import type { Context } from 'koa'
import { type Stream, startStream } from './stream.ts'
import type { Schema } from './validation.ts'

interface Described {
  readonly description: string
  /** The headers that a reply may set, in addition to those of every response. */
  readonly headers?: Readonly<Record<string, { readonly description: string; readonly example: string }>>
}

export interface BodyResponse<Answer = unknown> extends Described {
  readonly example?: never
  /** An allow-list: presenters declare its output type, so that no other member compiles. */
  readonly schema: Schema<Answer>
  readonly mediaType?: never
}

/** Events, or a JSON document that is too large to be held in memory. */
export type StreamResponse = Described &
  (
    | { readonly mediaType: string; readonly example: string; readonly schema?: never }
    | { readonly mediaType: 'application/json'; readonly schema: Schema; readonly example?: never }
  )

export interface EmptyResponse extends Described {
  readonly example?: never
  readonly schema?: never
  readonly mediaType?: never
}

/** The successful responses of an endpoint, by status. */
export type Responses = {
  readonly 200?: BodyResponse | StreamResponse
  readonly 201?: BodyResponse
  readonly 204?: EmptyResponse
  readonly 304?: EmptyResponse
}

type HeadersOf<Response> = Response extends { readonly headers: infer Headers }
  ? { readonly [Name in keyof Headers]?: string }
  : Readonly<Record<string, never>>

type ContentOf<Response> = Response extends { readonly mediaType: string }
  ? { readonly stream: Stream }
  : Response extends { readonly schema: Schema<infer Body> }
    ? { readonly body: Body }
    : { readonly body?: never; readonly stream?: never }

/** The return type of `handle`: one of the declared responses, with the declared headers. */
export type ReplyOf<Declared extends Responses> = {
  readonly [Status in keyof Declared]-?: {
    readonly status: Status
    readonly headers?: HeadersOf<Declared[Status]>
  } & ContentOf<Declared[Status]>
}[keyof Declared]

/** The reply of any endpoint, with its types erased. */
interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly stream?: Stream
}

/** For a response that clients may store and revalidate; it differs from user to user. */
const REVALIDATED = { 'Cache-Control': 'private, no-cache', Vary: 'Authorization, Origin' }

const JSON_TEXT = 'application/json; charset=utf-8'

/** Sends a reply of an endpoint. */
export function send(ctx: Context, responses: Responses, { status, headers, body, stream }: Reply): void {
  const { mediaType = 'application/json' } = responses[200] ?? {}
  const type = (stream || body !== undefined) && (mediaType === 'application/json' ? JSON_TEXT : mediaType)
  ctx.status = status
  if (responses[304]) ctx.set(REVALIDATED)
  if (headers) ctx.set(headers)
  if (type) ctx.res.setHeader('Content-Type', type)
  if (!stream) ctx.body = body
  else if (ctx.method !== 'HEAD') startStream(ctx, stream)
}
