import { createHash } from 'node:crypto'
import type { LoginThrottle } from '../../domain/accounts/ports.ts'
import { InvalidCredentials, TooManyRequests } from '../../domain/errors.ts'
import { Counter, type Quota } from './counter.ts'
import type { SharedCounts } from './shared-counts.ts'

const seconds = (milliseconds: number) => Math.max(1, Math.ceil(milliseconds / 1_000))

/** Where instances share counts, one attempt counts there or, while PostgreSQL does not answer, in its own process. */
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
    async count(key: string) {
      const { exceeded, points, reset } = await attempt()((counter) => counter.consume(key))
      return { exceeded, remaining: exceeded ? 0 : quota.allowed - points, reset: seconds(reset) }
    },
  }
}

/** Seconds for which a network is known as the account's own; a timer of Node can't be set for much longer. */
const KNOWN_FOR = 20 * 24 * 3_600

/** So many times what is allowed, networks that have not failed yet may still try; more of them are one guesser's. */
const FIRST_TRIES = 10

/** Failed logins of a window, those before the one in question. */
interface Failures {
  readonly account: number
  readonly network: number
  /** Whether the account has logged in from there lately. */
  readonly known: boolean
  /** Milliseconds until it ends. */
  readonly reset: number
}

interface Counters {
  readonly failures: Counter
  readonly known: Counter
}

/** An account, and the same account from one network: keys from which no address can be read. */
interface Keys {
  readonly account: string
  readonly pair: string
}

/**
 * Counts failed logins by account, so that guessing from many addresses is slow as well, and can't keep the owner out:
 * a network from which the account has logged in lately has a count of its own, and any other one still has a first try
 * when there were too many. What is refused is not counted, so a window ends at its time.
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

  async attempt<Result>(email: string, clientNetwork: string, logIn: () => Promise<Result>): Promise<Result> {
    const keys = { account: digest(email), pair: digest(email, clientNetwork) }
    const count = this.#attempt()
    this.#refuse(await count((counters) => failuresOf(counters, keys)))
    const answer = await logIn().catch(async (error) => {
      // A late correct guess must be indistinguishable.
      if (error instanceof InvalidCredentials) this.#refuse(await count((counters) => addFailure(counters, keys)))
      throw error
    })
    // Of guesses at the same time the first few count as well: the right one may be among those that came too late.
    const { known } = this.#refuse(await count((counters) => failuresOf(counters, keys)))
    await count((counters) => forgive(counters, keys, known))
    return answer
  }

  /** @throws TooManyRequests */
  #refuse(failures: Failures): Failures {
    const { account, network, known, reset } = failures
    const allowed = this.#allowed
    const mayTry = known ? network < allowed : account < allowed || (account < FIRST_TRIES * allowed && network === 0)
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
  const { points, reset } = isKnown ? ofNetwork : await failures.add(account)
  return { account: points - 1, network: ofNetwork.points - 1, known: isKnown, reset }
}

/** Failures of the account from other networks stay when the login came from a known one. */
async function forgive({ failures, known }: Counters, { account, pair }: Keys, isKnown: boolean): Promise<void> {
  await Promise.all([failures.delete(pair), !isKnown && failures.delete(account), known.set(pair, 1)])
}

/** For who limits elsewhere, or not at all. */
export const noLoginThrottle: LoginThrottle = { attempt: (_email, _origin, logIn) => logIn() }

/** Of one length, and no address can be read from it. */
function digest(...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64')
}
