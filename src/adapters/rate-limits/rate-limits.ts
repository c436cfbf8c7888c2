import { createHash } from 'node:crypto'
import type { LoginThrottle } from '../../domain/accounts/ports.ts'
import { InvalidCredentials, TooManyRequests, WrongPassword } from '../../domain/errors.ts'
import { Counter, type Quota } from './counter.ts'
import type { SharedCounts } from './shared-counts.ts'

const seconds = (milliseconds: number) => Math.max(1, Math.ceil(milliseconds / 1_000))

/** Counts attempts in PostgreSQL if instances share it, and in the process otherwise and while PostgreSQL does not respond. */
function attempts<Counters>(make: (client?: SharedCounts['client']) => Counters, shared?: SharedCounts) {
  const local = make()
  if (!shared)
    return () =>
      <Result>(count: (counters: Counters) => Promise<Result>) =>
        count(local)
  const inPostgresql = make(shared.client)
  return () => shared.attempt(inPostgresql, local)
}

export function rateLimiter(quota: Quota, shared?: SharedCounts) {
  const attempt = attempts((client) => new Counter(quota, client), shared)
  return {
    quota,
    async count(key: string, requests = 1) {
      const { exceeded, points, reset } = await attempt()((counter) => counter.consume(key, requests))
      return { exceeded, remaining: exceeded ? 0 : quota.allowed - points, reset: seconds(reset) }
    },
  }
}

/**
 * Limits requests per minute. Users and refreshes are counted per process, because a round trip to PostgreSQL would slow every
 * request, and a refresh token cannot be guessed.
 */
export function requestLimiters(
  allowed: { readonly [Name in 'user' | 'login' | 'register' | 'refresh']: number } | undefined,
  shared?: SharedCounts,
) {
  if (!allowed) return {}
  const window = 60
  return {
    user: rateLimiter({ name: 'user', allowed: allowed.user, window }),
    login: rateLimiter({ name: 'login', allowed: allowed.login, window }, shared),
    register: rateLimiter({ name: 'register', allowed: allowed.register, window }, shared),
    refresh: rateLimiter({ name: 'refresh', allowed: allowed.refresh, window }),
  }
}

/** Seconds for which a network stays known after a login; Node's timers allow about 24 days. */
const KNOWN_FOR = 20 * 24 * 3_600

/** Networks without a failure have one try until the account has this many times the allowed failures. */
const FIRST_TRY_FACTOR = 10

/** Earlier failed logins in the window. */
interface Failures {
  readonly account: number
  readonly network: number
  /** Whether the account has recently logged in from this network. */
  readonly known: boolean
  /** Milliseconds until the window ends. */
  readonly reset: number
}

interface Counters {
  readonly failures: Counter
  readonly known: Counter
}

/** Keys for an account and for an account from one network. They are digests, so they reveal no address. */
interface Keys {
  readonly account: string
  readonly pair: string
}

/**
 * Counts failed logins, and wrong passwords at changes of an account, per account; that also slows down guessing from many
 * networks. The owner is not locked out: a network with a recent login has its own count, and any other network has one try
 * even after too many failures of the account. Refused logins are not counted, so refusals never extend a window.
 */
export class CountingLoginThrottle implements LoginThrottle {
  readonly #allowed: number
  readonly #attempt: ReturnType<typeof attempts<Counters>>

  /** @param window seconds */
  constructor(allowed: number, window: number, shared?: SharedCounts) {
    this.#allowed = allowed
    this.#attempt = attempts(
      (client) => ({
        failures: new Counter({ name: 'failed-login', allowed, window }, client),
        known: new Counter({ name: 'known-origin', allowed: 1, window: KNOWN_FOR }, client),
      }),
      shared,
    )
  }

  async attempt<Result>(
    emailKey: string,
    clientNetwork: string,
    verify: () => Promise<Result>,
    ownsKey: (result: Result) => boolean = () => true,
  ): Promise<Result> {
    const keys = { account: digest(emailKey), pair: digest(emailKey, clientNetwork) }
    const count = this.#attempt()
    this.#refuse(await count((counters) => failuresOf(counters, keys)))
    const result = await verify().catch(async (error) => {
      // A failure beyond the limit is refused as well, or it would differ from a correct guess, which is refused below.
      const failed = error instanceof InvalidCredentials || error instanceof WrongPassword
      if (failed) this.#refuse(await count((counters) => addFailure(counters, keys)))
      throw error
    })
    // Check again: concurrent failures may have reached the limit before this correct guess.
    const { known } = this.#refuse(await count((counters) => failuresOf(counters, keys)))
    if (ownsKey(result)) await count((counters) => recordSuccess(counters, keys, known))
    return result
  }

  /** @throws TooManyRequests */
  #refuse(failures: Failures): Failures {
    const { account, network, known, reset } = failures
    const allowed = this.#allowed
    const mayTry = known
      ? network < allowed
      : account < allowed || (account < FIRST_TRY_FACTOR * allowed && network === 0)
    if (!mayTry) throw new TooManyRequests(seconds(reset))
    return failures
  }
}

async function failuresOf({ failures, known }: Counters, { account, pair }: Keys): Promise<Failures> {
  const [logIn, ofNetwork, ofAccount] = await Promise.all([known.get(pair), failures.get(pair), failures.get(account)])
  return {
    account: ofAccount?.points ?? 0,
    network: ofNetwork?.points ?? 0,
    known: logIn !== undefined,
    reset: (logIn ? ofNetwork : ofAccount)?.reset ?? 0,
  }
}

/** @returns the failures before this one */
async function addFailure({ failures, known }: Counters, { account, pair }: Keys): Promise<Failures> {
  const isKnown = (await known.get(pair)) !== undefined
  const ofNetwork = await failures.add(pair)
  if (isKnown) return { account: 0, network: ofNetwork.points - 1, known: true, reset: ofNetwork.reset }
  const ofAccount = await failures.add(account)
  // Read again: the account may count concurrent failures in another order.
  const network = (await failures.get(pair))?.points ?? ofNetwork.points
  return { account: ofAccount.points - 1, network: network - 1, known: false, reset: ofAccount.reset }
}

/** Marks the network as known and clears its failures; unless it was known before, clears those of the account as well. */
async function recordSuccess({ failures, known }: Counters, { account, pair }: Keys, isKnown: boolean): Promise<void> {
  await Promise.all([failures.delete(pair), !isKnown && failures.delete(account), known.set(pair, 1)])
}

/** For deployments without rate limits. */
export const noLoginThrottle: LoginThrottle = { attempt: (_emailKey, _clientNetwork, verify) => verify() }

const QUARTER_OF_AN_HOUR = 15 * 60

export function loginThrottle(
  allowed: { readonly failedLogins: number } | undefined,
  shared?: SharedCounts,
): LoginThrottle {
  return allowed ? new CountingLoginThrottle(allowed.failedLogins, QUARTER_OF_AN_HOUR, shared) : noLoginThrottle
}

/** Fixed-length key that reveals nothing about its parts. */
function digest(...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64')
}
