import { createHash } from 'node:crypto'
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible'
import { InvalidCredentials, TooManyRequests } from '../../domain/errors.ts'
import type { LoginThrottle } from '../../domain/ports.ts'

/** Any number of points in a time, in seconds. */
interface Quota {
  readonly name: string
  readonly allowed: number
  readonly window: number
}

/** A pool of `pg`, or what behaves like one. */
export type SharedStore = { query(...call: never[]): unknown }

/** Made by a migration of the store. */
const TABLE = 'rate_limits'

/** Counts in PostgreSQL where instances share one, and goes on by itself while that can't be reached. */
function limiter({ name, allowed, window }: Quota, shared?: SharedStore): RateLimiterAbstract {
  const options = { keyPrefix: name, points: allowed, duration: window }
  const own = new RateLimiterMemory(options)
  if (!shared) return own
  return new RateLimiterPostgres({
    ...options,
    storeClient: shared,
    tableName: TABLE,
    tableCreated: true,
    insuranceLimiter: own,
  })
}

const seconds = (milliseconds: number) => Math.max(1, Math.ceil(milliseconds / 1_000))

export function rateLimiter<Name extends Quota>(quota: Name, shared?: SharedStore) {
  const counter = limiter(quota, shared)
  return {
    quota,
    async count(key: string) {
      const { exceeded, result } = await consume(counter, key)
      return { exceeded, remaining: result.remainingPoints, reset: seconds(result.msBeforeNext) }
    },
  }
}

async function consume(counter: RateLimiterAbstract, key: string) {
  try {
    return { exceeded: false, result: await counter.consume(key) }
  } catch (refusal) {
    if (refusal instanceof RateLimiterRes) return { exceeded: true, result: refusal }
    throw refusal
  }
}

/** Seconds for which an origin is known as the account's own; a timer of Node can't be set for much longer. */
const KNOWN_FOR = 20 * 24 * 3_600

/**
 * Counts failed logins by account, so that guessing from many addresses is slow as well. What is refused is not
 * counted, so a window ends at its time. An origin from which the account has logged in lately has a count of its own:
 * who guesses from elsewhere can't keep the owner out.
 */
export class CountingLoginThrottle implements LoginThrottle {
  readonly #failures: RateLimiterAbstract
  readonly #known: RateLimiterAbstract

  /** @param window seconds */
  constructor(allowed: number, window: number, shared?: SharedStore) {
    this.#failures = limiter({ name: 'failed-login', allowed, window }, shared)
    this.#known = limiter({ name: 'known-origin', allowed: 1, window: KNOWN_FOR }, shared)
  }

  async attempt<Result>(email: string, origin: string, logIn: () => Promise<Result>): Promise<Result> {
    const pair = digest(email, origin)
    const key = (await this.#known.get(pair)) ? pair : digest(email)
    const failed = await this.#failures.get(key)
    if (failed && failed.consumedPoints >= this.#failures.points)
      throw new TooManyRequests(seconds(failed.msBeforeNext))
    try {
      const answer = await logIn()
      await this.#failures.delete(key)
      await this.#known.set(pair, 1, KNOWN_FOR)
      return answer
    } catch (error) {
      if (error instanceof InvalidCredentials) await consume(this.#failures, key)
      throw error
    }
  }
}

/** For who limits elsewhere, or not at all. */
export const noLoginThrottle: LoginThrottle = { attempt: (_email, _origin, logIn) => logIn() }

/** Of one length, and no address can be read from it. */
function digest(...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64')
}
