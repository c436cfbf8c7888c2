import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import fc from 'fast-check'
import pg from 'pg'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import type { PersistentTarget } from '#src/database-target.ts'
import { MAX_SESSIONS, type Session } from '#src/domain/accounts/session.ts'
import type { User } from '#src/domain/accounts/user.ts'
import { TaskNotFound } from '#src/domain/errors.ts'
import type { SyncPosition } from '#src/domain/tasks/change-feed.ts'
import type { TaskKey } from '#src/domain/tasks/ports.ts'
import type { Task, TaskSnapshot } from '#src/domain/tasks/task.ts'
import { taskQuery } from '#src/domain/tasks/task-query.ts'
import { persistentSets, sqlSets } from '#test/adapter-sets.ts'
import { anApiTokenDraft, aSessionDraft, aTaskDraft } from '#test/builders.ts'
import {
  anOwner,
  editTask,
  expectRejection,
  listTasks,
  openRepositories,
  type Repositories,
  removeTask,
  storeTask,
  targetOf,
} from '#test/contracts/repositories.ts'
import { SCENES, type Scene, taskQueries } from '#test/domain/random-tasks.ts'

const NOW = new Date('2026-02-01T12:00:00.000Z')
const times = <Result>(count: number, each: (index: number) => Result) =>
  Array.from({ length: count }, (_, i) => each(i))

/** Increments the number in the title, so that a lost edit is missing from the sum. */
const increment = (task: Task) => task.edit({ title: `${Number(task.snapshot().title) + 1}` }, NOW)

