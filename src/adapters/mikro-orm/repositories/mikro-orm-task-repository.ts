import { sql } from 'kysely'
import { LRUCache } from 'lru-cache'
import { InvalidToken, TaskLimitReached, TaskNotFound } from '../../../domain/errors.ts'
import {
  type ChangePage,
  checkPosition,
  type ListHead,
  type SyncPosition,
  type Tombstone,
} from '../../../domain/tasks/change-feed.ts'
import { type IdempotencyKey, KEY_LIFETIME, type Repeatable } from '../../../domain/tasks/idempotency.ts'
import type { Decide, TaskKey, TaskRepository, TaskWrite, Written } from '../../../domain/tasks/ports.ts'
import { Task, type TaskDraft, type TaskSnapshot } from '../../../domain/tasks/task.ts'
import type { TaskQuery, TaskRows } from '../../../domain/tasks/task-query.ts'
import { bigint, type PreparedQuery, preparedQuery, type Statement } from '../prepared-query.ts'
import {
  changedColumns,
  type TaskColumns,
  type TaskRow,
  taskColumns,
  taskColumnTypes,
  toTask,
  toTaskColumns,
} from '../records.ts'
import { type Decision, type ListState, type Store, writing } from '../store.ts'
import { singleListQueries } from '../task-lists.ts'
import { changesQuery, toChangePage } from './change-feed-query.ts'
import { keptResultQueries, toKeptResult, toWritten, type WrittenTask } from './kept-results.ts'
import { isIndexed, TaskListQueries, toTaskRows } from './task-list-query.ts'
import { TaskScan } from './task-scan.ts'

type Revised<Columns> = Columns & { readonly revision: number }
type Changes = Revised<Partial<TaskColumns>>
type Created = TaskColumns & { readonly maxTasks: number }

const COLUMNS = Object.keys(taskColumnTypes) as readonly (keyof TaskColumns)[]

/** Reads each column by name, because a row of placeholders is a proxy without own members. */
const pick = <Row extends object, Name extends keyof Row>(row: Row, names: readonly Name[]) =>
  Object.fromEntries(names.map((name) => [name, row[name]])) as Pick<Row, Name>

/** Maximum number of cached statements: enough for the sets of columns that clients change often. */
const MAX_UPDATES = 100

function taskQueries({ kysely, milliseconds, isAnyOf, writableWith }: Store) {
  const tasksOf = (ownerId: number) =>
    kysely.selectFrom('tasks').select(taskColumns(milliseconds)).where('owner_id', '=', bigint(ownerId))
  const raiseList = ({ owner_id, maxTasks }: Created) =>
    kysely
      .updateTable('task_lists')
      .set({ revision: sql`revision + 1`, size: sql`size + 1` })
      .where('owner_id', '=', bigint(owner_id))
      .where('size', '<', bigint(maxTasks))
  const casts = (row: TaskColumns) =>
    COLUMNS.map((name) => sql<never>`cast(${row[name]} as ${sql.raw(taskColumnTypes[name])})`.as(name))
  const insertion = (queries: Pick<Store['kysely'], 'insertInto'>) =>
    queries.insertInto('tasks').columns([...COLUMNS, 'revision'])
  const createInWith = (row: Created) =>
    insertion(kysely.with('raised', () => raiseList(row).returning('revision'))).expression(
      kysely.selectFrom(sql<ListState>`raised`.as('list')).select([...casts(row), 'revision']),
    )
  /** `raiseList` follows, under the same condition. */
  const createBeforeRaise = (row: Created) =>
    insertion(kysely).expression(
      kysely
        .selectFrom('task_lists')
        .select([...casts(row), sql<number>`revision + 1`.as('revision')])
        .where('owner_id', '=', bigint(row.owner_id))
        .where('size', '<', bigint(row.maxTasks)),
    )
  const updates = new LRUCache<string, PreparedQuery<Changes & TaskKey, unknown>>({
    max: MAX_UPDATES,
    memoMethod: (names) =>
      preparedQuery((row) =>
        kysely
          .updateTable('tasks')
          .set(pick(row, names.split(',') as (keyof Changes)[]))
          .where('id', '=', bigint(row.id))
          .where('owner_id', '=', bigint(row.ownerId)),
      ),
  })
  return {
    create: preparedQuery((row: Created) =>
      (writableWith ? createInWith(row) : createBeforeRaise(row)).returning(['id', 'revision']),
    ),
    raiseList: writableWith ? [] : [preparedQuery(raiseList)],
    insert: preparedQuery((row: Revised<TaskColumns>) =>
      kysely
        .insertInto('tasks')
        .values(pick(row, [...COLUMNS, 'revision']))
        .returning('id'),
    ),
    /** Sets the changed columns only, because SQLite rewrites each index on a column that is set. */
    update: (changes: Changes, { id, ownerId }: TaskKey) =>
      updates.memo(Object.keys(changes).join())({ ...changes, id, ownerId }),
    remove: preparedQuery(({ id, ownerId }: TaskKey) =>
      kysely.deleteFrom('tasks').where('id', '=', bigint(id)).where('owner_id', '=', bigint(ownerId)),
    ),
    bury: preparedQuery(({ ownerId, id, revision, deletedAt }: TaskKey & Tombstone) =>
      kysely.insertInto('tombstones').values({ owner_id: ownerId, id, revision, deleted_at: deletedAt }),
    ),
    /** Requires a list: without one the user has left, and the tasks are about to be deleted. */
    get: preparedQuery(({ id, ownerId }: TaskKey) =>
      tasksOf(ownerId)
        .where('id', '=', bigint(id))
        .where(({ exists }) =>
          exists(kysely.selectFrom('task_lists').select('size').where('owner_id', '=', bigint(ownerId))),
        ),
    ),
    anyOf: preparedQuery(({ ids, ownerId }: { readonly ids: readonly number[]; readonly ownerId: number }) =>
      tasksOf(ownerId).where(isAnyOf('id', ids)),
    ),
    list: singleListQueries(kysely).read,
    heads: preparedQuery(({ ownerIds }: { ownerIds: readonly number[] }) =>
      kysely
        .selectFrom('task_lists')
        .select(['owner_id', 'epoch', 'revision', 'forgotten'])
        .where(isAnyOf('owner_id', ownerIds)),
    ),
    head: preparedQuery(({ ownerId }: { ownerId: number }) =>
      kysely
        .selectFrom('task_lists')
        .select(['epoch', 'revision', 'forgotten'])
        .where('owner_id', '=', bigint(ownerId)),
    ),
  }
}

