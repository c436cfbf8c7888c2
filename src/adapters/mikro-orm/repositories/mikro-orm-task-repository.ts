import { sql } from 'kysely'
import { InvalidToken, TaskNotFound } from '../../../domain/errors.ts'
import type { TaskKey, TaskRange, TaskRepository } from '../../../domain/tasks/ports.ts'
import type { Task, TaskDraft, TaskSnapshot } from '../../../domain/tasks/task.ts'
import { bigint, preparedQuery } from '../prepared-query.ts'
import { TASKS_OWNER_FOREIGN, taskColumns, toTask, toTaskColumns } from '../records.ts'
import type { Store } from '../store.ts'
import { violates } from '../store-errors.ts'

interface Page {
  readonly ownerId: number
  readonly from: number
  readonly skip: number
  readonly limit: number
}

const ABOVE_EVERY_ID = Number.MAX_SAFE_INTEGER

function taskQueries({ kysely, milliseconds }: Store) {
  const columns = taskColumns(milliseconds)
  const tasksOf = (ownerId: number) =>
    kysely.selectFrom('tasks').select(columns).where('owner_id', '=', bigint(ownerId))
  const taskOf = ({ id, ownerId }: TaskKey) => tasksOf(ownerId).where('id', '=', bigint(id))
  return {
    add: preparedQuery((draft: TaskDraft) =>
      kysely.insertInto('tasks').values(toTaskColumns(draft)).returning(columns),
    ),
    get: preparedQuery(taskOf),
    /** A change always moves `updated_at`, so it tells whether there was another one. */
    save: preparedQuery((task: TaskSnapshot & { seen: Date }) =>
      kysely
        .updateTable('tasks')
        .set(toTaskColumns(task))
        .where('id', '=', bigint(task.id))
        .where('updated_at', '=', sql<number>`${task.seen}`)
        .returning('id'),
    ),
    older: preparedQuery(({ ownerId, from, skip, limit }: Page) =>
      tasksOf(ownerId).where('id', '<', bigint(from)).orderBy('id', 'desc').limit(bigint(limit)).offset(bigint(skip)),
    ),
    newer: preparedQuery(({ ownerId, from, skip, limit }: Page) =>
      tasksOf(ownerId).where('id', '>', bigint(from)).orderBy('id', 'asc').limit(bigint(limit)).offset(bigint(skip)),
    ),
    remove: preparedQuery(({ id, ownerId }: TaskKey) =>
      kysely.deleteFrom('tasks').where('id', '=', bigint(id)).where('owner_id', '=', bigint(ownerId)).returning('id'),
    ),
  }
}

export class MikroOrmTaskRepository implements TaskRepository {
  readonly #store: Store
  readonly #queries: ReturnType<typeof taskQueries>

  constructor(store: Store) {
    this.#store = store
    this.#queries = taskQueries(store)
  }

  /** @throws InvalidToken when the owner was deleted since their token was checked. */
  async add(draft: TaskDraft): Promise<Task> {
    try {
      return toTask(rowOrNotFound(await this.#store.write(this.#queries.add(draft))))
    } catch (error) {
      throw violates(error, TASKS_OWNER_FOREIGN) ? new InvalidToken() : error
    }
  }

  async get(key: TaskKey): Promise<Task> {
    return toTask(rowOrNotFound(await this.#store.read(this.#queries.get(key))))
  }

  update(key: TaskKey, change: (task: Task) => void): Promise<Task> {
    return this.#store.change(key.id, this.#queries.get(key), (rows) => {
      const result = toTask(rowOrNotFound(rows))
      const before = result.snapshot()
      change(result)
      const after = result.snapshot()
      return after === before ? { result } : { result, write: this.#queries.save({ ...after, seen: before.updatedAt }) }
    })
  }

  async list(ownerId: number, { newerThan, olderThan = ABOVE_EVERY_ID, skip, limit }: TaskRange): Promise<Task[]> {
    const { newer, older } = this.#queries
    if (newerThan === undefined) {
      return (await this.#store.read(older({ ownerId, from: olderThan, skip, limit }))).map(toTask)
    }
    return (await this.#store.read(newer({ ownerId, from: newerThan, skip, limit }))).reverse().map(toTask)
  }

  async remove(key: TaskKey): Promise<void> {
    rowOrNotFound(await this.#store.write(this.#queries.remove(key), key.id))
  }
}

function rowOrNotFound<Row>([row]: readonly Row[]): Row {
  if (row === undefined) throw new TaskNotFound()
  return row
}