for (const { name, databaseUrl } of persistentSets) {
  describe(`Transactions of two instances (${name})`, () => {
    let instances: [Repositories, Repositories]
    let ownerId: number

    before(async () => {
      const url = await databaseUrl()
      instances = [await openRepositories(url), await openRepositories(url)]
    })

    beforeEach(async () => {
      ownerId = await anOwner(instances[0])
    })

    after(() => Promise.all(instances.map((instance) => instance.close())))

    const tasksOf = (index: number) => (instances[index % 2] as Repositories).tasks
    const addTask = async (title = '0'): Promise<TaskKey> =>
      (await storeTask(tasksOf(0), aTaskDraft({ ownerId, title }))).snapshot()
    const revision = async (owner = ownerId) => (await tasksOf(0).head(owner)).revision
    const titles = async (keys: readonly TaskKey[]) =>
      Promise.all(keys.map(async (key) => (await tasksOf(0).get(key)).snapshot().title))

    it('lose no edit under a mixed load', async () => {
      for (let round = 0; round < 10; round++) {
        const edited = [await addTask(), await addTask(), await addTask()]
        const removed = await Promise.all(times(4, () => addTask('removed')))
        const before = (await revision()) as number
        const edits = times(12, (index) => editTask(tasksOf(index), edited[index % 3] as TaskKey, increment))
        const removals = removed.map((key, index) => removeTask(tasksOf(index), key))
        const additions = times(4, (index) => storeTask(tasksOf(index), aTaskDraft({ ownerId, title: 'added' })))
        await Promise.all([...edits, ...removals, ...additions])
        expect(await titles(edited)).to.deep.equal(['4', '4', '4'])
        expect(await listTasks(tasksOf(1), ownerId)).to.have.lengthOf(7 * (round + 1))
        expect(await revision()).to.equal(before + 12 + 4 + 4)
      }
    })

    it('all change one hot task, one after the other', async () => {
      const task = await addTask()
      await Promise.all(times(60, (index) => editTask(tasksOf(index), task, increment)))
      expect(await titles([task])).to.deep.equal(['60'])
      expect(await revision()).to.equal(61)
    })

    it('of many owners run concurrently, each with the counter of its own list', async () => {
      const owners = await Promise.all(times(10, () => anOwner(instances[0])))
      const keys = await Promise.all(
        owners.map(async (owner) =>
          (await storeTask(tasksOf(owner), aTaskDraft({ ownerId: owner, title: '0' }))).snapshot(),
        ),
      )
      await Promise.all(times(50, (index) => editTask(tasksOf(index), keys[index % 10] as TaskKey, increment)))
      expect(await Promise.all(owners.map(revision))).to.deep.equal(times(10, () => 6))
      expect(await titles(keys)).to.deep.equal(times(10, () => '5'))
    })

    it('commit in the order of their revisions, so that a reader who polls misses none', async () => {
      const replica = new Map<number, TaskSnapshot>()
      let position: SyncPosition | undefined
      const pull = async (index: number) => {
        const { items, deleted, next } = await tasksOf(index).changes(ownerId, position, 7)
        const since = position?.revision ?? 0
        for (const { revision } of [...items.map((task) => task.snapshot()), ...deleted]) {
          expect(revision).to.be.above(since).and.at.most(next.revision)
        }
        for (const task of items) replica.set(task.snapshot().id, task.snapshot())
        for (const { id } of deleted) replica.delete(id)
        position = next
      }
      let writing = true
      const polling = (async () => {
        for (let index = 0; writing; index++) await pull(index)
      })()
      const write = async (index: number) => {
        const tasks = tasksOf(index)
        const kept = await storeTask(tasks, aTaskDraft({ ownerId, title: '0' }))
        const removed = await storeTask(tasksOf(index + 1), aTaskDraft({ ownerId }))
        const addition = tasks.write(ownerId, [], () => [
          { add: aTaskDraft({ ownerId, title: 'one' }) },
          { add: aTaskDraft({ ownerId, title: 'another' }) },
        ])
        await Promise.all([
          addition,
          editTask(tasks, kept.snapshot(), increment),
          removeTask(tasksOf(index + 1), removed.snapshot()),
        ])
      }
      for (let round = 0; round < 10; round++) await Promise.all(times(6, write))
      writing = false
      await polling
      const head = await tasksOf(0).head(ownerId)
      while (position?.revision !== head.revision) await pull(0)
      const { tasks, total } = await tasksOf(1).list(ownerId, { ...taskQuery({ count: true }), limit: 1_000 })
      const stored = tasks.map((task) => task.snapshot())
      expect([...replica.values()].sort((one, other) => other.id - one.id)).to.deep.equal(stored)
      expect(new Set(stored.map(({ revision }) => revision)).size).to.equal(180)
      expect([total, head.revision]).to.deep.equal([180, 360])
    })

    it('raise the counter for each write and for nothing else', async () => {
      const task = await addTask()
      const failing = (each: Task) => {
        increment(each)
        throw new RangeError('no')
      }
      expect(await revision()).to.equal(1)
      await editTask(tasksOf(0), task, () => undefined)
      await expectRejection(editTask(tasksOf(0), task, failing), RangeError)
      await expectRejection(removeTask(tasksOf(0), { ...task, id: task.id + 1_000 }), TaskNotFound)
      expect(await revision()).to.equal(1)
      await editTask(tasksOf(1), task, increment)
      await removeTask(tasksOf(0), task)
      expect(await revision()).to.equal(3)
    })

    it('are stored although another one fails', async () => {
      const [first, second] = [await addTask(), await addTask()]
      const failing = editTask(tasksOf(0), second, () => {
        throw new RangeError('no')
      })
      const [failed] = await Promise.allSettled([failing, ...times(5, () => editTask(tasksOf(0), first, increment))])
      expect(failed).to.include({ status: 'rejected' })
      expect(await titles([first, second])).to.deep.equal(['5', '0'])
    })
  })
}

