import { once } from 'node:events'
import type { Context } from 'koa'
import { DomainError } from '../../../domain/errors.ts'
import { HttpError } from './problems.ts'

/** Maximum number of bytes that a reader may leave unread. */
const MAX_UNREAD = 256 * 1024
/** Milliseconds that a stream of events waits for its reader. */
const DRAIN_TIMEOUT = 1_000

/** The response that a stream writes to. */
export interface StreamWriter {
  /** Ends the connection if the reader leaves more than MAX_UNREAD bytes unread. */
  write(text: string): void
  /**
   * Resolves when the reader has taken what was written, or when the signal aborts. REQUEST_TIMEOUT ends a reader that takes
   * nothing.
   */
  taken(signal: AbortSignal): Promise<void>
  /** As `taken`, but also resolves after DRAIN_TIMEOUT; further writes may then exceed MAX_UNREAD. */
  drained(signal: AbortSignal): Promise<void>
}

/**
 * Writes a response in parts. The response ends when the promise resolves; when it rejects, the connection is reset, so that
 * the response does not look complete.
 */
export type Stream = (writer: StreamWriter) => Promise<void>

/** Ends a stream normally at a DomainError: the client reconnects and then gets the problem. */
export const resumable =
  (stream: Stream): Stream =>
  async (writer) => {
    try {
      await stream(writer)
    } catch (error) {
      if (!(error instanceof DomainError)) throw error
    }
  }

/** Thrown to end a response before it is complete. */
export class StreamInterrupted extends Error {}

const isExpected = (error: unknown) =>
  error instanceof DomainError || error instanceof HttpError || error instanceof StreamInterrupted

/** Writes directly to the response, because a `Readable` body would cost an idle stream 20 KiB more. */
export function startStream(ctx: Context, stream: Stream): void {
  const { res } = ctx
  let late = false
  ctx.respond = false
  const writer: StreamWriter = {
    write(text) {
      if (res.destroyed) return
      res.write(text)
      if (res.writableLength > MAX_UNREAD) res.destroy()
    },
    async taken(signal) {
      if (res.writableNeedDrain) await once(res, 'drain', { signal }).catch(() => {})
    },
    async drained(signal) {
      if (!res.writableNeedDrain || late) return
      const drain = once(res, 'drain', { signal: AbortSignal.any([signal, AbortSignal.timeout(DRAIN_TIMEOUT)]) })
      await drain.catch(() => {
        late = true
        res.once('drain', () => {
          late = false
        })
      })
    },
  }
  // Deferred, so that the middleware sets its headers first.
  setImmediate(async () => {
    try {
      res.flushHeaders()
      await stream(writer)
      res.end()
    } catch (error) {
      if (!isExpected(error)) ctx.app.emit('error', error, ctx)
      // In HTTP/1.0, the end of the connection ends the response: only a reset shows that it is incomplete.
      res.socket?.resetAndDestroy()
      res.destroy()
    }
  })
}
