import type { Context } from 'koa'
import { TooManyRequests } from '../../../domain/errors.ts'

export interface RateLimiter {
  /** `allowed` requests per `window` seconds. */
  readonly quota: { readonly name: string; readonly allowed: number; readonly window: number }
  /** Counts a request under the key. `reset`: seconds until the window ends. */
  count(key: string): Promise<{ readonly exceeded: boolean; readonly remaining: number; readonly reset: number }>
}

/** Rate-limit buckets. */
export type LimitName = 'user' | 'login' | 'register'
/** A bucket without a limiter is unlimited. */
export type Limits = { readonly [name in LimitName]?: RateLimiter }

/**
 * Returns a function that counts a request and sets its RateLimit headers (draft-ietf-httpapi-ratelimit-headers-10). It
 * throws TooManyRequests.
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
