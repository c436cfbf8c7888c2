import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible'
import type { SharedCounts } from './shared-counts.ts'

/** So many points in a time, in seconds. */
export interface Quota {
  readonly name: string
  readonly allowed: number
  readonly window: number
}

export interface Count {
  readonly points: number
  /** Milliseconds until the window ends. */
  readonly reset: number
}

/** Made by a migration of the store. */
const TABLE = 'rate_limits'

/** Counts by key, each in a window that begins with its first point. */
export class Counter {
  readonly #limiter: RateLimiterAbstract
  readonly #window: number

  /** @param client where the counts are kept, if not in memory */
  constructor({ name, allowed, window }: Quota, client?: SharedCounts['client']) {
    // Keys over the quota are refused from memory: a flood writes nothing.
    const quota = { keyPrefix: name, points: allowed, duration: window, inMemoryBlockOnConsumed: allowed + 1 }
    this.#window = window
    this.#limiter = client
      ? new RateLimiterPostgres({
          ...quota,
          storeClient: client,
          storeType: 'client',
          tableName: TABLE,
          tableCreated: true,
        })
      : new RateLimiterMemory(quota)
  }

  async get(key: string): Promise<Count | undefined> {
    const found = await this.#limiter.get(key)
    return found ? countOf(found) : undefined
  }

  /** Adds a point. */
  async add(key: string): Promise<Count> {
    return countOf(await this.#limiter.penalty(key))
  }

  /** Adds a point unless all are spent. */
  async consume(key: string): Promise<Count & { readonly exceeded: boolean }> {
    try {
      return { ...countOf(await this.#limiter.consume(key)), exceeded: false }
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal
      return { ...countOf(refusal), exceeded: true }
    }
  }

  async set(key: string, points: number): Promise<void> {
    await this.#limiter.set(key, points, this.#window)
  }

  async delete(key: string): Promise<void> {
    await this.#limiter.delete(key)
  }
}

const countOf = ({ consumedPoints, msBeforeNext }: RateLimiterRes): Count => ({
  points: consumedPoints,
  reset: msBeforeNext,
})
