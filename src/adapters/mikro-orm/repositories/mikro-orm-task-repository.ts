import { InvalidToken, TaskNotFound } from '../../../domain/errors.ts'
import type { TaskKey, TaskRange, TaskRepository } from '../../../domain/tasks/ports.ts'
import type { Task, TaskDraft, TaskSnapshot } from '../../../domain/tasks/task.ts'
import { bigint, preparedQuery, type Statement } from '../prepared-query.ts'
import { TASK_LISTS_OWNER_FOREIGN, TASKS_OWNER_FOREIGN, taskColumns, toTask, toTaskColumns } from '../records.ts'
import { type Store, writing } from '../store.ts'
import { violates } from '../store-errors.ts'
import { raiseList } from '../task-lists.ts'

interface Page {
  readonly ownerId: number
  readonly from: number
  readonly skip: number
  readonly limit: number
}

const ABOVE_EVERY_ID = Number.MAX_SAFE_INTEGER

function taskQueries({ kysely, milliseconds, writableWith }: Store) {
  const columns = taskColumns(milliseconds)
  const raise = ({ ownerId }: TaskDraft) => raiseList(kysely, ownerId)
  const raiseInWith = (draft: TaskDraft) => kysely.with('raised', () => raise(draft))
  const insert = (draft: TaskDraft, queries: Pick<Store['kysely'], 'insertInto'>) =>
    queries.insertInto('tasks').values(toTaskColumns(draft)).returning(columns)
  const tasksOf = (ownerId: number) =>
    kysely.selectFrom('tasks').select(columns).where('owner_id', '=', bigint(ownerId))
  const taskOf = ({ id, ownerId }: TaskKey) => tasksOf(ownerId).where('id', '=', bigint(id))
  return {
    add: preparedQuery((draft: TaskDraft) => insert(draft, writableWith ? raiseInWith(draft) : kysely)),
    raise: writableWith ? [] : [preparedQuery(raise)],
    get: preparedQuery(taskOf),
    save: preparedQuery((task: TaskSnapshot) =>
      kysely
        .updateTable('tasks')
        .set(toTaskColumns(task))
        .where('id', '=', bigint(task.id))
        .where('owner_id', '=', bigint(task.ownerId)),
    ),
    older: preparedQuery(({ ownerId, from, skip, limit }: Page) =>
      tasksOf(ownerId).where('id', '<', bigint(from)).orderBy('id', 'desc').limit(bigint(limit)).offset(bigint(skip)),
    ),
    newer: preparedQuery(({ ownerId, from, skip, limit }: Page) =>
      tasksOf(ownerId).where('id', '>', bigint(from)).orderBy('id', 'asc').limit(bigint(limit)).offset(bigint(skip)),
    ),
    remove: preparedQuery(({ id, ownerId }: TaskKey) =>
      kysely.deleteFrom('tasks').where('id', '=', bigint(id)).where('owner_id', '=', bigint(ownerId)),
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

  /** @throws InvalidToken when the owner was deleted after the token was verified */
  async add(draft: TaskDraft): Promise<Task> {
    const { add, raise } = this.#queries
    const addition = writing(add(draft), ...raise.map((query) => query(draft)))
    try {
      return toTask(rowOrNotFound(await this.#store.transact({ ...addition, owner: draft.ownerId })))
    } catch (error) {
      const ownerIsGone = [TASKS_OWNER_FOREIGN, TASK_LISTS_OWNER_FOREIGN].some((key) => violates(error, key))
      throw ownerIsGone ? new InvalidToken() : error
    }
  }

  async get(key: TaskKey): Promise<Task> {
    return toTask(rowOrNotFound(await this.#store.read(this.#queries.get(key))))
  }

  update(key: TaskKey, change: (task: Task) => void): Promise<Task> {
    return this.#write(key, (task) => {
      const before = task.snapshot()
      change(task)
      const after = task.snapshot()
      return after === before ? undefined : this.#queries.save(after)
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
    await this.#write(key, () => this.#queries.remove(key))
  }

  /** @param statementFor returns the statement that writes the task, if there is anything to write */
  #write(key: TaskKey, statementFor: (task: Task) => Statement | undefined): Promise<Task> {
    return this.#store.transact({
      owner: key.ownerId,
      keys: [key.id],
      reads: { tasks: this.#queries.get(key) },
      decide({ tasks }, revision = 0) {
        const task = toTask(rowOrNotFound(tasks))
        const write = statementFor(task)
        const result = () => task
        return write ? { writes: [write], revision: revision + 1, result } : { writes: [], result }
      },
    })
  }
}

function rowOrNotFound<Row>([row]: readonly Row[]): Row {
  if (row === undefined) throw new TaskNotFound()
  return row
}
