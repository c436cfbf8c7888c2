import { enforce, wholeNumber } from '../rules.ts'
import { type ChangePage, checkPosition, type SyncPosition } from './change-feed.ts'
import type { ChangeSignal, TaskRepository } from './ports.ts'

export const CHANGES_LIMIT = { min: 1, max: 1_000, default: 200 }

interface Needs {
  readonly tasks: TaskRepository
  readonly changeSignal: ChangeSignal
}

interface Wait {
  /** Ends the wait, for example after some seconds or when the client leaves. */
  readonly signal: AbortSignal
}

interface CheckedWait extends Wait {
  /** Called after each wait; rejects when the owner may no longer read. */
  readonly recheck?: () => Promise<void>
}

/** Keeps replicas of an owner's list up to date. */
export class SyncTasks {
  readonly #ports: Needs

  constructor(ports: Needs) {
    this.#ports = ports
  }

  /**
   * The changes after a position; without one, the whole list.
   *
   * @throws InvalidInput
   * @throws SyncExpired
   */
  async changes(ownerId: number, since?: SyncPosition, limit = CHANGES_LIMIT.default): Promise<ChangePage> {
    enforce({ limit: wholeNumber(CHANGES_LIMIT.min, CHANGES_LIMIT.max) }, { limit })
    return this.#ports.tasks.changes(ownerId, since, limit)
  }

  /**
   * The position to start from: the given one, or that of the last change.
   *
   * @throws SyncExpired
   */
  async position(ownerId: number, since?: SyncPosition): Promise<SyncPosition> {
    const head = await this.#ports.tasks.head(ownerId)
    if (since) checkPosition(since, head)
    return since ?? { epoch: head.epoch, revision: head.revision }
  }

  /**
   * The changes after a position, as they come, until the signal aborts. A page after a wait may be empty: the caller checks
   * then whether the owner may still follow.
   *
   * @throws InvalidInput
   * @throws SyncExpired
   */
  async *follow(
    ownerId: number,
    since: SyncPosition,
    { signal }: Wait,
    limit?: number,
  ): AsyncGenerator<ChangePage, void, void> {
    // Subscribing first loses no change between the read and the wait.
    using subscription = this.#ports.changeSignal.subscribe(ownerId, since)
    let position = since
    let hasWaited = false
    while (!signal.aborted) {
      const page = await this.changes(ownerId, position, limit)
      position = page.next
      if (hasWaited || page.items.length + page.deleted.length > 0) yield page
      if (page.hasMore) continue
      await subscription.changed(signal)
      hasWaited = true
    }
  }

  /**
   * As `changes`, but waits for a change where there is none. Without a change, it returns an empty page when the signal
   * aborts.
   *
   * @throws InvalidInput
   * @throws SyncExpired
   */
  async nextChanges(
    ownerId: number,
    since: SyncPosition,
    { signal, recheck }: CheckedWait,
    limit?: number,
  ): Promise<ChangePage> {
    const { changeSignal } = this.#ports
    // Subscribing first loses no change between the read and the wait.
    using subscription = changeSignal.subscribe(ownerId, since)
    for (;;) {
      const page = await this.changes(ownerId, since, limit)
      if (page.items.length + page.deleted.length > 0 || signal.aborted) return page
      await subscription.changed(signal)
      await recheck?.()
    }
  }
}