export interface TaskLimits {
  /** Maximum number of tasks of each owner. */
  readonly maxTasks?: number
  /** Maximum number of rows that a read examines in one turn of the event loop. */
  readonly rowsPerStep?: number
}

const ROWS_PER_STEP = 5_000

/** The head of the list of an owner who does not exist. */
const NO_LIST: ListHead = { epoch: '', revision: 0, forgotten: 0 }

export class MikroOrmTaskRepository implements TaskRepository {
  readonly #store: Store
  readonly #queries: ReturnType<typeof taskQueries>
  readonly #listQueries: TaskListQueries
  readonly #scan: TaskScan
  readonly #changes: ReturnType<typeof changesQuery>
  readonly #keptResults: ReturnType<typeof keptResultQueries>
  readonly #maxTasks: number
  readonly #rowsPerStep: number

  constructor(store: Store, { maxTasks = Number.MAX_SAFE_INTEGER, rowsPerStep = ROWS_PER_STEP }: TaskLimits = {}) {
    this.#store = store
    this.#queries = taskQueries(store)
    this.#listQueries = new TaskListQueries(store)
    this.#scan = new TaskScan(store, this.#listQueries, this.#queries.anyOf, rowsPerStep)
    this.#changes = changesQuery(store)
    this.#keptResults = keptResultQueries(store)
    this.#maxTasks = maxTasks
    this.#rowsPerStep = rowsPerStep
  }

  async get(key: TaskKey): Promise<Task> {
    const [row] = await this.#store.read(this.#queries.get(key))
    if (row === undefined) throw new TaskNotFound()
    return toTask(row)
  }

