import type { Task, TaskDraft, TaskSnapshot } from './task.ts'

/** The owner is part of the key: who forgets to check finds nothing, and never somebody else's task. */
export type TaskKey = Pick<TaskSnapshot, 'id' | 'ownerId'>

/**
 * A run of one owner's tasks. `newerThan` and `olderThan` are exclusive ids, at most one of them given. The tasks
 * nearest to that id are taken, `skip` of them passed over first; with neither, the newest are.
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
 * Every method throws StoreUnavailable when the store cannot be reached or has no room; nothing was done then. `add`,
 * `update` and `remove` throw OutcomeUnknown when the store did not answer whether it committed; all or nothing was done.
 */
export interface TaskRepository {
  /**
   * Stores a new task and gives it its id, which is higher than every id before it and is never used again.
   *
   * @throws InvalidToken when the store finds that the owner is gone
   */
  add(draft: TaskDraft): Promise<Task>
  /** @throws TaskNotFound when the owner has no such task. */
  get(key: TaskKey): Promise<Task>
  /**
   * Loads, changes and stores one task atomically: of two updates at once the second sees the first.
   * When `change` throws, the stored task stays as it was.
   * `change` may run more than once, each time on the task as it is then, so it does nothing but change it.
   *
   * @throws TaskNotFound when the owner has no such task.
   */
  update(key: TaskKey, change: (task: Task) => void): Promise<Task>
  /** Newest first, that is by descending id, whichever side the range is taken from. */
  list(ownerId: number, range: TaskRange): Promise<Task[]>
  /** @throws TaskNotFound when the owner has no such task; of several at once one succeeds. */
  remove(key: TaskKey): Promise<void>
}
