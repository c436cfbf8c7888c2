/** A pool of `pg`, or what behaves like one. */
export interface Queryable {
  /** @param statement its `query_timeout` in milliseconds */
  query(statement: {
    readonly text: string
    readonly values: unknown[]
    readonly query_timeout?: number
  }): Promise<{ readonly rows: unknown[] }>
}

/** In milliseconds. */
export interface Timing {
  /** How long the counts of one attempt may take in total. A login has two of them: its request, and its failures. */
  readonly patience: number
  /** How long each process counts by itself before it tries PostgreSQL again. */
  readonly pause: number
  /** Of a clock that is never set. */
  readonly now: () => number
}

const TIMING: Timing = { patience: 1_000, pause: 5_000, now: () => performance.now() }

/** Milliseconds; longer than the server's lock_timeout, which ends a statement without its connection. */
const QUERY_TIMEOUT = 3_000

/** Counts with the counters that it is given. */
type Count<Counters, Result> = (counters: Counters) => Promise<Result>

/** Counts that instances share in PostgreSQL, behind a circuit breaker: while it does not answer, logins do not wait for it. */
export class SharedCounts {
  readonly #pool: Queryable
  readonly #unavailable: (error: unknown) => void
  readonly #timing: Timing
  /** Set while the circuit is open. */
  #retryAt: number | undefined

  /** @param unavailable is called once each time the circuit opens: limits are looser then, and nothing else shows it */
  constructor(pool: Queryable, unavailable: (error: unknown) => void, timing: Partial<Timing> = {}) {
    this.#pool = pool
    this.#unavailable = unavailable
    this.#timing = { ...TIMING, ...timing }
  }

  /** For the library that counts. Without the names that it gives to statements: a pooler may forget them. */
  readonly client = {
    query: ({ text, values }: { text: string; values: unknown[] }) =>
      this.#pool.query({ text, values, query_timeout: QUERY_TIMEOUT }),
  }

  /**
   * @returns a function for the counts of one attempt. It uses the shared counters, or the local ones when these do not
   * answer before the attempt's patience ends or have not answered lately.
   */
  attempt<Counters>(shared: Counters, local: Counters) {
    const { now } = this.#timing
    let patience = this.#timing.patience
    return async <Result>(count: Count<Counters, Result>): Promise<Result> => {
      if (!this.#maySend()) return count(local)
      const start = now()
      try {
        const result = await withTimeout(count(shared), patience)
        this.#retryAt = undefined
        return result
      } catch (error) {
        this.#open(error)
        return count(local)
      } finally {
        patience -= now() - start
      }
    }
  }

  /** With an open circuit one attempt after each pause finds out for all. */
  #maySend(): boolean {
    const { now, pause } = this.#timing
    if (this.#retryAt === undefined) return true
    if (now() < this.#retryAt) return false
    this.#retryAt = now() + pause
    return true
  }

  #open(error: unknown): void {
    const { now, pause } = this.#timing
    if (this.#retryAt === undefined) this.#unavailable(error)
    this.#retryAt = now() + pause
  }
}

async function withTimeout<Result>(work: Promise<Result>, milliseconds: number): Promise<Result> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error('PostgreSQL does not answer in time')), Math.max(0, milliseconds))
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
