import { setTimeout as delay } from 'node:timers/promises'
import { HttpError } from './endpoint/problems.ts'

/** The store behind the repositories. */
export interface HealthCheck {
  /** @throws StoreUnavailable when the store does not respond */
  ping(): Promise<void>
  /**
   * Whether the schema has what this release needs; absent if the service has migrated the schema. Rejects if the schema
   * cannot be checked.
   */
  upToDate?(): Promise<boolean>
}

/** Milliseconds between two checks of the schema. */
const SCHEMA_INTERVAL = 5_000

/** Whether the instance can serve requests: the store responds, its schema is current, and shutdown has not begun. */
export class Readiness {
  readonly #health: HealthCheck
  readonly #deadline: number
  readonly #shutdown = new AbortController()
  #schemaCheck: Promise<boolean> | undefined

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
   * @throws HttpError `store_too_slow`, `schema_outdated` or `shutting_down`
   */
  async check(): Promise<void> {
    if (this.stopping) throw new HttpError('shutting_down')
    const deadline = new AbortController()
    const late = delay(this.#deadline, true, { signal: deadline.signal }).catch(() => false)
    try {
      if (await Promise.race([this.#checkStore(), late])) throw new HttpError('store_too_slow')
    } finally {
      deadline.abort()
    }
  }

  async #checkStore(): Promise<void> {
    this.#schemaCheck ??= this.#checkSchema()
    if (!(await this.#schemaCheck)) throw new HttpError('schema_outdated')
    await this.#health.ping()
  }

  /** A current schema is not checked again. One that cannot be checked passes: the role may lack the permission. */
  async #checkSchema(): Promise<boolean> {
    if (!this.#health.upToDate) return true
    const current = await this.#health.upToDate().catch(() => undefined)
    if (current !== true)
      setTimeout(() => {
        this.#schemaCheck = undefined
      }, SCHEMA_INTERVAL).unref()
    return current !== false
  }
}
