import { createHash } from 'node:crypto'
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible'
import { InvalidCredentials, TooManyRequests } from '../../domain/errors.ts'
import type { LoginThrottle } from '../../domain/ports.ts'

/** So many points in a time, in seconds. */
interface Quota {
  readonly name: string
  readonly allowed: number
  readonly window: number
}

/** A pool of `pg`, or what behaves like one. */
export interface Queryable {
  /** @param statement its `query_timeout` in milliseconds */
  query(statement: {
    readonly text: string
    readonly values: unknown[]
    readonly query_timeout: number
  }): Promise<{ readonly rows: unknown[] }>
}

/** Milliseconds for the shared store to answer. After that, and while it is away, a process counts by itself. */
const ANSWER_TIMEOUT = 2_000

/** Tells once of each time for which the store is away: limits are looser then, and nothing else shows it. */
export function reporting(shared: Queryable, away: (error: unknown) => void): Queryable {
  let told = false
  return {
    async query(statement) {
      try {
        const result = await shared.query(statement)
        told = false
        return result
      } catch (error) {
        if (!told) away(error)
        told = true
        throw error
      }
    },
  }
}

/** Made by a migration of the store. */
const TABLE = 'rate_limits'

/** Counts in PostgreSQL where instances share one, and goes on by itself while that can't be reached. */
function counterOf({ name, allowed, window }: Quota, shared?: Queryable, options = {}): RateLimiterAbstract {
  const quota = { keyPrefix: name, points: allowed, duration: window }
  const own = new RateLimiterMemory(quota)
  if (!shared) return own
  return new RateLimiterPostgres({
    ...quota,
    // Without the names that it gives its statements: a pooler may forget them.
    storeClient: {
      query: ({ text, values }: { text: string; values: unknown[] }) =>
        shared.query({ text, values, query_timeout: ANSWER_TIMEOUT }),
    },
    storeType: 'client',
    tableName: TABLE,
    tableCreated: true,
    insuranceLimiter: own,
    ...options,
  })
}

const seconds = (milliseconds: number) => Math.max(1, Math.ceil(milliseconds / 1_000))

export function rateLimiter(quota: Quota, shared?: Queryable) {
  // Who is over it is refused from memory: a flood writes nothing.
  const counter = counterOf(quota, shared, { inMemoryBlockOnConsumed: quota.allowed + 1 })
  return {
    quota,
    async count(key: string) {
      const { exceeded, remainingPoints, msBeforeNext } = await consume(counter, key)
      return { exceeded, remaining: remainingPoints, reset: seconds(msBeforeNext) }
    },
  }
}

async function consume(counter: RateLimiterAbstract, key: string) {
  try {
    const { remainingPoints, msBeforeNext } = await counter.consume(key)
    return { exceeded: false, remainingPoints, msBeforeNext }
  } catch (refusal) {
    if (refusal instanceof RateLimiterRes)
      return { exceeded: true, remainingPoints: 0, msBeforeNext: refusal.msBeforeNext }
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
  constructor(allowed: number, window: number, shared?: Queryable) {
    this.#failures = counterOf({ name: 'failed-login', allowed, window }, shared)
    this.#known = counterOf({ name: 'known-origin', allowed: 1, window: KNOWN_FOR }, shared)
  }

  async attempt<Result>(email: string, origin: string, logIn: () => Promise<Result>): Promise<Result> {
    const pair = digest(email, origin)
    const key = (await this.#known.get(pair)) ? pair : digest(email)
    await this.#refuseGuesser(key)
    const answer = await logIn().catch((error) => this.#failed(key, error))
    // Of guesses at the same time the first few count as well: the right one may be among those that came too late.
    await this.#refuseGuesser(key)
    await this.#failures.delete(key)
    await this.#known.set(pair, 1, KNOWN_FOR)
    return answer
  }

  async #refuseGuesser(key: string): Promise<void> {
    const failed = await this.#failures.get(key)
    if (failed && failed.consumedPoints >= this.#failures.points)
      throw new TooManyRequests(seconds(failed.msBeforeNext))
  }

  async #failed(key: string, error: unknown): Promise<never> {
    if (!(error instanceof InvalidCredentials)) throw error
    const { exceeded, msBeforeNext } = await consume(this.#failures, key)
    // In the same words as a right one that came too late.
    throw exceeded ? new TooManyRequests(seconds(msBeforeNext)) : error
  }
}

/** For who limits elsewhere, or not at all. */
export const noLoginThrottle: LoginThrottle = { attempt: (_email, _origin, logIn) => logIn() }

/** Of one length, and no address can be read from it. */
function digest(...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64')
}
