import { once } from 'node:events'
import type { Context } from 'koa'
import { DomainError } from '../../../domain/errors.ts'
import { HttpError } from './problems.ts'

/** Most bytes that a reader may leave unread. */
const MAX_UNREAD = 256 * 1024
/** Milliseconds in which a reader has to take what a stream of events waits for. */
const PATIENCE = 1_000

/** Where a stream writes to. */
export interface StreamWriter {
  /** Drops a reader that leaves too much unread. */
  write(text: string): void
  /**
   * Resolves when the reader has taken what was written, or when the signal aborts. A reader that takes nothing for as long as
   * any response waits for its client is dropped.
   */
  taken(signal: AbortSignal): Promise<void>
  /** The same, but also resolves when the reader fails to in time: what is then written may drop it. */
  drained(signal: AbortSignal): Promise<void>
}

/**
 * Writes a response bit by bit. The response ends when it resolves; when it rejects, the connection is reset, so that the
 * response does not look complete.
 */
export type Stream = (writer: StreamWriter) => Promise<void>

/** Ends a stream at an error that the client may see: it connects again, and then gets the problem. */
export const resumable =
  (stream: Stream): Stream =>
  async (writer) => {
    try {
      await stream(writer)
    } catch (error) {
      if (!(error instanceof DomainError)) throw error
    }
  }

/** Ends a response before it is complete. */
export class StreamInterrupted extends Error {}

const isExpected = (error: unknown) =>
  error instanceof DomainError || error instanceof HttpError || error instanceof StreamInterrupted

/** Writes straight to the response: as a `Readable`, an idle stream would take 20 KiB more. */
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
      const drain = once(res, 'drain', { signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]) })
      await drain.catch(() => {
        late = true
        res.once('drain', () => {
          late = false
        })
      })
    },
  }
  // The middleware sets its headers first.
  setImmediate(async () => {
    try {
      res.flushHeaders()
      await stream(writer)
      res.end()
    } catch (error) {
      if (!isExpected(error)) ctx.app.emit('error', error, ctx)
      // A response to HTTP/1.0 ends with its connection: only a reset tells it from a complete one.
      res.socket?.resetAndDestroy()
      res.destroy()
    }
  })
}
