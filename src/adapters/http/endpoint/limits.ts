import type { Context } from 'koa'
import { TooManyRequests } from '../../../domain/errors.ts'

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

/** Limited requests: by user when authenticated, otherwise by client network. */
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
