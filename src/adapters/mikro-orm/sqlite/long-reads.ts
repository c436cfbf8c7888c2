import { setImmediate as nextTurn } from 'node:timers/promises'
import type BetterSqlite3 from 'better-sqlite3'
import { StoreUnavailable } from '../../../domain/errors.ts'
import { Batcher } from '../group-commit.ts'
import type { Steps } from '../store.ts'
import { type Run, runner } from './sqlite-run.ts'

interface Connection {
  readonly database: BetterSqlite3.Database
  readonly run: Run
}

/**
 * Runs reads of many statements, each read on a snapshot of its own. Owners take turns, because a read waits for a connection
 * only after the previous read of its owner has ended.
 */
export class LongReads {
  readonly #idle: Connection[]
  readonly #waiting: ((connection: Connection) => void)[] = []
  readonly #lastOf = new Map<number, Promise<unknown>>()
  #lastTurn = Promise.resolve()
  #pending = 0

  /** @param connections one for each read that may run concurrently */
  constructor(connections: readonly BetterSqlite3.Database[]) {
    this.#idle = connections.map((database) => ({ database, run: runner(database) }))
  }

  /** The number of reads that wait or run. */
  get pending(): number {
    return this.#pending
  }

  /** @throws StoreUnavailable when too many reads wait */
  async add(owner: number, steps: Steps<unknown>): Promise<unknown> {
    if (this.#pending >= Batcher.MAX_WAITING) throw new StoreUnavailable(new Error('too many reads are waiting'))
    const result = this.#runAfter(this.#lastOf.get(owner), steps)
    this.#lastOf.set(owner, result)
    this.#pending++
    try {
      return await result
    } finally {
      this.#pending--
      if (this.#lastOf.get(owner) === result) this.#lastOf.delete(owner)
    }
  }

  async #runAfter(previous: Promise<unknown> | undefined, steps: Steps<unknown>): Promise<unknown> {
    await previous?.catch(() => {})
    const connection = await this.#acquire()
    const { database, run } = connection
    try {
      database.exec('begin')
      return await steps(async (query) => {
        await this.#ownTurn()
        return run(query)
      })
    } finally {
      this.#release(connection)
      if (database.inTransaction) database.exec('rollback')
    }
  }

  async #acquire(): Promise<Connection> {
    return this.#idle.pop() ?? new Promise((resolve) => this.#waiting.push(resolve))
  }

  #release(connection: Connection): void {
    const next = this.#waiting.shift()
    if (next) next(connection)
    else this.#idle.push(connection)
  }

  /** Waits for a turn without a statement of another long read, so that the event loop serves other requests in between. */
  #ownTurn(): Promise<void> {
    this.#lastTurn = this.#lastTurn.then(() => nextTurn())
    return this.#lastTurn
  }
}
