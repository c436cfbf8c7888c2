import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible'
import type { SharedCounts } from './shared-counts.ts'

/** At most `allowed` points per `window` seconds. */
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

/** Counts points by key, in fixed windows that start with the first point. */
export class Counter {
  readonly #limiter: RateLimiterAbstract
  /** Milliseconds. */
  readonly #window: number

  /** @param client stores the counts in PostgreSQL instead of memory */
  constructor({ name, allowed, window }: Quota, client?: SharedCounts['client']) {
    // Keys over the quota are refused from memory, so a flood causes no writes.
    const quota = { keyPrefix: name, points: allowed, duration: window, inMemoryBlockOnConsumed: allowed + 1 }
    this.#window = window * 1_000
    this.#limiter = client
      ? new RateLimiterPostgres({
          ...quota,
          storeClient: client,
          storeType: 'client',
          ...(client.schema !== undefined && { schemaName: client.schema }),
          tableName: client.table,
          tableCreated: true,
        })
      : new RateLimiterMemory(quota)
  }

  async get(key: string): Promise<Count | undefined> {
    const found = await this.#limiter.get(key)
    return found && !this.#isStale(found) ? countOf(found) : undefined
  }

  /** Adds a point. */
  async add(key: string): Promise<Count> {
    return countOf(await this.#inWindow(key, () => this.#limiter.penalty(key)))
  }

  /** Adds points unless the quota is used up. */
  async consume(key: string, points = 1): Promise<Count & { readonly exceeded: boolean }> {
    let exceeded = false
    const count = await this.#inWindow(key, async () => {
      exceeded = false
      try {
        return await this.#limiter.consume(key, points)
      } catch (refusal) {
        if (!(refusal instanceof RateLimiterRes)) throw refusal
        exceeded = true
        return refusal
      }
    })
    return { ...countOf(count), exceeded }
  }

  async set(key: string, points: number): Promise<void> {
    await this.#limiter.set(key, points, this.#window / 1_000)
  }

  async delete(key: string): Promise<void> {
    await this.#limiter.delete(key)
  }

  async #inWindow(key: string, count: () => Promise<RateLimiterRes>): Promise<RateLimiterRes> {
    const counted = await count()
    if (!this.#isStale(counted)) return counted
    await this.#limiter.delete(key)
    return count()
  }

  /** A window that would end later than one starting now began before the clock was set back. */
  #isStale({ msBeforeNext }: RateLimiterRes): boolean {
    return msBeforeNext > this.#window
  }
}

const countOf = ({ consumedPoints, msBeforeNext }: RateLimiterRes): Count => ({
  points: consumedPoints,
  reset: msBeforeNext,
})