  async list(ownerId: number, query: TaskQuery): Promise<TaskRows> {
    const { readInSteps } = this.#store
    // A short list need not wait for the long queries of other owners.
    if (readInSteps && !isIndexed(query) && (await this.#isLong(ownerId)))
      return readInSteps(ownerId, (run) => this.#scan.read(run, ownerId, query))
    return toTaskRows(await this.#store.read(this.#listQueries.page(ownerId, query)), query)
  }

  /** Whether one statement that reads the whole list would occupy the process for too long. */
  async #isLong(ownerId: number): Promise<boolean> {
    const [list] = await this.#store.read(this.#queries.list({ owner: ownerId }))
    return list !== undefined && list.size > this.#rowsPerStep
  }

  async head(ownerId: number): Promise<ListHead> {
    const [head = NO_LIST] = await this.#store.read(this.#queries.head({ ownerId }))
    return head
  }

  async heads(ownerIds: readonly number[]): Promise<ReadonlyMap<number, ListHead>> {
    const rows = await this.#store.read(this.#queries.heads({ ownerIds }))
    const found = new Map(rows.map(({ owner_id: ownerId, ...head }) => [ownerId, head]))
    return new Map(ownerIds.map((ownerId) => [ownerId, found.get(ownerId) ?? NO_LIST]))
  }

  async changes(ownerId: number, since: SyncPosition | undefined, limit: number): Promise<ChangePage> {
    const rows = await this.#store.read(this.#changes({ ownerId, since: since?.revision ?? 0, limit: limit + 1 }))
    const [first] = rows
    const head = first ? { ...first, revision: first.list_revision } : NO_LIST
    if (since) checkPosition(since, head)
    return toChangePage(rows, head, since, limit)
  }

  async write(ownerId: number, ids: readonly number[], decide: Decide): Promise<Written> {
    if (ids.length === 0) {
      const [write, another] = decide(new Map())
      if (write !== undefined && another === undefined && 'add' in write) return [await this.#create(write.add)]
    }
    return this.#store.transact({
      owner: ownerId,
      keys: ids,
      reads: { tasks: this.#tasksWith(ids, ownerId) },
      decide: ({ tasks }, list) => this.#decide(decide, tasks, list).decision,
    })
  }

  async writeOnce(
    ownerId: number,
    ids: readonly number[],
    decide: Decide,
    key: IdempotencyKey,
    now: Date,
  ): Promise<Repeatable<Written>> {
    const { read, keep } = this.#keptResults
    const since = new Date(now.getTime() - KEY_LIFETIME)
    return this.#store.transact({
      owner: ownerId,
      keys: [...ids, `${key.scope} ${key.key}`],
      reads: { tasks: this.#tasksWith(ids, ownerId), kept: read({ ...key, ownerId, since }) },
      decide: ({ tasks, kept: [kept] }, list): Decision<Repeatable<Written>> => {
        if (kept) {
          const result = toWritten(kept, key)
          return { writes: [], result: () => ({ result, replayed: true }) }
        }
        const { decision, written } = this.#decide(decide, tasks, list)
        return {
          ...decision,
          writes: [...decision.writes, keep({ ...key, ...toKeptResult(written), ownerId, now })],
          result: (rows) => ({ result: decision.result(rows), replayed: false }),
        }
      },
    })
  }

  #tasksWith(ids: readonly number[], ownerId: number): Statement<TaskRow> {
    const [id, anotherId] = ids
    const single = id !== undefined && anotherId === undefined
    return single ? this.#queries.get({ id, ownerId }) : this.#queries.anyOf({ ids, ownerId })
  }

  /** Reads nothing, so that it takes one round trip. */
  async #create(draft: TaskDraft): Promise<Task> {
    const { create, raiseList, head } = this.#queries
    const row = { ...toTaskColumns(draft), maxTasks: this.#maxTasks }
    const creation = writing(create(row), ...raiseList.map((query) => query(row)))
    const [created] = await this.#store.transact({ ...creation, owner: draft.ownerId })
    if (created) return Task.restore({ ...draft, ...created })
    const [list] = await this.#store.read(head(draft))
    throw list ? new TaskLimitReached(this.#maxTasks) : new InvalidToken()
  }

  #decide(decide: Decide, rows: readonly TaskRow[], list: ListState | undefined) {
    if (list === undefined) throw new InvalidToken()
    const tasks = new Map(rows.map((row) => [row.id, toTask(row)]))
    const stored = new Map(Array.from(tasks, ([id, task]) => [id, task.snapshot()]))
    const writer = new TaskWriter(this.#queries, list, stored)
    const results = decide(tasks).map((write) =>
      'save' in write && write.save.snapshot() === stored.get(write.save.snapshot().id)
        ? { task: write.save.snapshot(), stored: () => write.save }
        : writer.add(write),
    )
    const { statements, revision, size } = writer
    if (size > list.size && size > this.#maxTasks) throw new TaskLimitReached(this.#maxTasks)
    const decision: Decision<Written> = {
      writes: statements,
      ...(statements.length > 0 && { list: { revision, size } }),
      result: (rows) => results.map(({ stored }) => stored(rows)),
    }
    return { decision, written: results.map(({ task }) => task) }
  }
}

/** The rows that each statement returned. */
type Returned = readonly (readonly unknown[])[]

interface WriteResult {
  readonly task: WrittenTask
  /** The stored task, known after the commit. */
  stored(returned: Returned): Task | undefined
}

/** Collects the statements of a transaction, and gives each written task a revision of its own. */
class TaskWriter {
  readonly statements: Statement[] = []
  revision: number
  size: number
  readonly #queries: ReturnType<typeof taskQueries>
  readonly #stored: ReadonlyMap<number, TaskSnapshot>

  /** @param stored the tasks that the transaction read */
  constructor(
    queries: ReturnType<typeof taskQueries>,
    { revision, size }: ListState,
    stored: ReadonlyMap<number, TaskSnapshot>,
  ) {
    this.#queries = queries
    this.revision = revision
    this.size = size
    this.#stored = stored
  }

  add(write: TaskWrite): WriteResult {
    const { insert, update, remove, bury } = this.#queries
    const revision = ++this.revision
    if ('add' in write) {
      this.size++
      const task = { ...write.add, revision }
      const index = this.statements.push(insert({ ...toTaskColumns(task), revision })) - 1
      const idIn = (returned: Returned) => (returned[index] as readonly [{ readonly id: number }])[0].id
      return { task, stored: (returned) => Task.restore({ ...task, id: idIn(returned) }) }
    }
    if ('remove' in write) {
      this.size--
      const { id, ownerId } = write.remove.snapshot()
      const { deletedAt } = write
      this.statements.push(remove({ id, ownerId }), bury({ id, ownerId, revision, deletedAt }))
      return { task: null, stored: () => undefined }
    }
    const task = { ...write.save.snapshot(), revision }
    const changes = changedColumns(this.#stored.get(task.id) as TaskSnapshot, task)
    this.statements.push(update({ ...changes, revision }, task))
    return { task, stored: () => Task.restore(task) }
  }
}
