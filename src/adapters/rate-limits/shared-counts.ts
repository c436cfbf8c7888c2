/** The part of `pg.Pool` used here. */
export interface Queryable {
  /** @param statement its `query_timeout` in milliseconds */
  query(statement: {
    readonly text: string
    readonly values: unknown[]
    readonly query_timeout?: number
  }): Promise<{ readonly rows: unknown[] }>
}

/** Times in milliseconds. */
export interface Timing {
  /** Maximum time for all counts of one attempt. A login makes two attempts: its request and its failures. */
  readonly timeout: number
  /** Time for which the circuit stays open and each process counts for itself. */
  readonly pause: number
  /** A monotonic clock. */
  readonly now: () => number
}

const TIMING: Timing = { timeout: 1_000, pause: 5_000, now: () => performance.now() }

/** Milliseconds. Exceeds the server's lock_timeout, which ends a statement but keeps its connection. */
const QUERY_TIMEOUT = 3_000

/** The table of the counters, which a migration of the store creates. */
interface Place {
  readonly table: string
  /** Without one, the search path of each session decides. */
  readonly schema?: string | undefined
}

type Count<Counters, Result> = (counters: Counters) => Promise<Result>

/** Counts shared in PostgreSQL behind a circuit breaker, so that logins do not wait while PostgreSQL does not respond. */
export class SharedCounts {
  readonly #unavailable: (error: unknown) => void
  readonly #timing: Timing
  /** Drops the statement names of rate-limiter-flexible, because a pooler may forget prepared statements. */
  readonly client: Place & {
    query(statement: { readonly text: string; readonly values: unknown[] }): ReturnType<Queryable['query']>
  }
  /** Set while the circuit is open. */
  #retryAt: number | undefined

  /** @param unavailable called each time the circuit opens, because limits are looser while it is open */
  constructor(
    pool: Queryable,
    unavailable: (error: unknown) => void,
    { table, schema, ...timing }: Place & Partial<Timing>,
  ) {
    this.#unavailable = unavailable
    this.#timing = { ...TIMING, ...timing }
    this.client = {
      table,
      schema,
      query: ({ text, values }) => pool.query({ text, values, query_timeout: QUERY_TIMEOUT }),
    }
  }

  /**
   * @returns a function that counts for one attempt: with the shared counters, or with the local ones after a timeout or
   * while the circuit is open
   */
  attempt<Counters>(shared: Counters, local: Counters) {
    const { now } = this.#timing
    let remaining = this.#timing.timeout
    return async <Result>(count: Count<Counters, Result>): Promise<Result> => {
      if (!this.#maySend()) return count(local)
      const start = now()
      try {
        const result = await withTimeout(count(shared), remaining)
        this.#retryAt = undefined
        return result
      } catch (error) {
        this.#open(error)
        return count(local)
      } finally {
        remaining -= now() - start
      }
    }
  }

  /** While the circuit is open, one attempt after each pause probes PostgreSQL. */
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
  const timer = setTimeout(() => reject(new Error('PostgreSQL did not respond in time')), Math.max(0, milliseconds))
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
