import type { Task, TaskDraft, TaskSnapshot } from './task.ts'

/** The owner is part of the key: code that forgets the check finds nothing, never another owner's task. */
export type TaskKey = Pick<TaskSnapshot, 'id' | 'ownerId'>

/**
 * A range of one owner's tasks. `newerThan` and `olderThan` are exclusive ids; at most one is set. The range starts next to
 * that id, or at the newest task if neither is set, skips `skip` tasks and holds the following `limit`.
 */
export interface TaskRange {
  readonly newerThan?: number
  readonly olderThan?: number
  /** 0 to 2^53 - 1. */
  readonly skip: number
  /** 1 or more. */
  readonly limit: number
}

/**
 * Every method throws StoreUnavailable, having done nothing, when the store is unreachable or out of space. `add`, `update`
 * and `remove` throw OutcomeUnknown, having done all or nothing, when the store did not confirm the commit.
 */
export interface TaskRepository {
  /**
   * Stores a new task and assigns its id, which is higher than all earlier ids and is never reused.
   *
   * @throws InvalidToken when the owner no longer exists
   */
  add(draft: TaskDraft): Promise<Task>
  /** @throws TaskNotFound when the owner has no such task */
  get(key: TaskKey): Promise<Task>
  /**
   * Loads, changes and stores one task atomically: of two concurrent updates, the second sees the result of the first.
   * When `change` throws, the stored task is unchanged. `change` may run several times, each time on the current task,
   * so it must have no other effect.
   *
   * @throws TaskNotFound when the owner has no such task
   */
  update(key: TaskKey, change: (task: Task) => void): Promise<Task>
  /** Newest first, by descending id, for ranges in both directions. */
  list(ownerId: number, range: TaskRange): Promise<Task[]>
  /** @throws TaskNotFound when the owner has no such task; of several concurrent calls, one succeeds */
  remove(key: TaskKey): Promise<void>
}
