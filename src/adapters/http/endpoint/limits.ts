import type { Context } from 'koa'
import { TooManyRequests } from '../../../domain/errors.ts'

export interface RateLimiter {
  /** `allowed` requests per `window` seconds. */
  readonly quota: { readonly name: string; readonly allowed: number; readonly window: number }
  /** Counts requests under the key. `reset`: seconds until the window ends. */
  count(
    key: string,
    requests: number,
  ): Promise<{ readonly exceeded: boolean; readonly remaining: number; readonly reset: number }>
}

/** Rate-limit buckets. */
export type LimitName = 'user' | 'login' | 'register' | 'refresh'
/** A bucket without a limiter is unlimited. */
export type Limits = { readonly [name in LimitName]?: RateLimiter }

/**
 * Returns a function that counts requests and sets the RateLimit headers (draft-ietf-httpapi-ratelimit-headers-10). It
 * throws TooManyRequests.
 */
export function limitBy({ quota, count }: RateLimiter): (ctx: Context, key: string, requests: number) => Promise<void> {
  const policy = `"${quota.name}";q=${quota.allowed};w=${quota.window}`
  return async (ctx, key, requests) => {
    const { exceeded, remaining, reset } = await count(key, requests)
    ctx.set('RateLimit-Policy', policy)
    ctx.set('RateLimit', `"${quota.name}";r=${remaining};t=${reset}`)
    if (exceeded) throw new TooManyRequests(reset)
  }
}
