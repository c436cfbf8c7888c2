import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
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
    readonly query_timeout?: number
  }): Promise<{ readonly rows: unknown[] }>
}

/**
 * A store that answers in time or not at all: until then a login waits, and after it a process counts by itself.
 *
 * @param away is told once of each time for which there is no answer: limits are looser then, and nothing else shows it
 * @param patience milliseconds
 */
export function answeringInTime(shared: Queryable, away: (error: unknown) => void, patience = 2_000): Queryable {
  let told = false
  return {
    async query({ text, values }) {
      const late = delay(patience, undefined, { ref: false }).then(() =>
        Promise.reject(new Error('there is no answer')),
      )
      try {
        // Its own timeout gives a silent connection up, but begins only when there is one.
        const result = await Promise.race([shared.query({ text, values, query_timeout: patience }), late])
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
    storeClient: { query: ({ text, values }: { text: string; values: unknown[] }) => shared.query({ text, values }) },
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

/** So many times what is allowed, origins that have not failed yet may still try; more of them are one guesser's. */
const FIRST_TRIES = 10

/** Failed logins of a window, those before the one in question. */
interface Failures {
  readonly account: number
  readonly origin: number
  /** Whether the account has logged in from there lately. */
  readonly known: boolean
  /** Milliseconds until it ends. */
  readonly reset: number
}

/**
 * Counts failed logins by account, so that guessing from many addresses is slow as well, and can't keep the owner out:
 * an origin from which the account has logged in lately has a count of its own, and any other one still has a first try
 * when there were too many. What is refused is not counted, so a window ends at its time.
 */
export class CountingLoginThrottle implements LoginThrottle {
  readonly #allowed: number
  readonly #failures: RateLimiterAbstract
  readonly #known: RateLimiterAbstract

  /** @param window seconds */
  constructor(allowed: number, window: number, shared?: Queryable) {
    this.#allowed = allowed
    this.#failures = counterOf({ name: 'failed-login', allowed, window }, shared)
    this.#known = counterOf({ name: 'known-origin', allowed: 1, window: KNOWN_FOR }, shared)
  }

  async attempt<Result>(email: string, origin: string, logIn: () => Promise<Result>): Promise<Result> {
    const account = digest(email)
    const pair = digest(email, origin)
    this.#refuse(await this.#failuresOf(account, pair))
    const answer = await logIn().catch(async (error) => {
      // In the same words as a right one that came too late.
      if (error instanceof InvalidCredentials) this.#refuse(await this.#count(account, pair))
      throw error
    })
    // Of guesses at the same time the first few count as well: the right one may be among those that came too late.
    const { known } = this.#refuse(await this.#failuresOf(account, pair))
    await this.#failures.delete(pair)
    if (!known) await this.#failures.delete(account)
    await this.#known.set(pair, 1, KNOWN_FOR)
    return answer
  }

  /** @throws TooManyRequests */
  #refuse(failures: Failures): Failures {
    const { account, origin, known, reset } = failures
    const allowed = this.#allowed
    const mayTry = known ? origin < allowed : account < allowed || (account < FIRST_TRIES * allowed && origin === 0)
    if (!mayTry) throw new TooManyRequests(seconds(reset))
    return failures
  }

  async #failuresOf(account: string, pair: string): Promise<Failures> {
    const [logIn, ofOrigin, ofAccount] = await Promise.all([
      this.#known.get(pair),
      this.#failures.get(pair),
      this.#failures.get(account),
    ])
    const known = logIn !== null
    return {
      account: ofAccount?.consumedPoints ?? 0,
      origin: ofOrigin?.consumedPoints ?? 0,
      known,
      reset: (known ? ofOrigin : ofAccount)?.msBeforeNext ?? 0,
    }
  }

  /** @returns the failures before this one */
  async #count(account: string, pair: string): Promise<Failures> {
    const known = (await this.#known.get(pair)) !== null
    const origin = await this.#failures.penalty(pair)
    const { consumedPoints, msBeforeNext } = known ? origin : await this.#failures.penalty(account)
    return { account: consumedPoints - 1, origin: origin.consumedPoints - 1, known, reset: msBeforeNext }
  }
}

/** For who limits elsewhere, or not at all. */
export const noLoginThrottle: LoginThrottle = { attempt: (_email, _origin, logIn) => logIn() }

/** Of one length, and no address can be read from it. */
function digest(...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64')
}
