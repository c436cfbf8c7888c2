import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { ServerConfig } from '../../config.ts'
import { networkOf } from './endpoint/client-network.ts'

interface Connection {
  readonly network: string
  /** `acceptedBytes` at the last check. */
  accepted: number
  /** Number of consecutive checks at which bytes were pending but the kernel had accepted none. */
  stalled: number
}

/** Milliseconds between two checks for stalled clients. */
const CHECK_INTERVAL = 1_000

/** Tracks the open connections of a server: limits those of each client network and ends those whose client stops reading. */
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

  /** Whether any response still has unsent bytes. */
  get writing(): boolean {
    for (const socket of this.#open.keys()) if (socket.writableLength > 0) return true
    return false
  }

  /** Closes connections on which no request has arrived. Node does not count them as idle. */
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
    this.#open.set(socket, { network, accepted: 0, stalled: 0 })
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
      const accepted = acceptedBytes(socket)
      connection.stalled = accepted === connection.accepted ? connection.stalled + 1 : 0
      connection.accepted = accepted
      if (connection.stalled >= this.#maxStalled) socket.destroy()
    }
  }
}

/**
 * Returns a number that changes whenever the kernel accepts bytes from the socket. Node's own `server.timeout` reads the same
 * private `writeQueueSize`, but fires only at the second timeout without progress and also ends requests that wait for the
 * service.
 */
function acceptedBytes(socket: Socket & { _handle?: { writeQueueSize: number } | null }): number {
  return socket.bytesWritten - socket.writableLength - (socket._handle?.writeQueueSize ?? 0)
}
