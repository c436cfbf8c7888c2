import type BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import fc from 'fast-check'
import { Kysely } from 'kysely'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import type { Tables } from '#src/adapters/mikro-orm/records.ts'
import { MikroOrmTaskRepository } from '#src/adapters/mikro-orm/repositories/mikro-orm-task-repository.ts'
import { LongReads } from '#src/adapters/mikro-orm/sqlite/long-reads.ts'
import { ImmediateTransactionDialect } from '#src/adapters/mikro-orm/sqlite/sqlite-dialect.ts'
import { OpenFiles } from '#src/adapters/mikro-orm/sqlite/sqlite-file.ts'
import { openSqliteReader, openSqliteWriter, sqliteStore } from '#src/adapters/mikro-orm/sqlite/sqlite-store.ts'
import type { Steps } from '#src/adapters/mikro-orm/store.ts'
import type { Task, TaskDraft } from '#src/domain/tasks/task.ts'
import { totalOrder } from '#src/domain/tasks/task-order.ts'
import { type Position, type TaskQuery, taskQuery } from '#src/domain/tasks/task-query.ts'
import { adapterSets, sqlite } from '#test/adapter-sets.ts'
import { aTaskDraft } from '#test/builders.ts'
import { anOwner, expectRejection, openRepositories, type Repositories } from '#test/contracts/repositories.ts'
import { readPlainly } from '#test/domain/plain-task-list.ts'
import { SCENES, taskDrafts, taskQueries } from '#test/domain/random-tasks.ts'

/** Lists with more tasks are read in steps. Random lists have fewer or more. */
const ROWS_PER_STEP = 4

/** Reads long lists in steps, as the service does with lists a thousand times longer. */
async function openStepping(): Promise<Repositories> {
  const path = (await sqlite.databaseUrl()).slice('sqlite:///'.length)
  const database = await openDatabase({ kind: 'sqlite', path })
  await database.migrate()
  const [writer, reader, stepper] = [openSqliteWriter(path), openSqliteReader(path), openSqliteReader(path)]
  const files = new OpenFiles(path, { info() {}, error() {} })
  const kysely = new Kysely<Tables>({ dialect: new ImmediateTransactionDialect(writer) })
  const store = sqliteStore(kysely, { writer, reader, steppers: [stepper] }, files)
  return {
    ...database,
    tasks: new MikroOrmTaskRepository(store, { rowsPerStep: ROWS_PER_STEP }),
    async close() {
      files.close()
      for (const connection of [writer, reader, stepper]) connection.close()
      await database.close()
    },
  }
}

const sets = [
  ...adapterSets.map(({ name, databaseUrl }) => ({ name, open: async () => openRepositories(await databaseUrl()) })),
  { name: 'SQLite, in steps', open: openStepping },
]

