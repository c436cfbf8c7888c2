import type { Clock } from '../clock.ts'
import type { TaskKey, TaskRange, TaskRepository } from './ports.ts'
import { type NewTask, Task, type TaskChanges } from './task.ts'
import { LIMIT, readPage, SKIP, type TaskPage } from './task-query.ts'

interface Needs {
  readonly tasks: TaskRepository
  readonly clock: Clock
}

/** Every method names the owner, alone or in the key, and touches only that owner's tasks. */
export class ManageTasks {
  readonly #ports: Needs

  constructor(ports: Needs) {
    this.#ports = ports
  }

  /** @throws InvalidInput */
  async create(ownerId: number, fields: NewTask): Promise<Task> {
    const { tasks, clock } = this.#ports
    return tasks.add(Task.create(ownerId, fields, clock.now()))
  }

  /**
   * Lists the newest tasks first.
   *
   * @throws InvalidInput when the range exceeds its limits
   */
  async list(ownerId: number, query: Partial<TaskRange> = {}): Promise<TaskPage> {
    const { tasks } = this.#ports
    return readPage((range) => tasks.list(ownerId, range), { skip: SKIP.default, limit: LIMIT.default, ...query })
  }

  /** @throws TaskNotFound */
  async get(key: TaskKey): Promise<Task> {
    return this.#ports.tasks.get(key)
  }

  /**
   * @throws TaskNotFound
   * @throws InvalidInput
   */
  async edit(key: TaskKey, changes: TaskChanges): Promise<Task> {
    const { tasks, clock } = this.#ports
    return tasks.update(key, (task) => task.edit(changes, clock.now()))
  }

  /** @throws TaskNotFound */
  async remove(key: TaskKey): Promise<void> {
    return this.#ports.tasks.remove(key)
  }
}
