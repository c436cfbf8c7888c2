import type { Clock } from '../clock.ts'
import { type IdempotencyKey, KeysInFlight, type Repeatable } from './idempotency.ts'
import { checkOperations, eachOperation, idsOf, type Operation, prepareOperation } from './operation.ts'
import type { ChangeSignal, Decide, TaskKey, TaskRepository, Written } from './ports.ts'
import type { NewTask, Precondition, Task, TaskChanges } from './task.ts'
import { type Condition, conditionsOf, type TaskFilter } from './task-filter.ts'
import { pageOf, type TaskPage, type TaskQuery, taskQuery } from './task-query.ts'

interface Needs {
  readonly tasks: TaskRepository
  readonly changeSignal: Pick<ChangeSignal, 'raise'>
  readonly clock: Clock
}

/** Every method names the owner, alone or in the key, and touches only that owner's tasks. */
export class ManageTasks {
  readonly #ports: Needs
  readonly #keysInFlight = new KeysInFlight()

  constructor(ports: Needs) {
    this.#ports = ports
  }

  /**
   * With a key, a repeated call creates nothing and returns the task as it was created.
   *
   * @throws InvalidInput
   * @throws TaskLimitReached
   * @throws IdempotencyKeyReused
   * @throws IdempotencyKeyInUse
   */
  async create(ownerId: number, task: NewTask, key?: IdempotencyKey): Promise<Repeatable<Task>> {
    const { result, replayed } = await this.#perform(ownerId, { op: 'create', task }, key)
    return { result: result as Task, replayed }
  }

  /**
   * The conditions that a filter stands for now.
   *
   * @throws InvalidInput
   */
  conditions(filter: TaskFilter): readonly Condition[] {
    return conditionsOf(filter, this.#ports.clock.now())
  }

  /**
   * The newest tasks, unless the query says otherwise.
   *
   * @throws InvalidInput
   */
  async list(ownerId: number, given: Partial<TaskQuery> = {}): Promise<TaskPage> {
    const query = taskQuery(given)
    return pageOf(await this.#ports.tasks.list(ownerId, query), query)
  }

  /** The revision of the list, which each change of a task raises. */
  async revision(ownerId: number): Promise<number> {
    return (await this.#ports.tasks.head(ownerId)).revision
  }

  /** @throws TaskNotFound */
  async get(key: TaskKey): Promise<Task> {
    return this.#ports.tasks.get(key)
  }

  /**
   * @throws TaskNotFound
   * @throws RevisionMismatch when the precondition does not hold
   * @throws InvalidInput
   */
  async edit({ id, ownerId }: TaskKey, task: TaskChanges, precondition?: Precondition): Promise<Task> {
    return (await this.#perform(ownerId, { op: 'update', id, task, precondition })).result as Task
  }

  /**
   * @throws TaskNotFound
   * @throws RevisionMismatch when the precondition does not hold
   */
  async remove({ id, ownerId }: TaskKey, precondition?: Precondition): Promise<void> {
    await this.#perform(ownerId, { op: 'delete', id, precondition })
  }

  /**
   * Carries out all operations, or none. An error names the operation in `operation`. With a key, a repeated call writes
   * nothing and returns the tasks as they were stored.
   *
   * @returns for each operation the stored task; `undefined` for a deletion
   * @throws InvalidInput
   * @throws TaskNotFound
   * @throws RevisionMismatch
   * @throws TaskLimitReached
   * @throws IdempotencyKeyReused
   * @throws IdempotencyKeyInUse
   */
  async batch(ownerId: number, operations: readonly Operation[], key?: IdempotencyKey): Promise<Repeatable<Written>> {
    checkOperations(operations)
    const now = this.#ports.clock.now()
    const prepared = eachOperation(operations, (operation) => prepareOperation(operation, ownerId, now))
    return this.#write(ownerId, operations, (found) => eachOperation(prepared, (decide) => decide(found)), key)
  }

  async #perform(ownerId: number, operation: Operation, key?: IdempotencyKey): Promise<Repeatable<Task | undefined>> {
    const decide = prepareOperation(operation, ownerId, this.#ports.clock.now())
    const { result, replayed } = await this.#write(ownerId, [operation], (found) => [decide(found)], key)
    return { result: result[0], replayed }
  }

  async #write(ownerId: number, operations: readonly Operation[], decide: Decide, key?: IdempotencyKey) {
    const ids = idsOf(operations)
    const written = key
      ? await this.#writeOnce(ownerId, ids, decide, key)
      : { result: await this.#ports.tasks.write(ownerId, ids, decide), replayed: false }
    if (!written.replayed) this.#ports.changeSignal.raise(ownerId)
    return written
  }

  #writeOnce(ownerId: number, ids: readonly number[], decide: Decide, key: IdempotencyKey) {
    const { tasks, clock } = this.#ports
    return this.#keysInFlight.run(ownerId, key, () => tasks.writeOnce(ownerId, ids, decide, key, clock.now()))
  }
}