for (const { name, open } of sets) {
  describe(`A query of tasks (${name})`, () => {
    let repositories: Repositories
    let tasks: Repositories['tasks']

    before(async () => {
      repositories = await open()
      tasks = repositories.tasks
    })

    after(() => repositories.close())

    it('finds what a plain search finds, in the same order, and whether more follows (property-based)', async () => {
      const cases = fc.constantFrom(...SCENES).chain((scene) =>
        fc.record({
          drafts: fc.array(taskDrafts(scene.now), { minLength: 1, maxLength: 20, size: 'max' }),
          removed: fc.nat({ max: 19 }),
          queries: fc.array(taskQueries(scene, 21), { minLength: 8, maxLength: 8 }),
        }),
      )
      const other = await anOwner(repositories)
      await fc.assert(
        fc.asyncProperty(cases, async ({ drafts, removed, queries }) => {
          const ownerId = await anOwner(repositories)
          const owned = drafts.map((draft: TaskDraft) => ({ ...draft, ownerId }))
          const added = await tasks.write(ownerId, [], () => owned.map((add) => ({ add })))
          await tasks.write(other, [], () => [{ add: aTaskDraft({ ownerId: other }) }])
          const all = added.map((task) => (task as Task).snapshot())
          const base = Math.min(...all.map(({ id }) => id)) - 1
          const [gone] = all.splice(removed, 1)
          if (gone) {
            await tasks.write(ownerId, [gone.id], (found) =>
              Array.from(found.values(), (remove) => ({ remove, deletedAt: new Date() })),
            )
          }
          const { revision: latest } = await tasks.head(ownerId)
          for (const query of queries.map((query) => aboveId(query, base))) {
            const { revision, ...rows } = await tasks.list(ownerId, query)
            expect(shown(rows)).to.deep.equal(shown(readPlainly(all, query)))
            expect(revision).to.equal(latest)
          }
        }),
        { numRuns: 60 },
      )
    }).timeout(60_000)

    it('of an owner who does not exist finds nothing', async () => {
      const nothing = { tasks: [], hasPrevious: false, hasNext: false, revision: 0, total: 0 }
      expect(await tasks.list(2 ** 31 + 1, taskQuery({ count: true }))).to.deep.equal(nothing)
    })

    it('finds a tag and a text exactly, whatever characters they have', async () => {
      const texts = ['"', '\\', ',', '","', '%', '_', "'", '\n "a"', '[', 'a\nb', '\u2028', '🙂']
      const ownerId = await anOwner(repositories)
      await tasks.write(ownerId, [], () =>
        texts.map((text) => ({ add: aTaskDraft({ ownerId, title: `<${text}>`, tags: ['a', text, 'b'] }) })),
      )
      const all = (await tasks.list(ownerId, taskQuery())).tasks.map((task) => task.snapshot())
      for (const text of texts) {
        for (const condition of [
          { name: 'tags', value: [text] },
          { name: 'containing', value: text.toUpperCase() },
        ] as const) {
          const query = taskQuery({ conditions: [condition], count: true })
          const { revision: _, ...rows } = await tasks.list(ownerId, query)
          expect(shown(rows)).to.deep.equal(shown(readPlainly(all, query)))
        }
      }
    })
  })
}

describe('A long query on SQLite', () => {
  it('reads one snapshot, and lets others read and write meanwhile', async () => {
    const repositories = await openStepping()
    const { tasks } = repositories
    const ownerId = await anOwner(repositories)
    const draft = { add: aTaskDraft({ ownerId }) }
    await tasks.write(ownerId, [], () => Array.from({ length: 100 }, () => draft))
    const order: string[] = []
    const query = taskQuery({ conditions: [{ name: 'containing', value: 'SHIP' }], count: true, limit: 200 })
    const long = tasks.list(ownerId, query).finally(() => order.push('long'))
    for (let index = 0; index < 3; index++) {
      await tasks.write(ownerId, [], () => [draft])
      await tasks.list(ownerId, taskQuery())
      order.push('short')
    }
    const { revision, total, tasks: found } = await long
    expect(order).to.deep.equal(['short', 'short', 'short', 'long'])
    expect(total).to.equal(revision)
    expect(found).to.have.lengthOf(revision)
    expect((await tasks.list(ownerId, query)).total).to.equal(103)
    await repositories.close()
  })
})

describe('A query of a short list on SQLite', () => {
  it('does not wait for long queries', async () => {
    const repositories = await openStepping()
    const { tasks } = repositories
    const [long, short] = [await anOwner(repositories), await anOwner(repositories)]
    const drafts = (ownerId: number, length: number) => Array.from({ length }, () => ({ add: aTaskDraft({ ownerId }) }))
    await tasks.write(long, [], () => drafts(long, 100))
    await tasks.write(short, [], () => drafts(short, ROWS_PER_STEP))
    const query = taskQuery({ conditions: [{ name: 'containing', value: 'SHIP' }], count: true })
    const order: string[] = []
    const reading = tasks.list(long, query).finally(() => order.push('long'))
    expect((await tasks.list(short, query)).total).to.equal(ROWS_PER_STEP)
    order.push('short')
    await reading
    expect(order).to.deep.equal(['short', 'long'])
    await repositories.close()
  })
})

