import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { BODY_LIMIT } from './body.ts'

/** Limits on reading from a closing connection, in bytes and milliseconds. */
const LINGER = { bytes: 64 * 1_048_576, idle: 5_000, total: 30_000 }

/**
 * Settles a body that was not read to its end; call this just before the response is sent. Discards the rest of a short body,
 * and otherwise announces that the connection closes (RFC 9112, section 9.3).
 *
 * A client that sent `Expect: 100-continue` may omit the body after an error, and its next request would be read as that
 * body, so the connection closes.
 */
export function settleUnreadBody(req: IncomingMessage, res: ServerResponse): void {
  const { expect, 'content-length': length } = req.headers
  const isShort = length !== undefined && Number(length) <= BODY_LIMIT
  if (isShort && expect === undefined && res.shouldKeepAlive && !res.hasHeader('Connection')) {
    req.resume()
    return
  }
  res.setHeader('Connection', 'close')
  lingerAtEnd(req.socket)
}

/**
 * Makes Node's HTTP server half-close the connection and discard what the client still sends. Closing a connection with
 * unread data resets it, and the client may lose the response (RFC 9112, section 9.6).
 */
function lingerAtEnd(socket: Socket): void {
  socket.destroySoon = () => {
    let remaining = LINGER.bytes
    // Detaches the parser, and the listener that keeps the connection paused: no further request may be served.
    socket.removeAllListeners('data').removeAllListeners('resume')
    socket.on('data', ({ length }) => {
      remaining -= length
      if (remaining < 0) socket.destroy()
    })
    socket.resume()
    startReading(socket)
    socket.end()
    socket.setTimeout(LINGER.idle, () => socket.destroy())
    const deadline = setTimeout(() => socket.destroy(), LINGER.total)
    socket.once('close', () => clearTimeout(deadline))
  }
}

/**
 * While a body is unread, Node's parser stops the handle directly. The stream does not notice, so `resume` does not restart
 * the handle.
 */
function startReading(socket: Socket & { _handle?: { reading: boolean; readStart(): void } | null }): void {
  const handle = socket._handle
  if (!handle || handle.reading) return
  handle.reading = true
  handle.readStart()
}
