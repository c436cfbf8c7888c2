import { isIPv6 } from 'node:net'
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
 * Counts the request and says so in its answer (draft-ietf-httpapi-ratelimit-headers-10).
 *
 * @throws TooManyRequests
 */
export async function spend(ctx: Context, { quota, count }: RateLimiter, key: string): Promise<void> {
  const { exceeded, remaining, reset } = await count(key)
  ctx.set('RateLimit-Policy', `"${quota.name}";q=${quota.allowed};w=${quota.window}`)
  ctx.set('RateLimit', `"${quota.name}";r=${remaining};t=${reset}`)
  if (exceeded) throw new TooManyRequests(reset)
}

/** Who sends from one address; of IPv6 the first half, for a subscriber commonly has all addresses of a /64. */
export function originOf({ ip }: Context): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1]
  if (mapped !== undefined || !isIPv6(ip)) return mapped ?? ip
  const [head = '', tail] = ip.split('::')
  const groups = head.split(':').filter(Boolean)
  const after = tail?.split(':').filter(Boolean) ?? []
  const zeros = Array.from({ length: 8 - groups.length - after.length }, () => '0')
  return [...groups, ...(tail === undefined ? [] : zeros), ...after].slice(0, 4).join(':')
}
