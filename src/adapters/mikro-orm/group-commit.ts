import { StoreUnavailable } from '../../domain/errors.ts'
import { oncePerTurn } from '../../once-per-turn.ts'

/** Runs jobs together, and returns their outcomes in order once all are done. If it throws, no job was done. */
export type RunGroup<Job> = (jobs: readonly Job[]) => Settled[] | Promise<Settled[]>

export type Settled = PromiseSettledResult<unknown>

/** Returns a predicate that decides, for each waiting job in order, whether it may join the next group. */
export type Admission<Job> = (inFlight: readonly Job[]) => (job: Job) => boolean

export interface GroupOptions<Job> {
  /** Maximum number of groups that run at a time; 1 by default. */
  readonly maxGroups?: number
  readonly admission?: Admission<Job>
  /** Whether more jobs are likely to be added within the turn. If so, a group waits for them. */
  readonly expectsMore?: () => boolean
}

interface Waiting<Job> {
  readonly job: Job
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
}

/**
 * Group commit: jobs that wait at the same time share one transaction and resolve after its commit, so that fsync, file locks
 * and round trips are paid once.
 */
export class Batcher<Job> {
  /** Maximum queue length; further jobs are refused. */
  static readonly MAX_WAITING = 10_000
  /** Maximum number of jobs in a group, which bounds the time that a group occupies the event loop. */
  static readonly MAX_GROUP_SIZE = 200

  readonly #run: RunGroup<Job>
  #waiting: Waiting<Job>[] = []
  readonly #maxGroups: number
  readonly #admission: Admission<Job> | undefined
  readonly #expectsMore: () => boolean
  readonly #groups = new Set<readonly Waiting<Job>[]>()
  #pending = 0
  #hasWaited = false

  constructor(run: RunGroup<Job>, { maxGroups = 1, admission, expectsMore = () => false }: GroupOptions<Job> = {}) {
    this.#run = run
    this.#maxGroups = maxGroups
    this.#admission = admission
    this.#expectsMore = expectsMore
  }

  /** The number of jobs that wait or run. */
  get pending(): number {
    return this.#pending
  }

  /** @throws StoreUnavailable when too many jobs wait */
  add(job: Job): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length >= Batcher.MAX_WAITING) {
        reject(new StoreUnavailable(new Error('too many statements are waiting')))
        return
      }
      this.#waiting.push({ job, resolve, reject })
      this.#pending++
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#groups.size < this.#maxGroups && this.#waiting.length > 0) this.#scheduleStart()
  }

  readonly #scheduleStart = oncePerTurn(() => {
    // At most one turn: more jobs could be expected in every turn.
    this.#hasWaited = !this.#hasWaited && this.#expectsMore()
    if (this.#hasWaited) this.#scheduleStart()
    else void this.#start()
  })

  async #start(): Promise<void> {
    const group = this.#take()
    if (group.length === 0) return
    this.#groups.add(group)
    const done = this.#settle(group)
    this.#schedule()
    await done
    this.#groups.delete(group)
    this.#schedule()
  }

  #take(): Waiting<Job>[] {
    if (!this.#admission) return this.#waiting.splice(0, Batcher.MAX_GROUP_SIZE)
    const admits = this.#admission(Array.from(this.#groups).flatMap((group) => group.map(({ job }) => job)))
    const group: Waiting<Job>[] = []
    const others: Waiting<Job>[] = []
    for (const each of this.#waiting) {
      if (group.length < Batcher.MAX_GROUP_SIZE && admits(each.job)) group.push(each)
      else others.push(each)
    }
    this.#waiting = others
    return group
  }

  async #settle(group: readonly Waiting<Job>[]): Promise<void> {
    try {
      const outcomes = await this.#run(group.map(({ job }) => job))
      for (const [index, { resolve, reject }] of group.entries()) {
        const outcome = outcomes[index] as Settled
        if (outcome.status === 'fulfilled') resolve(outcome.value)
        else reject(outcome.reason)
      }
    } catch (error) {
      for (const { reject } of group) reject(error)
    } finally {
      this.#pending -= group.length
    }
  }
}

export const fulfilled = (value: unknown): Settled => ({ status: 'fulfilled', value })

export const rejected = (reason: unknown): PromiseRejectedResult => ({ status: 'rejected', reason })
