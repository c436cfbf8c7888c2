import { IdempotencyKeyInUse } from '../errors.ts'

/** A key that a client gives a request, so that it can repeat the request if the response was lost. */
export interface IdempotencyKey {
  /** The kind of request; each kind has keys of its own. */
  readonly scope: string
  readonly key: string
  /** Digest of the input, which a repeated request shares. */
  readonly fingerprint: string
}

/** The result of a request, or that of the earlier request which it repeats. */
export interface Repeatable<Result> {
  readonly result: Result
  readonly replayed: boolean
}

/** Milliseconds for which the result of a request with a key is kept. */
export const KEY_LIFETIME = 24 * 60 * 60 * 1_000

/** Milliseconds that a request waits for an earlier one with the same key. */
const MAX_WAIT = 2_000

/** The requests of this process that have a key: those with the same key run one after the other. */
export class KeysInFlight {
  readonly #inFlight = new Map<string, Promise<unknown>>()
  readonly #maxWait: number

  /** @param maxWait milliseconds */
  constructor(maxWait = MAX_WAIT) {
    this.#maxWait = maxWait
  }

  /** @throws IdempotencyKeyInUse when an earlier request does not end in time */
  async run<Result>(ownerId: number, { scope, key }: IdempotencyKey, request: () => Promise<Result>): Promise<Result> {
    const id = `${ownerId} ${scope} ${key}`
    if (this.#inFlight.has(id)) await this.#turn(id)
    const running = request()
    this.#inFlight.set(id, running)
    try {
      return await running
    } finally {
      this.#inFlight.delete(id)
    }
  }

  async #turn(id: string): Promise<void> {
    const { promise: timedOut, reject } = Promise.withResolvers<never>()
    const signal = AbortSignal.timeout(this.#maxWait)
    signal.addEventListener('abort', () => reject(new IdempotencyKeyInUse()))
    for (;;) {
      const earlier = this.#inFlight.get(id)
      if (!earlier) return
      await Promise.race([earlier.catch(() => {}), timedOut])
    }
  }
}
