import { availableParallelism } from 'node:os'
import PQueue from 'p-queue'
import type { PasswordHasher, PasswordMatch, Requester } from '../../domain/accounts/ports.ts'
import { Overloaded } from '../../domain/errors.ts'
import { BcryptPasswordHasher } from './bcrypt-password-hasher.ts'
import { FairQueue, type FairQueueOptions } from './fair-queue.ts'

type Client = Pick<Requester, 'clientNetwork' | 'signal'>

export interface Bounds {
  /** Maximum number of hashes computed at a time, 1 or more. */
  readonly concurrency: number
  /** Maximum queue length; a client network may hold half of the places. */
  readonly maxWaiting: number
}

/**
 * Keeps a flood of logins from slowing down all other requests: a hash occupies a core and a thread of libuv's pool, so the
 * number of hashes computed at a time is bounded. Client networks are served in turn, so a flood from a few of them does not
 * delay the others.
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
    // p-queue creates its queue itself and keeps it private, so the constructor captures it.
    class CapturedQueue extends FairQueue {
      constructor() {
        super()
        keep(this)
      }
    }
    this.#queue = new PQueue({ concurrency: bounds.concurrency, queueClass: CapturedQueue })
  }

  async hash(password: string, requester: Client): Promise<string> {
    return this.#enqueue(() => this.#hasher.hash(password, requester), requester)
  }

  async verify(password: string, hash: string | undefined, requester: Client): Promise<PasswordMatch> {
    return this.#enqueue(() => this.#hasher.verify(password, hash, requester), requester)
  }

  load(): { readonly waiting: number; readonly running: number } {
    return { waiting: this.#queue.size, running: this.#queue.pending }
  }

  #enqueue<Result>(work: () => Promise<Result>, { clientNetwork, signal }: Client): Promise<Result> {
    if (!this.#hasRoomFor(clientNetwork)) throw new Overloaded()
    // p-queue frees the slot of a running job whose signal aborts, although bcrypt continues. So the client's
    // signal applies only while the job waits.
    const waiting = new AbortController()
    const leaveQueue = () => waiting.abort(signal.reason)
    if (signal.aborted) leaveQueue()
    signal.addEventListener('abort', leaveQueue, { once: true })
    const start = () => {
      signal.removeEventListener('abort', leaveQueue)
      return work()
    }
    const evict = () => waiting.abort(new Overloaded())
    return this.#queue.add(start, { clientNetwork, evict, signal: waiting.signal })
  }

  #hasRoomFor(clientNetwork: string): boolean {
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
