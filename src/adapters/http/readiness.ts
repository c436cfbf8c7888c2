import { setTimeout as delay } from 'node:timers/promises'
import { HttpError } from './endpoint/problems.ts'

/** The store behind the repositories. */
export interface HealthCheck {
  /** @throws StoreUnavailable when the store does not respond */
  ping(): Promise<void>
}

/** Whether the instance can serve requests: the store responds, and shutdown has not begun. */
export class Readiness {
  readonly #health: HealthCheck
  readonly #deadline: number
  readonly #shutdown = new AbortController()

  /** @param deadline milliseconds for the store to respond */
  constructor(health: HealthCheck, deadline = 2_000) {
    this.#health = health
    this.#deadline = deadline
  }

  get stopping(): boolean {
    return this.shutdown.aborted
  }

  /** Aborts when shutdown begins. */
  get shutdown(): AbortSignal {
    return this.#shutdown.signal
  }

  stop(): void {
    this.#shutdown.abort()
  }

  /**
   * @throws StoreUnavailable
   * @throws HttpError `store_too_slow` or `shutting_down`
   */
  async check(): Promise<void> {
    if (this.stopping) throw new HttpError('shutting_down')
    const deadline = new AbortController()
    const late = delay(this.#deadline, true, { signal: deadline.signal }).catch(() => false)
    try {
      if (await Promise.race([this.#health.ping().then(() => false), late])) throw new HttpError('store_too_slow')
    } finally {
      deadline.abort()
    }
  }
}