describe('Long queries of several owners on SQLite', () => {
  it('take turns by owner, however many each has', async () => {
    const repositories = await openStepping()
    const { tasks } = repositories
    const [many, few] = [await anOwner(repositories), await anOwner(repositories)]
    for (const ownerId of [many, few])
      await tasks.write(ownerId, [], () => Array(20).fill({ add: aTaskDraft({ ownerId }) }))
    const order: string[] = []
    const count = async (ownerId: number, name: string) => {
      const query = taskQuery({ conditions: [{ name: 'containing', value: 'SHIP' }], count: true })
      expect((await tasks.list(ownerId, query)).total).to.equal(20)
      order.push(name)
    }
    const first = count(many, 'many')
    const others = Array.from({ length: 9 }, () => count(many, 'many'))
    await first
    await Promise.all([count(few, 'few'), ...others])
    expect(order.indexOf('few')).to.be.at.most(2)
    await repositories.close()
  })
})

describe('Long reads on SQLite', () => {
  let database: BetterSqlite3.Database[]
  before(async () => {
    const path = (await sqlite.databaseUrl()).slice('sqlite:///'.length)
    openSqliteWriter(path).close()
    database = [openSqliteReader(path), openSqliteReader(path)]
  })
  after(() => {
    for (const connection of database) connection.close()
  })

  /** Runs three statements, and calls `note` after each. */
  const threeStepsWith =
    (note: () => void): Steps<unknown> =>
    async (run) => {
      for (let step = 0; step < 3; step++) {
        await run({ sql: 'select 1', parameters: [] })
        note()
      }
    }

  it('run one statement in a turn of the event loop, however many there are', async () => {
    let turn = 0
    let reading = true
    const countTurns = () => {
      turn++
      if (reading) setImmediate(countTurns)
    }
    setImmediate(countTurns)
    const turns: number[] = []
    const reads = new LongReads(database)
    const owners = [1, 1, 1, 2, 3]
    await Promise.all(
      owners.map((owner) =>
        reads.add(
          owner,
          threeStepsWith(() => turns.push(turn)),
        ),
      ),
    )
    reading = false
    expect(turns).to.have.lengthOf(15)
    expect(new Set(turns)).to.have.lengthOf(15)
  })

  it('of two owners alternate, and those of one owner follow each other', async () => {
    const reads = new LongReads(database)
    const statements: string[] = []
    const add = (owner: number, name: string) =>
      reads.add(
        owner,
        threeStepsWith(() => statements.push(name)),
      )
    await Promise.all([add(1, 'a'), add(1, 'b'), add(2, 'x')])
    expect(statements.join('')).to.equal('axaxaxbbb')
  })

  it('continue after one that fails', async () => {
    const reads = new LongReads(database)
    const failed = reads.add(1, () => Promise.reject(new RangeError('no')))
    const statements: string[] = []
    const next = reads.add(
      1,
      threeStepsWith(() => statements.push('a')),
    )
    await expectRejection(failed, RangeError)
    await next
    expect(statements).to.have.lengthOf(3)
    expect(reads.pending).to.equal(0)
  })
})

/** Raises the ids in a query's position, because the store assigned ids above the base. */
function aboveId(query: TaskQuery, base: number): TaskQuery {
  const fields = totalOrder(query.sort).map(({ field }) => field)
  const { position } = query
  const moved = (place: readonly (number | string | null)[]) =>
    place.map((value, index) => (fields[index] === 'createdAt' ? (value as number) + base : value))
  const at: Position = 'after' in position ? { after: moved(position.after) } : { before: moved(position.before) }
  return { ...query, position: at }
}

const shown = <Rows extends { readonly tasks: readonly Task[] }>({ tasks, ...rest }: Rows) => ({
  ...rest,
  tasks: tasks.map((task) => task.snapshot()),
})
