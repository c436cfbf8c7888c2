import type { ChangePage, ListHead, SyncPosition } from './change-feed.ts'
import type { IdempotencyKey, Repeatable } from './idempotency.ts'
import type { Task, TaskDraft, TaskSnapshot } from './task.ts'
import type { TaskQuery, TaskRows } from './task-query.ts'

/** The owner is part of the key: code that forgets the check finds nothing, never another owner's task. */
export type TaskKey = Pick<TaskSnapshot, 'id' | 'ownerId'>

/** A write that a decision returns, at most one for each task. A saved task that has not changed is not written. */
export type TaskWrite =
  | { readonly add: TaskDraft }
  | { readonly save: Task }
  | { readonly remove: Task; readonly deletedAt: Date }

/**
 * Decides on tasks by id; those that the owner does not have are missing. It is synchronous and has no effect but its
 * result, because it may run several times, each time on the current tasks.
 */
export type Decide = (tasks: ReadonlyMap<number, Task>) => readonly TaskWrite[]

/** For each write the stored task, or `undefined` where it was removed. */
export type Written = readonly (Task | undefined)[]

/**
 * Every method throws StoreUnavailable when the store is unreachable or out of space; nothing was done then. `write`
 * throws OutcomeUnknown when the store did not confirm the commit; all or nothing was done.
 */
export interface TaskRepository {
  /** @throws TaskNotFound when the owner has no such task */
  get(key: TaskKey): Promise<Task>
  /**
   * Reads the tasks nearest to the position of the query, after skipping some of them. `matches` and `comparePlaces`
   * define the conditions and the order. An owner who does not exist has no tasks.
   */
  list(ownerId: number, query: TaskQuery): Promise<TaskRows>
  /** Reads one narrow row: the validator of every list, and the head of the change feed. */
  head(ownerId: number): Promise<ListHead>
  /** The heads of several lists, which cost little more than one. */
  heads(ownerIds: readonly number[]): Promise<ReadonlyMap<number, ListHead>>
  /**
   * Tasks and deletions after a position, read together and by ascending revision; without a position, all tasks.
   * `pageOfChanges` ends the page.
   *
   * @param limit of tasks and deletions together
   * @throws SyncExpired
   */
  changes(ownerId: number, since: SyncPosition | undefined, limit: number): Promise<ChangePage>
  /**
   * One transaction on an owner's tasks: reads those with the given ids, lets `decide` change them, and stores what it
   * returns, each under a new revision of the owner's list. A new task gets an id that is higher than all earlier ids
   * and is never reused. Of two concurrent writes, the second sees the result of the first. Revisions ascend in the order
   * of commits. When `decide` throws, nothing is stored.
   *
   * @throws InvalidToken when the owner no longer exists
   * @throws TaskLimitReached when the owner would have too many tasks
   */
  write(ownerId: number, ids: readonly number[], decide: Decide): Promise<Written>
  /**
   * As `write`, but at most once for each key: keeps the result in the same transaction, and returns it to a later call
   * with the same key within KEY_LIFETIME, however the tasks have changed since.
   *
   * @throws IdempotencyKeyReused when the earlier call had another fingerprint
   */
  writeOnce(
    ownerId: number,
    ids: readonly number[],
    decide: Decide,
    key: IdempotencyKey,
    now: Date,
  ): Promise<Repeatable<Written>>
}

/** Tells that an owner's list has changed, also when another instance wrote it. */
export interface ChangeSignal {
  /** Announces a committed change of the list, or of who may follow it, to the subscriptions of this process. */
  raise(ownerId: number): void
  /** @param since a position in the list's change feed: what has changed after it is announced as well */
  subscribe(ownerId: number, since: SyncPosition): ChangeSubscription
}

export interface ChangeSubscription extends Disposable {
  /** Resolves after the next change since the last call, or when the signal aborts. It may resolve without a change. */
  changed(signal: AbortSignal): Promise<void>
}
