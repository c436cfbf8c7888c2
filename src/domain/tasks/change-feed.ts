import { SyncExpired } from '../errors.ts'
import type { Task } from './task.ts'

/**
 * A position in an owner's change feed: the replica has everything up to this revision. A restore begins a new epoch, so that
 * no position of a lost write stays valid.
 */
export interface SyncPosition {
  readonly epoch: string
  readonly revision: number
  /** During a first synchronization, the revision of the list when it began. It needs no earlier deletion. */
  readonly began?: number
}

/** The current position of an owner's list. */
export interface ListHead extends SyncPosition {
  /** Deletions up to this revision are no longer kept. */
  readonly forgotten: number
}

/** A task that was deleted. */
export interface Tombstone {
  readonly id: number
  /** The revision of the list when the task was deleted. */
  readonly revision: number
  readonly deletedAt: Date
}

/** Some of the changes after a position. Both lists ascend by revision, and no revision after the position is missing. */
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

/** Bytes of text after which a page ends, because building a longer response would delay other requests. */
const PAGE_SIZE = 2 ** 20

/**
 * Takes changes until there are `limit`, or until their texts take PAGE_SIZE bytes.
 *
 * @param changes all changes after the position by ascending revision, or at least the first `limit` + 1 of them
 * @param since absent for a first synchronization
 */
export function pageOfChanges(
  changes: readonly (Task | Tombstone)[],
  head: ListHead,
  since: SyncPosition | undefined,
  limit: number,
): ChangePage {
  const items: Task[] = []
  const deleted: Tombstone[] = []
  let last = 0
  let size = 0
  for (const change of changes) {
    if (items.length + deleted.length === limit || size >= PAGE_SIZE) {
      return { items, deleted, next: positionAfter(head, since, last), hasMore: true }
    }
    if ('deletedAt' in change) {
      deleted.push(change)
      last = change.revision
    } else {
      items.push(change)
      last = change.snapshot().revision
      size += sizeOf(change)
    }
  }
  return { items, deleted, next: positionAfter(head, since), hasMore: false }
}

/** Bytes of the texts as JSON, in which a control character takes six. */
function sizeOf(task: Task): number {
  const { title, description, tags } = task.snapshot()
  return Buffer.byteLength(JSON.stringify([title, description, tags]))
}

/**
 * The position after a page of changes.
 *
 * @param last revision of the last change on the page, if more follow
 */
function positionAfter(head: ListHead, since: SyncPosition | undefined, last?: number): SyncPosition {
  const { epoch, revision } = head
  if (last === undefined) return { epoch, revision }
  const began = since === undefined ? revision : since.began
  return { epoch, revision: last, ...(began !== undefined && { began }) }
}
