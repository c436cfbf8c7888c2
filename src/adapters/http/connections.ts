import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { networkOf } from './client-network.ts'

interface ConnectionLimits {
  /** Connections of one client network; more are closed at once. */
  readonly maxConnectionsPerClient: number
  /** Proxies in front of the service. They hold the connections of every client, so with any the share does not apply. */
  readonly trustedProxies: number
}

/** The open connections of a server, and each client network's share of them. */
export class Connections {
  readonly #open = new Set<Socket>()
  readonly #counts = new Map<string, number>()
  readonly #maxPerClient: number

  constructor(server: Server, { maxConnectionsPerClient, trustedProxies }: ConnectionLimits) {
    this.#maxPerClient = trustedProxies > 0 ? Number.POSITIVE_INFINITY : maxConnectionsPerClient
    server.on('connection', (socket) => this.#add(socket))
  }

  /** Ends those on which no request has arrived. Node does not count them as idle. */
  endUnused(): void {
    for (const socket of this.#open) if (socket.bytesRead === 0) socket.destroy()
  }

  #add(socket: Socket): void {
    const network = networkOf(socket.remoteAddress ?? '') ?? ''
    const count = this.#counts.get(network) ?? 0
    if (count >= this.#maxPerClient) {
      socket.destroy()
      return
    }
    this.#counts.set(network, count + 1)
    this.#open.add(socket)
    socket.once('close', () => this.#remove(socket, network))
  }

  #remove(socket: Socket, network: string): void {
    this.#open.delete(socket)
    const count = this.#counts.get(network) ?? 0
    if (count > 1) this.#counts.set(network, count - 1)
    else this.#counts.delete(network)
  }
}