for (const { name, databaseUrl } of sqlSets) {
  describe(`Statements on an owner’s rows (${name})`, () => {
    it('name the owner', async () => {
      const fresh = await openDatabase(targetOf(await databaseUrl()) as PersistentTarget)
      await fresh.migrate()
      const ran = await recorded(async () => {
        const owner = await anOwner(fresh)
        const task = (await storeTask(fresh.tasks, aTaskDraft({ ownerId: owner, title: '0' }))).snapshot()
        await editTask(fresh.tasks, task, increment)
        for (const query of fc.sample(taskQueries(SCENES[0] as Scene, 9), 100)) await fresh.tasks.list(owner, query)
        await fresh.tasks.get(task)
        await fresh.tasks.changes(owner, await fresh.tasks.head(owner), 9)
        await fresh.tasks.write(owner, [task.id, task.id + 1], (found) => [
          ...Array.from(found.values(), (remove) => ({ remove, deletedAt: NOW })),
          { add: aTaskDraft({ ownerId: owner }) },
          { add: aTaskDraft({ ownerId: owner }) },
        ])
        const key = { scope: 'POST /tasks', key: 'a', fingerprint: 'b' }
        for (let attempt = 0; attempt < 2; attempt++) {
          await fresh.tasks.writeOnce(owner, [], () => [{ add: aTaskDraft({ ownerId: owner }) }], key, NOW)
        }
        const { users, sessions, apiTokens } = fresh
        const user = (await users.findById(owner)) as User
        const session = (await sessions.start(aSessionDraft({ ownerId: owner }), user.snapshot())) as Session
        await sessions.find(session)
        await sessions.use(session, NOW)
        await sessions.refresh(session, () => ({ outcome: 'rotated', session }))
        await sessions.end(session)
        for (let count = 0; count <= MAX_SESSIONS; count++) {
          await sessions.start(aSessionDraft({ ownerId: owner, lastUsedAt: NOW }), user.snapshot())
        }
        await sessions.endAll(owner)
        await sessions.start(aSessionDraft({ ownerId: owner }), user.snapshot())
        await fresh.purgeSessions({ created: NOW, lastUsed: NOW })
        const apiToken = await apiTokens.add(anApiTokenDraft({ ownerId: owner }))
        await apiTokens.find(apiToken)
        await apiTokens.use(apiToken, NOW)
        await apiTokens.list(owner)
        await apiTokens.remove(apiToken)
        await apiTokens.add(anApiTokenDraft({ ownerId: owner, expiresAt: new Date(0) }))
        await fresh.purgeApiTokens(NOW)
        await users.write(owner, () => ({ save: user, endSessions: { except: 1 } }))
        await users.write(owner, () => ({ remove: user }))
        await fresh.purgeLeavers()
        await fresh.close()
      })
      const rows =
        /\b(?:from|into|update|join) (?:"\w+"\.)?"(?:tasks|task_lists|tombstones|idempotency_keys|sessions|api_tokens)"/g
      const named = /"owner_id"(?: =| in| from|,|\))/g
      const count = (text: string, pattern: RegExp) => text.match(pattern)?.length ?? 0
      const onRows = ran.filter((text) => count(text, rows) > 0)
      expect(onRows).to.have.lengthOf.at.least(40)
      expect(onRows.filter((text) => count(text, named) < count(text, rows))).to.deep.equal([])
    })
  })
}

/** The SQL that both drivers receive during `work`. */
async function recorded(work: () => Promise<void>): Promise<string[]> {
  const ran: string[] = []
  const { query } = pg.Client.prototype
  const { prepare } = BetterSqlite3.prototype
  pg.Client.prototype.query = function (this: pg.Client, ...values: unknown[]) {
    ran.push(typeof values[0] === 'string' ? values[0] : (values[0] as { text: string }).text)
    return (query as (...values: unknown[]) => unknown).apply(this, values)
  } as typeof query
  BetterSqlite3.prototype.prepare = function (this: BetterSqlite3.Database, text: string) {
    ran.push(text)
    return prepare.call(this, text)
  } as typeof prepare
  try {
    await work()
  } finally {
    pg.Client.prototype.query = query
    BetterSqlite3.prototype.prepare = prepare
  }
  return ran
}
