import type { ListHead, SyncPosition } from '../../domain/tasks/change-feed.ts'
import type { ChangeSignal, ChangeSubscription, TaskRepository } from '../../domain/tasks/ports.ts'

/** Milliseconds between two polls. */
const POLL_INTERVAL = 1_000

interface WatchedList {
  readonly subscriptions: Set<Subscription>
  /** As of the last poll; before the first poll, the position of the first subscription. */
  head: Pick<ListHead, 'epoch' | 'revision'>
}

/**
 * Wakes the subscriptions of this process at once when it commits a change. Changes by other instances are found by a
 * poll, which works on every database and behind every pooler: it reads the heads of all lists with subscriptions by
 * one statement.
 */
export class PollingChangeSignal implements ChangeSignal {
  readonly #tasks: Pick<TaskRepository, 'heads'>
  readonly #interval: number
  readonly #lists = new Map<number, WatchedList>()
  #polling = false

  /** @param interval milliseconds between two polls */
  constructor(tasks: Pick<TaskRepository, 'heads'>, interval = POLL_INTERVAL) {
    this.#tasks = tasks
    this.#interval = interval
  }

  raise(ownerId: number): void {
    for (const subscription of this.#lists.get(ownerId)?.subscriptions ?? []) subscription.wake()
  }

  subscribe(ownerId: number, since: SyncPosition): ChangeSubscription {
    const list = this.#lists.get(ownerId) ?? { subscriptions: new Set(), head: since }
    const subscription = new Subscription(() => {
      list.subscriptions.delete(subscription)
      if (list.subscriptions.size === 0) this.#lists.delete(ownerId)
    })
    list.subscriptions.add(subscription)
    this.#lists.set(ownerId, list)
    if (!this.#polling) this.#pollLater()
    return subscription
  }

  #pollLater(): void {
    this.#polling = this.#lists.size > 0
    if (this.#polling) setTimeout(() => this.#poll(), this.#interval).unref()
  }

  async #poll(): Promise<void> {
    // The next poll repeats a read that fails.
    await this.#compare().catch(() => {})
    this.#pollLater()
  }

  async #compare(): Promise<void> {
    for (const [ownerId, head] of await this.#tasks.heads([...this.#lists.keys()])) {
      const list = this.#lists.get(ownerId)
      if (!list) continue
      const before = list.head
      list.head = head
      if (head.revision !== before.revision || head.epoch !== before.epoch) this.raise(ownerId)
    }
  }
}

class Subscription implements ChangeSubscription {
  readonly #end: () => void
  #changed = false
  #resume: (() => void) | undefined

  constructor(end: () => void) {
    this.#end = end
  }

  wake(): void {
    this.#changed = true
    this.#resume?.()
  }

  async changed(signal: AbortSignal): Promise<void> {
    if (!this.#changed && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const resume = () => resolve()
      this.#resume = resume
      signal.addEventListener('abort', resume)
      await promise
      signal.removeEventListener('abort', resume)
    }
    this.#changed = false
  }

  [Symbol.dispose](): void {
    this.#end()
  }
}
