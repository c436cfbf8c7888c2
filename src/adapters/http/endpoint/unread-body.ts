import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { BODY_LIMIT } from './body.ts'

/** What is read of a connection that ends, in bytes and in milliseconds, so that its client gets the answer. */
const LINGER = { bytes: 64 * 1_048_576, idle: 5_000, total: 30_000 }

/**
 * Settles, just before the answer is sent, what becomes of a body that was not read to its end: discards the rest of a
 * short one, and otherwise announces the end of the connection (RFC 9112, section 9.3).
 *
 * A client that sent `Expect: 100-continue` may leave the body out after an error, and then its next request would be
 * taken for it.
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
 * Makes Node's HTTP server half-close the connection and discard what the client still sends. A connection that is
 * closed with unread data is reset, and the client may lose the answer (RFC 9112, section 9.6).
 */
function lingerAtEnd(socket: Socket): void {
  socket.destroySoon = () => {
    let left = LINGER.bytes
    // Takes the connection from the parser, and from whatever has paused it: a request that follows must not be served.
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
 * Node's parser stops the handle by itself while a body waits to be read. The stream does not notice, so that `resume`
 * does not start the handle again.
 */
function startReading(socket: Socket & { _handle?: { reading: boolean; readStart(): void } | null }): void {
  const handle = socket._handle
  if (!handle || handle.reading) return
  handle.reading = true
  handle.readStart()
}
