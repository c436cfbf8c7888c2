import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { BODY_LIMIT } from './body.ts'

/** Limits on reading from a closing connection, in bytes and milliseconds. */
const LINGER = { bytes: 64 * 1_048_576, idle: 5_000, total: 30_000 }

/**
 * To be called just before the response is sent, when the request's body was not read to its end: discards the rest of a
 * short body, and otherwise announces that the connection closes (RFC 9112, section 9.3).
 *
 * After `Expect: 100-continue` and an error, the client may omit the body, and its next request would be read as the body.
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
    let left = LINGER.bytes
    // Detaches the parser, and the listener that keeps the connection paused: no further request may be served.
    socket.removeAllListeners('data').removeAllListeners('resume')
    socket.on('data', ({ length }) => {
      left -= length
      if (left < 0) socket.destroy()
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
 * Node's parser stops the handle itself while a body is unread. The stream does not notice, so `resume` does not restart
 * the handle.
 */
function startReading(socket: Socket & { _handle?: { reading: boolean; readStart(): void } | null }): void {
  const handle = socket._handle
  if (!handle || handle.reading) return
  handle.reading = true
  handle.readStart()
}
