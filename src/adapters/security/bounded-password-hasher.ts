import PQueue from 'p-queue'
import { Overloaded } from '../../domain/errors.ts'
import type { PasswordHasher } from '../../domain/ports.ts'

export interface Bounds {
  /** Hashes computed at the same time, 1 or more. */
  readonly concurrency: number
  /** Hashes that may wait for their turn; one more is refused. */
  readonly mostWaiting: number
}

/**
 * Keeps a flood of logins from everybody else: a hash takes a core and a thread of libuv's pool for as long as it
 * lasts, so only some are computed at a time, and only some may wait.
 */
export class BoundedPasswordHasher implements PasswordHasher {
  readonly #hasher: PasswordHasher
  /** Running or waiting. */
  readonly #mostAtOnce: number
  readonly #queue: PQueue

  constructor(hasher: PasswordHasher, { concurrency, mostWaiting }: Bounds) {
    this.#hasher = hasher
    this.#mostAtOnce = concurrency + mostWaiting
    this.#queue = new PQueue({ concurrency })
  }

  /** @throws Overloaded */
  async hash(password: string): Promise<string> {
    return this.#inTurn(() => this.#hasher.hash(password))
  }

  /** @throws Overloaded */
  async verify(password: string, hash: string | undefined): Promise<boolean> {
    return this.#inTurn(() => this.#hasher.verify(password, hash))
  }

  load(): { readonly waiting: number; readonly running: number } {
    return { waiting: this.#queue.size, running: this.#queue.pending }
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#queue.pending + this.#queue.size >= this.#mostAtOnce) throw new Overloaded()
    return this.#queue.add(work)
  }
}
