import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { ServerConfig } from '../../config.ts'
import { networkOf } from './endpoint/client-network.ts'

interface Connection {
  readonly network: string
  /** Bytes of answers that the client's side has taken, for comparison only. */
  taken: number
  /** Checks in a row at which bytes were pending and the client had taken none. */
  stalled: number
}

/** Milliseconds between two checks for clients that do not read. */
const CHECK_INTERVAL = 1_000

/** The open connections of a server: limits each client network's share and ends connections whose client does not read. */
export class Connections {
  readonly #open = new Map<Socket, Connection>()
  readonly #counts = new Map<string, number>()
  readonly #maxPerClient: number
  readonly #maxStalled: number

  constructor(server: Server, { maxConnectionsPerClient, requestTimeout }: ServerConfig) {
    this.#maxPerClient = maxConnectionsPerClient
    this.#maxStalled = Math.ceil((requestTimeout * 1_000) / CHECK_INTERVAL)
    server.on('connection', (socket) => this.#add(socket))
    const checks = setInterval(() => this.#endStalled(), CHECK_INTERVAL).unref()
    server.once('close', () => clearInterval(checks))
  }

  /** Whether a client has still to take a part of its answer. */
  get writing(): boolean {
    for (const socket of this.#open.keys()) if (socket.writableLength > 0) return true
    return false
  }

  /** Ends those on which no request has arrived. Node does not count them as idle. */
  endUnused(): void {
    for (const socket of this.#open.keys()) if (socket.bytesRead === 0) socket.destroy()
  }

  #add(socket: Socket): void {
    const network = networkOf(socket.remoteAddress ?? '') ?? ''
    const count = this.#counts.get(network) ?? 0
    if (count >= this.#maxPerClient) {
      socket.destroy()
      return
    }
    this.#counts.set(network, count + 1)
    this.#open.set(socket, { network, taken: 0, stalled: 0 })
    socket.once('close', () => this.#remove(socket, network))
  }

  #remove(socket: Socket, network: string): void {
    this.#open.delete(socket)
    const count = this.#counts.get(network) ?? 0
    if (count > 1) this.#counts.set(network, count - 1)
    else this.#counts.delete(network)
  }

  #endStalled(): void {
    for (const [socket, connection] of this.#open) {
      if (socket.writableLength === 0) {
        connection.stalled = 0
        continue
      }
      const taken = takenOf(socket)
      connection.stalled = taken === connection.taken ? connection.stalled + 1 : 0
      connection.taken = taken
      if (connection.stalled >= this.#maxStalled) socket.destroy()
    }
  }
}

/**
 * Changes whenever the system takes bytes of the socket: the bytes of finished writes, less what remains of the current
 * one. Node has no public name for the latter, and measures its own timeouts with it; but its `server.timeout` notices
 * a reader that takes nothing only at the second timeout, and also ends requests that wait for the service.
 */
function takenOf(socket: Socket & { _handle?: { writeQueueSize: number } | null }): number {
  return socket.bytesWritten - socket.writableLength - (socket._handle?.writeQueueSize ?? 0)
}
