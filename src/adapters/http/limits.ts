import { isIP, SocketAddress } from 'node:net'
import type { Context } from 'koa'
import { TooManyRequests } from '../../domain/errors.ts'

/** How often something may be done. */
export interface Quota {
  readonly name: string
  readonly allowed: number
  /** Seconds. */
  readonly window: number
}

export interface RateLimiter {
  readonly quota: Quota
  /** Counts one request under the key. `reset`: seconds until the window ends. */
  count(key: string): Promise<{ readonly exceeded: boolean; readonly remaining: number; readonly reset: number }>
}

/** What is limited: requests by a user, and those of nobody yet by the address they come from. */
export type LimitName = 'user' | 'login' | 'register'
/** Without limits nothing is counted. */
export type Limits = { readonly [name in LimitName]?: RateLimiter }

/**
 * Counts each request that it is given, and says so in its answer (draft-ietf-httpapi-ratelimit-headers-10).
 * It throws TooManyRequests.
 */
export function limitBy({ quota, count }: RateLimiter): (ctx: Context, key: string) => Promise<void> {
  const policy = `"${quota.name}";q=${quota.allowed};w=${quota.window}`
  return async (ctx, key) => {
    const { exceeded, remaining, reset } = await count(key)
    ctx.set('RateLimit-Policy', policy)
    ctx.set('RateLimit', `"${quota.name}";r=${remaining};t=${reset}`)
    if (exceeded) throw new TooManyRequests(reset)
  }
}

/** Who sends from one address; of IPv6 the first half, for a subscriber commonly has all addresses of a /64. */
export function originOf({ ip, req }: Context): string {
  return networkOf(ip) ?? networkOf(req.socket.remoteAddress ?? '') ?? ''
}

/** Some proxies add the port of their client. */
const ADDRESS = /^(?:\[([^\]]+)\]|([\d.]+))(?::\d+)?$/
const MAPPED = /^::ffff:([\d.]+)$/

function networkOf(text: string): string | undefined {
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
