import { isIP, SocketAddress } from 'node:net'
import type { Context } from 'koa'

/**
 * The network that a request comes from: an IPv4 address, or the /64 of an IPv6 address, because subscribers commonly
 * have a /64 each. Behind trusted proxies, the address is taken from X-Forwarded-For.
 */
export function clientNetworkOf({ ip, req }: Context): string {
  return networkOf(ip) ?? networkOf(req.socket.remoteAddress ?? '') ?? ''
}

/** Some proxies append the client's port. */
const ADDRESS = /^(?:\[([^\]]+)\]|([\d.]+))(?::\d+)?$/
/** Maximum length in characters: an IPv6 address with a zone, in brackets, and a port. */
const MAX_ADDRESS = 80
const MAPPED = /^::ffff:([\d.]+)$/

/** The network of an address; `undefined` if the text is not an address. */
export function networkOf(text: string): string | undefined {
  if (text.length > MAX_ADDRESS) return undefined
  const [, ipv6, ipv4] = ADDRESS.exec(text) ?? []
  const address = ipv6 ?? ipv4 ?? text
  const family = isIP(address)
  if (family !== 6) return family === 4 ? address : undefined
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address
  return MAPPED.exec(canonical)?.[1] ?? firstHalf(canonical)
}

function firstHalf(address: string): string {
  const [before = [], after = []] = address.split('::').map((groups) => groups.split(':').filter(Boolean))
  const zeros = new Array(8 - before.length - after.length).fill('0')
  return [...before, ...zeros, ...after].slice(0, 4).join(':')
}
