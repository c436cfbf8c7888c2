import { SyncExpired } from '../errors.ts'
import type { Task } from './task.ts'

/**
 * A position in an owner's change feed: everything up to this revision is known. A restored store draws a new epoch, so
 * that no position outlives the writes that were lost.
 */
export interface SyncPosition {
  readonly epoch: string
  readonly revision: number
}

/** Where an owner's list stands. */
export interface ListHead extends SyncPosition {
  /** Deletions up to this revision are no longer kept. */
  readonly forgotten: number
}

/** A task that was deleted. */
export interface Tombstone {
  readonly id: number
  /** Of the list when the task was deleted. */
  readonly revision: number
  readonly deletedAt: Date
}

/** The changes after a position. Both lists ascend by revision, and no revision after the position is missing. */
export interface ChangePage {
  readonly items: readonly Task[]
  readonly deleted: readonly Tombstone[]
  /** The position after these changes. */
  readonly next: SyncPosition
  readonly hasMore: boolean
}

/** @throws SyncExpired when a replica at this position cannot be brought up to date */
export function checkPosition(position: SyncPosition, head: ListHead): void {
  const known = position.epoch === head.epoch && position.revision <= head.revision
  if (!known || position.revision < head.forgotten) throw new SyncExpired()
}
