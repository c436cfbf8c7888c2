import { once } from 'node:events'
import type { Context } from 'koa'
import { DomainError } from '../../../domain/errors.ts'

/** Most bytes that a reader may leave unread. */
const MAX_UNREAD = 256 * 1024
/** Milliseconds in which a reader has to take what a stream waits for. */
const PATIENCE = 1_000

/** Where a stream writes to. */
export interface StreamWriter {
  /** Drops a reader that leaves too much unread. */
  write(text: string): void
  /** Resolves when the reader has taken what was written, or fails to in time: what is then written may drop it. */
  drained(signal: AbortSignal): Promise<void>
}

/** Writes a response bit by bit; the response ends when it resolves. */
export type Stream = (writer: StreamWriter) => Promise<void>

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
      // The client connects again, and then gets the problem.
      if (error instanceof DomainError) {
        res.end()
        return
      }
      ctx.app.emit('error', error, ctx)
      res.destroy()
    }
  })
}
