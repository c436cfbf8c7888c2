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
  /** Called with each read after the first; rejects when the owner may no longer read. */
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
   * The changes after a position, as they come, until the signal aborts.
   *
   * @throws InvalidInput
   * @throws SyncExpired
   */
  async *follow(
    ownerId: number,
    since: SyncPosition,
    { signal, recheck }: Wait,
    limit?: number,
  ): AsyncGenerator<ChangePage, void, void> {
    // Subscribe first, so that no change between the read and the wait is lost.
    using subscription = this.#ports.changeSignal.subscribe(ownerId, since)
    let page = await this.changes(ownerId, since, limit)
    while (!signal.aborted) {
      if (!isEmpty(page)) yield page
      if (!page.hasMore) await subscription.changed(signal)
      if (signal.aborted) return
      ;[page] = await Promise.all([this.changes(ownerId, page.next, limit), recheck?.()])
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
    { signal, recheck }: Wait,
    limit?: number,
  ): Promise<ChangePage> {
    // Subscribe first, so that no change between the read and the wait is lost.
    using subscription = this.#ports.changeSignal.subscribe(ownerId, since)
    let page = await this.changes(ownerId, since, limit)
    while (isEmpty(page) && !signal.aborted) {
      await subscription.changed(signal)
      ;[page] = await Promise.all([this.changes(ownerId, since, limit), recheck?.()])
    }
    return page
  }
}

const isEmpty = ({ items, deleted }: ChangePage) => items.length + deleted.length === 0
