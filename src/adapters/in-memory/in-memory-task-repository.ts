import { TaskNotFound } from '../../domain/errors.ts'
import type { TaskKey, TaskRange, TaskRepository } from '../../domain/tasks/ports.ts'
import { Task, type TaskDraft, type TaskSnapshot } from '../../domain/tasks/task.ts'

/** Keeps tasks for the life of the process. It does not check that the owner exists. */
export class InMemoryTaskRepository implements TaskRepository {
  /** Tasks by owner, in ascending order of id. A new task has the highest id, so appending it keeps the order. */
  readonly #owners = new Map<number, TaskSnapshot[]>()
  #lastId = 0

  async add(draft: TaskDraft): Promise<Task> {
    const stored = { ...draft, id: ++this.#lastId }
    const tasks = this.#owners.get(draft.ownerId)
    if (tasks) tasks.push(stored)
    else this.#owners.set(draft.ownerId, [stored])
    return Task.restore(stored)
  }

  async get(key: TaskKey): Promise<Task> {
    const { tasks, index } = this.#find(key)
    return Task.restore(tasks[index] as TaskSnapshot)
  }

  async update(key: TaskKey, change: (task: Task) => void): Promise<Task> {
    const { tasks, index } = this.#find(key)
    const task = Task.restore(tasks[index] as TaskSnapshot)
    change(task)
    tasks[index] = task.snapshot()
    return task
  }

  async list(ownerId: number, { newerThan, olderThan, skip, limit }: TaskRange): Promise<Task[]> {
    const tasks = this.#owners.get(ownerId) ?? []
    if (newerThan !== undefined) {
      const start = firstAtLeast(tasks, newerThan + 1) + skip
      return tasks
        .slice(start, start + limit)
        .reverse()
        .map(Task.restore)
    }
    const end = (olderThan === undefined ? tasks.length : firstAtLeast(tasks, olderThan)) - skip
    return tasks
      .slice(Math.max(0, end - limit), Math.max(0, end))
      .reverse()
      .map(Task.restore)
  }

  async remove(key: TaskKey): Promise<void> {
    const { tasks, index } = this.#find(key)
    tasks.splice(index, 1)
  }

  #find({ id, ownerId }: TaskKey): { tasks: TaskSnapshot[]; index: number } {
    const tasks = this.#owners.get(ownerId) ?? []
    const index = firstAtLeast(tasks, id)
    if (tasks[index]?.id !== id) throw new TaskNotFound()
    return { tasks, index }
  }
}

/** Index of the first task with this id or a higher one, by binary search. */
function firstAtLeast(tasks: readonly TaskSnapshot[], id: number): number {
  let low = 0
  let high = tasks.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((tasks[middle] as TaskSnapshot).id < id) low = middle + 1
    else high = middle
  }
  return low
}
