import { CompiledQuery, type Kysely, type Transaction } from 'kysely'
import { StoreUnavailable } from '../../domain/errors.ts'
import type { Run } from './prepared-query.ts'
import type { Tables } from './records.ts'

type Work<Result> = (run: Run) => Promise<Result>

export interface Job {
  readonly work: Work<unknown>
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
}

/** Runs jobs and commits them. @returns what to answer each; when it throws, nothing was committed */
export type Commit = (jobs: readonly Job[]) => Promise<readonly (() => void)[]>

/**
 * Durable writes that share an fsync, for each commit waits for the disk. Jobs that wait at the same time are committed
 * together, and answered after that.
 *
 * A job awaits nothing but its own statements, for every other waits for it, and never adds a job.
 */
export class GroupCommit {
  /** Jobs that may wait; one more is refused rather than kept waiting without end. */
  static readonly MOST_WAITING = 10_000
  /** Jobs in one transaction, so that reads are not kept waiting for long. */
  static readonly MOST_AT_ONCE = 200

  readonly #commit: Commit
  readonly #waiting: Job[] = []
  #busy = false

  constructor(commit: Commit) {
    this.#commit = commit
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
      await this.#commitGroup(this.#waiting.splice(0, GroupCommit.MOST_AT_ONCE))
      this.#busy = false
      this.#start()
    })
  }

  async #commitGroup(jobs: readonly Job[]): Promise<void> {
    try {
      for (const answer of await this.#commit(jobs)) answer()
    } catch (error) {
      for (const { reject } of jobs) reject(error)
    }
  }
}

const SAVEPOINT = CompiledQuery.raw('savepoint job')
const RELEASE = CompiledQuery.raw('release job')
const ROLLBACK = CompiledQuery.raw('rollback to job')

/**
 * For SQLite: one after the other in a transaction, each in a savepoint, so that one that fails takes back its own
 * writes and no other's.
 */
export const oneAfterTheOther =
  (kysely: Kysely<Tables>): Commit =>
  (jobs) =>
    kysely.transaction().execute(async (transaction) => {
      const [first, ...others] = jobs
      // The transaction takes back what one alone has written.
      if (first && others.length === 0) return [await answerOf(first, transaction)]
      const answers: (() => void)[] = []
      for (const job of jobs) answers.push(await attempt(job, transaction))
      return answers
    })

async function answerOf({ work, resolve }: Job, transaction: Transaction<Tables>): Promise<() => void> {
  const result = await work((query, values) => query(transaction, values))
  return () => resolve(result)
}

/** @returns what to answer once the group is committed */
async function attempt(job: Job, transaction: Transaction<Tables>): Promise<() => void> {
  const { reject } = job
  await transaction.executeQuery(SAVEPOINT)
  try {
    const answer = await answerOf(job, transaction)
    await transaction.executeQuery(RELEASE)
    return answer
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

const BEGIN = CompiledQuery.raw('begin')
const COMMIT = CompiledQuery.raw('commit')

/**
 * For PostgreSQL, over a connection that nobody else uses: a transaction that is sent as a whole, without waiting for
 * the answer to any statement of it. Jobs are one statement each. When one fails, PostgreSQL takes back them all, and
 * each is done by itself.
 */
export const sentTogether =
  (kysely: Kysely<Tables>): Commit =>
  async (jobs) => {
    const run: Run = (query, values) => query(kysely, values)
    const alone = () => Promise.all(jobs.map((job) => settled(job, run)))
    if (jobs.length === 1) return (await alone()).map(({ answer }) => answer)

    const [begun, outcomes, committed] = await Promise.all([
      outcome(kysely.executeQuery(BEGIN)),
      alone(),
      outcome(kysely.executeQuery(COMMIT)),
    ])
    for (const { error } of [begun, committed]) if (error) throw error
    const final = outcomes.every(({ succeeded }) => succeeded) ? outcomes : await alone()
    return final.map(({ answer }) => answer)
  }

async function settled({ work, resolve, reject }: Job, run: Run) {
  try {
    const result = await work(run)
    return { succeeded: true, answer: () => resolve(result) }
  } catch (error) {
    return { succeeded: false, answer: () => reject(error) }
  }
}

const outcome = (promise: Promise<unknown>): Promise<{ error?: unknown }> =>
  promise.then(
    () => ({}),
    (error) => ({ error }),
  )
