import { isIP, SocketAddress } from 'node:net'
import type { Context } from 'koa'

/**
 * The network that a request comes from: an IPv4 address, or the /64 of an IPv6 address, because a subscriber commonly
 * has a whole /64. Behind `trustedProxies` the address is the one in X-Forwarded-For.
 */
export function clientNetworkOf({ ip, req }: Context): string {
  return networkOf(ip) ?? networkOf(req.socket.remoteAddress ?? '') ?? ''
}

/** Some proxies add the port of their client. */
const ADDRESS = /^(?:\[([^\]]+)\]|([\d.]+))(?::\d+)?$/
/** Characters of an IPv6 address with a zone, between brackets, and a port. */
const MAX_ADDRESS = 80
const MAPPED = /^::ffff:([\d.]+)$/

/** The network of an address; `undefined` for a text that is none. */
export function networkOf(text: string): string | undefined {
  if (text.length > MAX_ADDRESS) return undefined
  const [, six, four] = ADDRESS.exec(text) ?? []
  const address = six ?? four ?? text
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
