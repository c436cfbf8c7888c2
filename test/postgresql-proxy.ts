import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A proxy to the server that can be cut and restored at the same port. */
export async function startProxy(server: URL) {
  const sockets = new Set<Socket>()
  /** The sockets to the server. */
  const upstreams = new Set<Socket>()
  const open = async (port: number): Promise<Server> => {
    const proxy = createServer((client) => {
      const upstream = connect(Number(server.port), server.hostname)
      upstreams.add(upstream)
      for (const [socket, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(socket)
        socket.on('error', () => undefined)
        socket.on('close', () => other.destroy())
        socket.pipe(other)
      }
    }).listen(port, '127.0.0.1')
    await once(proxy, 'listening')
    return proxy
  }
  let proxy = await open(0)
  const { port } = proxy.address() as AddressInfo
  const url = new URL(server)
  url.port = `${port}`
  return {
    url,
    /** Refuses new connections and keeps open ones. */
    refuse() {
      proxy.close()
    },
    async cut() {
      proxy.close()
      for (const socket of sockets) socket.destroy()
      await once(proxy, 'close')
    },
    silence() {
      for (const socket of sockets) socket.pause()
    },
    /** Drops the server's responses from now on; the server still receives requests. */
    dropResponses() {
      for (const socket of upstreams) socket.unpipe().resume()
    },
    async restore() {
      proxy = await open(port)
    },
  }
}
