import { StoreUnavailable } from '../../domain/errors.ts'

export interface Job<Work> {
  readonly work: Work
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
}

/** @returns what to tell each job once all are done; when it throws, none was */
export type RunBatch<Work> = (jobs: readonly Job<Work>[]) => (() => void)[] | Promise<(() => void)[]>

/**
 * Work that waits at the same time is done together and answered after that, for what it costs to begin and to end is
 * paid once: an fsync, the locks of a file, a packet.
 */
export class Batches<Work> {
  /** Jobs that may wait; one more is refused rather than kept waiting without end. */
  static readonly MOST_WAITING = 10_000
  /** Jobs in one batch, so that everything else gets its turn. */
  static readonly MOST_AT_ONCE = 200

  readonly #run: RunBatch<Work>
  readonly #waiting: Job<Work>[] = []
  readonly #mostRunning: number
  #running = 0
  #unanswered = 0
  #starting = false

  /** @param mostRunning batches that are under way at a time */
  constructor(run: RunBatch<Work>, mostRunning = 1) {
    this.#run = run
    this.#mostRunning = mostRunning
  }

  /** Jobs that wait, and those that are under way. */
  get unanswered(): number {
    return this.#unanswered
  }

  /** @throws StoreUnavailable when too many wait already */
  add(work: Work): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length >= Batches.MOST_WAITING) {
        reject(new StoreUnavailable(new Error('too many statements are waiting')))
        return
      }
      this.#waiting.push({ work, resolve, reject })
      this.#unanswered++
      this.#start()
    })
  }

  /** After the sockets that are ready were read: earlier, there would be one job in each batch. */
  #start(): void {
    if (this.#starting || this.#running === this.#mostRunning || this.#waiting.length === 0) return
    this.#starting = true
    setImmediate(async () => {
      this.#starting = false
      this.#running++
      const done = this.#do(this.#waiting.splice(0, Batches.MOST_AT_ONCE))
      this.#start()
      await done
      this.#running--
      this.#start()
    })
  }

  async #do(jobs: readonly Job<Work>[]): Promise<void> {
    try {
      for (const answer of await this.#run(jobs)) answer()
    } catch (error) {
      for (const { reject } of jobs) reject(error)
    } finally {
      this.#unanswered -= jobs.length
    }
  }
}
