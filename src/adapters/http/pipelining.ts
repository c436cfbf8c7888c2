import { AsyncResource } from 'node:async_hooks'
import { type IncomingMessage, type RequestListener, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** A request that is parsed but not started. */
interface Waiting {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  /** Keeps the async context of the request, for traces. */
  readonly context: AsyncResource
}

/** The pending requests of one connection. */
interface Pipeline {
  /** The response in progress, until it is written. */
  current: ServerResponse | undefined
  readonly waiting: Waiting[]
  /** Whether the latest request waited for an earlier one. */
  pipelined: boolean
  /** The parser's error in the latest request, or in the bytes after it. */
  error: Error | undefined
}

/** Maximum waiting requests on all connections together (some 50 MB); the connection of a further one is closed. */
const MAX_WAITING = 10_000

/** Statuses for errors of Node's parser; any other error is 400. */
const statusOfError: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
}

/**
 * Starts the requests of a connection in order, each in the event-loop turn after the previous response was written to
 * the socket (RFC 9112, section 9.3.2); Node would start each as soon as it is parsed. While a request waits, the
 * connection is not read, so only the requests of a single read can wait. When a connection closes, its waiting requests
 * never start.
 */
export function serveInOrder(server: Server, listener: RequestListener): void {
  const pipelines = new WeakMap<Duplex, Pipeline>()
  let waiting = 0

  const receive = (req: IncomingMessage, res: ServerResponse) => {
    const pipeline = pipelines.get(req.socket) as Pipeline
    if (endsConnection(req)) res.shouldKeepAlive = false
    // Node gives a response its socket once the previous response is written.
    pipeline.pipelined = res.socket === null
    if (pipeline.pipelined) wait(pipeline, req, res)
    else start(pipeline, req, res)
  }

  const start = (pipeline: Pipeline, req: IncomingMessage, res: ServerResponse) => {
    pipeline.current = res
    res.on('close', finish)
    listener(req, res)
  }

  const wait = (pipeline: Pipeline, req: IncomingMessage, res: ServerResponse) => {
    if (waiting === MAX_WAITING) {
      req.socket.destroy()
      return
    }
    waiting++
    if (pipeline.waiting.push({ req, res, context: new AsyncResource('PIPELINED_REQUEST') }) === 1) {
      stopReading(req.socket)
    }
  }

  function finish(this: ServerResponse): void {
    const { socket } = this.req
    const pipeline = pipelines.get(socket) as Pipeline
    // Deferred, so that other connections are served between two requests of this connection.
    if (pipeline.waiting.length > 0 || pipeline.error) setImmediate(startNext, pipeline, socket)
    // An idle connection must not keep its last request in memory.
    else pipeline.current = undefined
  }

  const startNext = (pipeline: Pipeline, socket: Socket) => {
    // The client has left, or the last response closes the connection.
    if (!socket.writable) return
    const next = pipeline.waiting.shift()
    if (next) waiting--
    if (pipeline.error && !next?.req.complete) refuse(pipeline.error, socket)
    else if (next) {
      if (pipeline.waiting.length === 0 && !pipeline.error) resumeReading(socket)
      next.context.runInAsyncScope(start, undefined, pipeline, next.req, next.res)
    }
  }

  server.on('request', receive)
  // The listener ignores unknown expectations (RFC 9110, section 10.1.1) and sends 100 Continue only when it reads the body.
  server.on('checkContinue', receive)
  server.on('checkExpectation', receive)

  // By default Node drops all responses when the client half-closes the connection. Pipelined requests still get theirs; the
  // client of a single request has usually left.
  Object.assign(server, { httpAllowHalfOpen: true })
  server.on('connection', (socket) => {
    const pipeline: Pipeline = { current: undefined, waiting: [], pipelined: false, error: undefined }
    pipelines.set(socket, pipeline)
    socket.on('end', () => {
      if (!pipeline.pipelined) socket.end()
    })
    socket.on('close', () => {
      waiting -= pipeline.waiting.length
      pipeline.waiting.length = 0
    })
  })

  // Without this listener, Node would send its error response in place of the response to an earlier request.
  server.on('clientError', (error, socket) => {
    const pipeline = pipelines.get(socket)
    const { current, waiting = [] } = pipeline ?? {}
    if (!pipeline || !current || !socket.writable) refuse(error, socket)
    else if (waiting.length === 0 && !current.req.complete) refuse(error, socket, current)
    else if (!pipeline.error) {
      pipeline.error = error
      stopReading(current.req.socket)
    }
  })
}

/**
 * Node drops the bytes that arrive in one read with an upgrade request, and chunked framing is unreliable in HTTP/1.0
 * (RFC 9112, section 6.1).
 */
function endsConnection({ headers, httpVersionMinor }: IncomingMessage): boolean {
  return headers.upgrade !== undefined || (httpVersionMinor === 0 && headers['transfer-encoding'] !== undefined)
}

function refuse(error: NodeJS.ErrnoException, socket: Duplex, response?: ServerResponse): void {
  const status = statusOfError[error.code ?? ''] ?? 400
  if (socket.writable && !response?.headersSent) {
    socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`)
  }
  socket.destroy(error)
}

/** Node resumes the connection for each request and each body, so it is paused again each time. */
function stopReading(socket: Socket): void {
  if (!socket.listeners('resume').includes(pause)) socket.on('resume', pause)
  socket.pause()
}

function resumeReading(socket: Socket): void {
  socket.off('resume', pause)
  socket.resume()
}

function pause(this: Socket): void {
  this.pause()
}
