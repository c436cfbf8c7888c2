import { enforce, wholeNumber } from '../rules.ts'
import type { ChangePage, SyncPosition } from './change-feed.ts'
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
   * As `changes`, but waits for a change where there is none. Without a change, it returns an empty page when the signal
   * aborts.
   *
   * @throws InvalidInput
   * @throws SyncExpired
   */
  async nextChanges(ownerId: number, since: SyncPosition, { signal }: Wait, limit?: number): Promise<ChangePage> {
    const { changeSignal } = this.#ports
    // Subscribing first loses no change between the read and the wait.
    using subscription = changeSignal.subscribe(ownerId)
    for (;;) {
      const page = await this.changes(ownerId, since, limit)
      if (page.items.length + page.deleted.length > 0 || signal.aborted) return page
      await subscription.changed(signal)
    }
  }
}
