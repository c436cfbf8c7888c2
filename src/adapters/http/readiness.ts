import { setTimeout as delay } from 'node:timers/promises'
import type { Store } from '../../domain/ports.ts'
import { HttpError } from './problems.ts'

/** Whether requests can be served: not any more once the service stops, and not while the store can't answer. */
export class Readiness {
  readonly #store: Store
  readonly #deadline: number
  #stopping = false

  /** @param deadline milliseconds for the store to answer */
  constructor(store: Store, deadline = 2_000) {
    this.#store = store
    this.#deadline = deadline
  }

  get stopping(): boolean {
    return this.#stopping
  }

  stop(): void {
    this.#stopping = true
  }

  /**
   * @throws StoreUnavailable
   * @throws HttpError `store_too_slow` or `shutting_down`
   */
  async check(): Promise<void> {
    if (this.#stopping) throw new HttpError('shutting_down')
    const deadline = new AbortController()
    const late = delay(this.#deadline, true, { signal: deadline.signal }).catch(() => false)
    try {
      if (await Promise.race([this.#store.ping().then(() => false), late])) throw new HttpError('store_too_slow')
    } finally {
      deadline.abort()
    }
  }
}
