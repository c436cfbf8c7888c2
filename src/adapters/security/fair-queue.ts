import type { Queue, QueueAddOptions } from 'p-queue'

type Run = () => Promise<unknown>

export interface FairQueueOptions extends QueueAddOptions {
  readonly clientNetwork: string
  /** Removes the waiting job from the queue. */
  readonly evict: () => void
}

interface Job {
  readonly id: string
  readonly run: Run
  readonly evict: () => void
}

const nothing = () => {}

/** Round-robin queue over client networks; the jobs of one network stay in order. */
export class FairQueue implements Queue<Run, FairQueueOptions> {
  /** The networks with jobs, in the order of their turns. */
  readonly #networks = new Map<string, Job[]>()
  #size = 0

  get size(): number {
    return this.#size
  }

  enqueue(run: Run, { clientNetwork = '', id = '', evict = nothing }: Partial<FairQueueOptions> = {}): void {
    const jobs = this.#networks.get(clientNetwork)
    if (jobs) jobs.push({ id, run, evict })
    else this.#networks.set(clientNetwork, [{ id, run, evict }])
    this.#size++
  }

  dequeue(): Run | undefined {
    const [next] = this.#networks
    if (!next) return undefined
    const [clientNetwork, jobs] = next
    const job = jobs.shift()
    this.#networks.delete(clientNetwork)
    if (jobs.length > 0) this.#networks.set(clientNetwork, jobs)
    this.#size--
    return job?.run
  }

  remove(id: string): void {
    for (const [clientNetwork, jobs] of this.#networks) {
      const index = jobs.findIndex((job) => job.id === id)
      if (index === -1) continue
      jobs.splice(index, 1)
      if (jobs.length === 0) this.#networks.delete(clientNetwork)
      this.#size--
      return
    }
  }

  /** The waiting jobs of a client network. */
  filter({ clientNetwork = '' }: Partial<FairQueueOptions>): Run[] {
    return (this.#networks.get(clientNetwork) ?? []).map(({ run }) => run)
  }

  /** Evicts the newest job of the network with the most jobs, if it has more than `count`. Returns whether it did. */
  evictFromLongest(count: number): boolean {
    let longest: Job[] = []
    for (const jobs of this.#networks.values()) if (jobs.length > longest.length) longest = jobs
    if (longest.length <= count) return false
    longest.at(-1)?.evict()
    return true
  }

  setPriority(): never {
    throw new Error('Jobs have no priorities: client networks are served in turn.')
  }
}
