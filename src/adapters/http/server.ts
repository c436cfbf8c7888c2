import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'

/** Where to listen; port 0 takes a free one. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** Why an address can't be listened on, as one line for the operator. */
export class ListenError extends Error {}

export interface ListeningServer {
  /** Without a slash at its end. */
  readonly url: string
  /** Takes no new connection, answers the requests in flight, then runs what was asked for at the end. */
  close(): Promise<void>
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port is in use',
  EACCES: 'that port needs a privilege which this process does not have',
  EADDRNOTAVAIL: 'that is no address of this machine',
  ENOTFOUND: 'that host is not known here',
}

/**
 * @param atEnd runs once no request is left
 * @throws ListenError
 */
export async function listen(
  listener: RequestListener,
  address: Address,
  atEnd: () => Promise<void>,
): Promise<ListeningServer> {
  const server = createServer(listener)
  await bound(server, address)
  return {
    url: urlOf(server.address() as AddressInfo),
    async close() {
      await new Promise((closed) => server.close(closed))
      await atEnd()
    },
  }
}

function bound(server: Server, { host, port }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', ({ code = '' }: NodeJS.ErrnoException) => {
      reject(new ListenError(`Can't listen on HOST ${host}, PORT ${port}: ${reasons[code] ?? code}.`))
    })
    server.listen({ host, port }, resolve)
  })
}

export function urlOf({ address, port }: AddressInfo): string {
  return `http://${isIPv6(address) ? `[${address}]` : address}:${port}`
}
