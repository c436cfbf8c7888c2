import { randomUUID } from 'node:crypto'
import { IdempotencyKeyReused, InvalidToken, TaskLimitReached, TaskNotFound } from '../../domain/errors.ts'
import {
  type ChangePage,
  checkPosition,
  type ListHead,
  pageOfChanges,
  type SyncPosition,
  type Tombstone,
} from '../../domain/tasks/change-feed.ts'
import { type IdempotencyKey, KEY_LIFETIME, type Repeatable } from '../../domain/tasks/idempotency.ts'
import type { Decide, TaskKey, TaskRepository, TaskWrite, Written } from '../../domain/tasks/ports.ts'
import { Task, type TaskSnapshot } from '../../domain/tasks/task.ts'
import type { TaskQuery, TaskRows } from '../../domain/tasks/task-query.ts'
import { firstIndex, selectTasks } from './select-tasks.ts'

interface TaskList {
  revision: number
  /** In ascending order of id: a new task has the highest id, so appending keeps the order. */
  readonly tasks: TaskSnapshot[]
  /** In ascending order of revision. */
  tombstones: Tombstone[]
  /** Tombstones up to this revision are purged. */
  forgotten: number
  readonly keptResults: Map<string, KeptResult>
}

/** The result of a write with a key. */
interface KeptResult {
  readonly fingerprint: string
  readonly createdAt: Date
  readonly tasks: readonly (TaskSnapshot | undefined)[]
}

/** Keeps tasks for the life of the process. */
export class InMemoryTaskRepository implements TaskRepository {
  readonly #lists = new Map<number, TaskList>()
  readonly #maxTasks: number
  readonly #exists: (ownerId: number) => boolean
  readonly #epoch = randomUUID().slice(0, 8)
  #lastId = 0

  /**
   * @param maxTasks of each owner
   * @param exists whether there is an owner with this id
   */
  constructor(maxTasks = Number.POSITIVE_INFINITY, exists: (ownerId: number) => boolean = () => true) {
    this.#maxTasks = maxTasks
    this.#exists = exists
  }

  async get({ id, ownerId }: TaskKey): Promise<Task> {
    const task = find(this.#listOf(ownerId).tasks, id)
    if (task === undefined) throw new TaskNotFound()
    return Task.restore(task)
  }

  async list(ownerId: number, query: TaskQuery): Promise<TaskRows> {
    const { tasks, revision } = this.#listOf(ownerId)
    return { ...selectTasks(tasks, query), revision }
  }

  async heads(ownerIds: readonly number[]): Promise<ReadonlyMap<number, ListHead>> {
    return new Map(ownerIds.map((ownerId) => [ownerId, this.#head(ownerId)]))
  }

  async head(ownerId: number): Promise<ListHead> {
    return this.#head(ownerId)
  }

  async changes(ownerId: number, since: SyncPosition | undefined, limit: number): Promise<ChangePage> {
    const head = this.#head(ownerId)
    if (since) checkPosition(since, head)
    const { tasks, tombstones } = this.#listOf(ownerId)
    const isAfter = ({ revision }: { readonly revision: number }) => revision > (since?.revision ?? 0)
    const changes = [...tasks, ...(since ? tombstones : [])].filter(isAfter).sort(byRevision)
    const next = changes.slice(0, limit + 1)
    return pageOfChanges(
      next.map((change) => ('deletedAt' in change ? change : Task.restore(change))),
      head,
      since,
      limit,
    )
  }

  async write(ownerId: number, ids: readonly number[], decide: Decide): Promise<Written> {
    return this.#write(ownerId, ids, decide)
  }

  async writeOnce(
    ownerId: number,
    ids: readonly number[],
    decide: Decide,
    { scope, key, fingerprint }: IdempotencyKey,
    now: Date,
  ): Promise<Repeatable<Written>> {
    const { keptResults } = this.#listOf(ownerId)
    const id = `${scope} ${key}`
    const kept = keptResults.get(id)
    if (kept && kept.createdAt.getTime() > now.getTime() - KEY_LIFETIME) {
      if (kept.fingerprint !== fingerprint) throw new IdempotencyKeyReused()
      return { result: kept.tasks.map((task) => task && Task.restore(task)), replayed: true }
    }
    const result = this.#write(ownerId, ids, decide)
    const tasks = result.map((task) => task?.snapshot())
    this.#listOf(ownerId).keptResults.set(id, { fingerprint, createdAt: now, tasks })
    return { result, replayed: false }
  }

  /** Purges the results of writes with a key before a time. */
  async purgeKeys(before: Date): Promise<void> {
    for (const { keptResults } of this.#lists.values()) {
      for (const [id, { createdAt }] of keptResults) if (createdAt < before) keptResults.delete(id)
    }
  }

  /** Purges the deletions of tasks before a time. */
  async purgeDeletions(before: Date): Promise<void> {
    for (const list of this.#lists.values()) {
      const last = list.tombstones.findLast(({ deletedAt }) => deletedAt < before)
      list.forgotten = last?.revision ?? list.forgotten
      list.tombstones = list.tombstones.filter(({ revision }) => revision > list.forgotten)
    }
  }

  removeList(ownerId: number): void {
    this.#lists.delete(ownerId)
  }

  #write(ownerId: number, ids: readonly number[], decide: Decide): Written {
    if (!this.#exists(ownerId)) throw new InvalidToken()
    const list = this.#listOf(ownerId)
    const seen = ids.map((id) => find(list.tasks, id)).filter((task) => task !== undefined)
    const writes = decide(new Map(seen.map((task) => [task.id, Task.restore(task)])))
    const added = writes.filter((write) => 'add' in write).length
    const removed = writes.filter((write) => 'remove' in write).length
    if (added > removed && list.tasks.length + added - removed > this.#maxTasks)
      throw new TaskLimitReached(this.#maxTasks)
    this.#lists.set(ownerId, list)
    return writes.map((write) => this.#store(list, write))
  }

  #store(list: TaskList, write: TaskWrite): Task | undefined {
    const { tasks } = list
    if ('add' in write) {
      tasks.push({ ...write.add, id: ++this.#lastId, revision: ++list.revision })
      return Task.restore(tasks.at(-1) as TaskSnapshot)
    }
    if ('remove' in write) {
      const { id } = write.remove.snapshot()
      tasks.splice(indexOf(tasks, id), 1)
      list.tombstones.push({ id, revision: ++list.revision, deletedAt: write.deletedAt })
      return undefined
    }
    const snapshot = write.save.snapshot()
    const index = indexOf(tasks, snapshot.id)
    if (tasks[index] !== snapshot) tasks[index] = { ...snapshot, revision: ++list.revision }
    return Task.restore(tasks[index] as TaskSnapshot)
  }

  #head(ownerId: number): ListHead {
    const { revision, forgotten } = this.#listOf(ownerId)
    return { epoch: this.#epoch, revision, forgotten }
  }

  #listOf(ownerId: number): TaskList {
    return this.#lists.get(ownerId) ?? { revision: 0, tasks: [], tombstones: [], forgotten: 0, keptResults: new Map() }
  }
}

function find(tasks: readonly TaskSnapshot[], id: number): TaskSnapshot | undefined {
  const task = tasks[indexOf(tasks, id)]
  return task?.id === id ? task : undefined
}

const byRevision = (one: { readonly revision: number }, other: { readonly revision: number }) =>
  one.revision - other.revision

/** Index of the first task with this id or a higher one. */
const indexOf = (tasks: readonly TaskSnapshot[], id: number) => firstIndex(tasks, (task) => task.id >= id)
