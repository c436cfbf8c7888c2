import { SyncExpired } from '../errors.ts'
import type { Task } from './task.ts'

/**
 * A position in an owner's change feed: everything up to this revision is known. A restored store draws a new epoch, so
 * that no position outlives the writes that were lost.
 */
export interface SyncPosition {
  readonly epoch: string
  readonly revision: number
  /** While a first synchronization lasts, the revision of the list when it began: it needs no earlier deletion. */
  readonly began?: number
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
  const latest = Math.max(position.revision, position.began ?? 0)
  const known = position.epoch === head.epoch && latest <= head.revision
  if (!known || latest < head.forgotten) throw new SyncExpired()
}

/**
 * The position after a page of changes.
 *
 * @param since the position before it; absent for a first synchronization
 * @param last revision of the last change on the page, if more follow
 */
export function positionAfter(head: ListHead, since: SyncPosition | undefined, last?: number): SyncPosition {
  const { epoch, revision } = head
  if (last === undefined) return { epoch, revision }
  const began = since === undefined ? revision : since.began
  return { epoch, revision: last, ...(began !== undefined && { began }) }
}
