import { availableParallelism } from 'node:os'
import PQueue from 'p-queue'
import type { PasswordHasher, Requester } from '../../domain/accounts/ports.ts'
import { Overloaded } from '../../domain/errors.ts'
import { BcryptPasswordHasher } from './bcrypt-password-hasher.ts'
import { FairQueue, type FairQueueOptions } from './fair-queue.ts'

export interface Bounds {
  /** Hashes computed at a time, 1 or more. */
  readonly concurrency: number
  /** Maximum queue length. A client network may hold half of it. */
  readonly maxWaiting: number
}

/**
 * Keeps a flood of logins from slowing down all other requests: a hash occupies a core and a thread of libuv's pool, so
 * the number of hashes computed at a time is bounded. Client networks are served in turn, so that a flood from a few of
 * them does not make the others wait.
 */
export class BoundedPasswordHasher implements PasswordHasher {
  readonly #hasher: PasswordHasher
  readonly #bounds: Bounds
  #waiting = new FairQueue()
  readonly #queue: PQueue<FairQueue, FairQueueOptions>

  constructor(hasher: PasswordHasher, bounds: Bounds) {
    this.#hasher = hasher
    this.#bounds = bounds
    const keep = (queue: FairQueue) => {
      this.#waiting = queue
    }
    // p-queue creates its queue itself and keeps it private, so capture it here.
    class KeptQueue extends FairQueue {
      constructor() {
        super()
        keep(this)
      }
    }
    this.#queue = new PQueue({ concurrency: bounds.concurrency, queueClass: KeptQueue })
  }

  async hash(password: string, requester: Requester): Promise<string> {
    return this.#inTurn(() => this.#hasher.hash(password, requester), requester)
  }

  async verify(password: string, hash: string | undefined, requester: Requester): Promise<boolean> {
    return this.#inTurn(() => this.#hasher.verify(password, hash, requester), requester)
  }

  isOutdated(hash: string): boolean {
    return this.#hasher.isOutdated(hash)
  }

  load(): { readonly waiting: number; readonly running: number } {
    return { waiting: this.#queue.size, running: this.#queue.pending }
  }

  #inTurn<Result>(work: () => Promise<Result>, { clientNetwork, signal }: Requester): Promise<Result> {
    if (!this.#hasPlaceFor(clientNetwork)) throw new Overloaded()
    // When the signal of a running job aborts, p-queue frees its slot although bcrypt goes on. So the job listens to the
    // signal only until it starts.
    const waiting = new AbortController()
    const giveUp = () => waiting.abort(signal.reason)
    if (signal.aborted) giveUp()
    signal.addEventListener('abort', giveUp, { once: true })
    const start = () => {
      signal.removeEventListener('abort', giveUp)
      return work()
    }
    const evict = () => waiting.abort(new Overloaded())
    return this.#queue.add(start, { clientNetwork, evict, signal: waiting.signal })
  }

  #hasPlaceFor(clientNetwork: string): boolean {
    const { concurrency, maxWaiting } = this.#bounds
    const { pending, size } = this.#queue
    if (pending + size < concurrency) return true
    const held = this.#queue.sizeBy({ clientNetwork })
    if (held >= Math.ceil(maxWaiting / 2)) return false
    return size < maxWaiting || this.#waiting.evictFromLongest(held + 1)
  }
}

/** Keeps one core free for other requests and shares the rest among the processes of the service. */
export function passwordHasher(
  { bcryptRounds, queueLimit }: { readonly bcryptRounds: number; readonly queueLimit: number },
  processes: number,
): BoundedPasswordHasher {
  const concurrency = Math.max(1, Math.floor((availableParallelism() - 1) / processes))
  return new BoundedPasswordHasher(new BcryptPasswordHasher(bcryptRounds), { concurrency, maxWaiting: queueLimit })
}
