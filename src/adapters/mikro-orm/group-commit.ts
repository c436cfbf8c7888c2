import { CompiledQuery, type Kysely, type Transaction } from 'kysely'
import { StoreUnavailable } from '../../domain/errors.ts'
import type { Run } from './prepared-query.ts'
import type { Tables } from './records.ts'

type Work<Result> = (run: Run) => Promise<Result>

interface Job {
  readonly work: Work<unknown>
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
}

const SAVEPOINT = CompiledQuery.raw('savepoint job')
const RELEASE = CompiledQuery.raw('release job')
const ROLLBACK = CompiledQuery.raw('rollback to job')

/**
 * Durable writes that share an fsync: SQLite commits one transaction at a time, and each commit waits for the disk.
 * Jobs that wait at the same time run in one transaction, one after the other, and are answered after its commit.
 * Each has a savepoint of its own, so that one that fails takes back its own writes and no other's.
 *
 * A job awaits nothing but its own statements, for every other waits for it, and never adds a job.
 */
export class GroupCommit {
  /** Jobs that may wait; one more is refused rather than kept waiting without end. */
  static readonly MOST_WAITING = 10_000
  /** Jobs in one transaction, so that reads are not kept waiting for long. */
  static readonly MOST_AT_ONCE = 200

  readonly #kysely: Kysely<Tables>
  readonly #waiting: Job[] = []
  #busy = false

  constructor(kysely: Kysely<Tables>) {
    this.#kysely = kysely
  }

  /** @throws StoreUnavailable when too many wait already */
  add<Result>(work: Work<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length >= GroupCommit.MOST_WAITING) {
        reject(new StoreUnavailable(new Error('too many writes are waiting')))
        return
      }
      this.#waiting.push({ work, resolve: resolve as Job['resolve'], reject })
      this.#start()
    })
  }

  /** After the sockets that are ready were read: earlier, there would be one job in each group. */
  #start(): void {
    if (this.#busy || this.#waiting.length === 0) return
    this.#busy = true
    setImmediate(async () => {
      await this.#commit(this.#waiting.splice(0, GroupCommit.MOST_AT_ONCE))
      this.#busy = false
      this.#start()
    })
  }

  async #commit(jobs: readonly Job[]): Promise<void> {
    try {
      const answers = await this.#kysely.transaction().execute(async (transaction) => {
        const answers: (() => void)[] = []
        for (const job of jobs) answers.push(await attempt(job, transaction))
        return answers
      })
      for (const answer of answers) answer()
    } catch (error) {
      for (const { reject } of jobs) reject(error)
    }
  }
}

/** @returns what to answer once the group is committed */
async function attempt({ work, resolve, reject }: Job, transaction: Transaction<Tables>): Promise<() => void> {
  await transaction.executeQuery(SAVEPOINT)
  try {
    const result = await work((query, values) => query(transaction, values))
    await transaction.executeQuery(RELEASE)
    return () => resolve(result)
  } catch (error) {
    try {
      await transaction.executeQuery(ROLLBACK)
      await transaction.executeQuery(RELEASE)
    } catch {
      // SQLite took back the whole group by itself, as it may when the disk is full: no other job is to blame.
      reject(error)
      throw new StoreUnavailable(error)
    }
    return () => reject(error)
  }
}
