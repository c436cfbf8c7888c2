import { expect } from 'chai'
import { InvalidToken, StoreUnavailable, SyncExpired, TaskLimitReached, TaskNotFound } from '#src/domain/errors.ts'
import type { SyncPosition } from '#src/domain/tasks/change-feed.ts'
import type { TaskKey, TaskWrite } from '#src/domain/tasks/ports.ts'
import type { Task, TaskSnapshot } from '#src/domain/tasks/task.ts'
import { taskQuery } from '#src/domain/tasks/task-query.ts'
import { adapterSets, persistentSets } from '#test/adapter-sets.ts'
import { aTaskDraft } from '#test/builders.ts'
import {
  anOwner,
  editTask,
  expectRejection,
  listTasks,
  openRepositories,
  outcomes,
  type Repositories,
  removeTask,
  storeTask,
} from '#test/contracts/repositories.ts'

/** Below the first id, at the limits of four bytes, and the largest safe integer. */
const UNASSIGNED_IDS = [0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]
const NOW = new Date('2026-02-01T12:00:00.000Z')

const keyOf = (task: Task): TaskKey => ({ id: task.snapshot().id, ownerId: task.snapshot().ownerId })
const snapshotsOf = (tasks: readonly Task[]): TaskSnapshot[] => tasks.map((task) => task.snapshot())
const idsOf = (tasks: readonly Task[]): number[] => tasks.map((task) => task.snapshot().id)

/** An id that no user has. */
const MISSING = 2 ** 31 - 2

for (const { name, databaseUrl } of adapterSets) {
  describe(`A task repository (${name})`, () => {
    let repositories: Repositories
    let tasks: Repositories['tasks']
    let ownerId: number

    before(async () => {
      repositories = await openRepositories(await databaseUrl())
      tasks = repositories.tasks
    })

    beforeEach(async () => {
      ownerId = await anOwner(repositories)
    })

    after(() => repositories.close())

    const addTask = (overrides = {}) => storeTask(tasks, aTaskDraft({ ownerId, ...overrides }))

    async function addTasks(count: number): Promise<Task[]> {
      const added: Task[] = []
      for (let index = 0; index < count; index++) added.push(await addTask({ title: `${index}` }))
      return added
    }

    describe('adding a task', () => {
      it('stores and returns the task with its id', async () => {
        const draft = aTaskDraft({
          ownerId,
          title: 'Ship',
          description: 'today',
          completed: true,
          completedAt: new Date('2026-01-31T09:30:00.789Z'),
          due: '2026-02-29T24:00:00+25:00',
          priority: 'urgent',
          tags: ['b', 'a', '"\\\n\u2028'],
          createdAt: new Date('2026-01-31T09:30:00.123Z'),
          updatedAt: new Date('2026-01-31T09:30:00.456Z'),
        })
        const added = await storeTask(tasks, draft)
        expect(added.snapshot()).to.deep.equal({ ...draft, id: added.snapshot().id, revision: 1 })
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('distinguishes a missing description from an empty one', async () => {
        const absent = await addTask({ description: null })
        const empty = await addTask({ description: '' })
        expect((await tasks.get(keyOf(absent))).snapshot().description).to.equal(null)
        expect((await tasks.get(keyOf(empty))).snapshot().description).to.equal('')
      })

      it('stores texts of any characters unchanged, even of maximum length', async () => {
        for (const text of [' a  b\n\t', `it's "quoted" \\ ? $1 :x \`y\``, 'e\u0301 \u00e9', '😀'.repeat(255)]) {
          const description = text.repeat(4)
          const { title, ...rest } = (await tasks.get(keyOf(await addTask({ title: text, description })))).snapshot()
          expect(title).to.equal(text)
          expect(rest.description).to.equal(description)
        }
        const longest = '😀'.repeat(2_000)
        expect((await tasks.get(keyOf(await addTask({ description: longest })))).snapshot().description).to.equal(
          longest,
        )
      })

      it('stores times to the millisecond', async () => {
        for (const time of ['1970-01-01T00:00:00.001Z', '2024-02-29T23:59:59.999Z', '9999-12-31T23:59:59.999Z']) {
          const added = await addTask({ createdAt: new Date(time), updatedAt: new Date(time) })
          const { createdAt, updatedAt } = (await tasks.get(keyOf(added))).snapshot()
          expect([createdAt.toISOString(), updatedAt.toISOString()]).to.deep.equal([time, time])
        }
      })

      it('assigns a higher id than all earlier ones, including those of other owners', async () => {
        const first = await addTask()
        const second = await storeTask(tasks, aTaskDraft({ ownerId: await anOwner(repositories) }))
        const third = await addTask()
        expect(second.snapshot().id).to.be.above(first.snapshot().id)
        expect(third.snapshot().id).to.be.above(second.snapshot().id)
      })

      it('never reuses an id, not even that of the newest task', async () => {
        const removed = await addTask()
        await removeTask(tasks, keyOf(removed))
        expect((await addTask()).snapshot().id).to.be.above(removed.snapshot().id)
      })

      it('assigns twenty ids to twenty tasks added concurrently', async () => {
        const added = await Promise.all(Array.from({ length: 20 }, () => addTask()))
        expect(new Set(idsOf(added))).to.have.property('size', 20)
        expect(await listTasks(tasks, ownerId)).to.have.lengthOf(20)
      })
    })

    describe('reading a task', () => {
      it('rejects with TaskNotFound if there is no such task', async () => {
        for (const id of UNASSIGNED_IDS) await expectRejection(tasks.get({ id, ownerId }), TaskNotFound)
      })

      it('rejects with TaskNotFound for another owner’s task', async () => {
        const { id } = keyOf(await addTask())
        for (const other of [await anOwner(repositories), ...UNASSIGNED_IDS]) {
          await expectRejection(tasks.get({ id, ownerId: other }), TaskNotFound)
        }
      })

      it('returns a new object each time, so that editing one does not change the store', async () => {
        const key = keyOf(await addTask({ title: 'stored' }))
        const mine = await tasks.get(key)
        mine.edit({ title: 'changed, and not saved' }, NOW)
        expect((await tasks.get(key)).snapshot().title).to.equal('stored')
        expect(snapshotsOf(await listTasks(tasks, ownerId)).map(({ title }) => title)).to.deep.equal(['stored'])
      })
    })

    describe('updating a task', () => {
      it('stores and returns the changed task', async () => {
        const added = await addTask()
        const changes = { title: 'New 😀', description: 'more', completed: true }
        const updated = await editTask(tasks, keyOf(added), (task) => task.edit(changes, NOW))
        const expected = { ...added.snapshot(), ...changes, completedAt: NOW, updatedAt: NOW, revision: 2 }
        expect(updated.snapshot()).to.deep.equal(expected)
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(updated.snapshot())
      })

      it('can remove the description', async () => {
        const key = keyOf(await addTask({ description: 'some' }))
        await editTask(tasks, key, (task) => task.edit({ description: null }, NOW))
        expect((await tasks.get(key)).snapshot().description).to.equal(null)
      })

      it('leaves the other tasks unchanged', async () => {
        const [first, second] = (await addTasks(2)) as [Task, Task]
        await editTask(tasks, keyOf(first), (task) => task.edit({ title: 'changed' }, NOW))
        expect((await tasks.get(keyOf(second))).snapshot()).to.deep.equal(second.snapshot())
      })

      it('returns the task unchanged if `change` does nothing', async () => {
        const added = await addTask()
        const same = await editTask(tasks, keyOf(added), () => undefined)
        expect(same.snapshot()).to.deep.equal(added.snapshot())
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('rejects with the error that `change` throws, and leaves the task unchanged', async () => {
        const added = await addTask()
        const failing = editTask(tasks, keyOf(added), (task) => {
          task.edit({ title: 'half done' }, NOW)
          throw new RangeError('no')
        })
        await expectRejection(failing, RangeError)
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('stores concurrent writes even if another update fails', async () => {
        const key = keyOf(await addTask())
        const failing = () =>
          editTask(tasks, key, () => {
            throw new RangeError('no')
          })
        const [failed, ...added] = await Promise.allSettled([failing(), addTask(), addTask(), failing(), addTask()])
        expect(failed?.status).to.equal('rejected')
        expect(added.filter(({ status }) => status === 'fulfilled')).to.have.lengthOf(3)
        expect(await listTasks(tasks, ownerId)).to.have.lengthOf(4)
      })

      it('rejects with TaskNotFound for a missing or another owner’s task, without calling `change`', async () => {
        const added = await addTask()
        const others = [
          ...UNASSIGNED_IDS.map((id) => ({ id, ownerId })),
          { ...keyOf(added), ownerId: await anOwner(repositories) },
        ]
        for (const key of others) {
          await expectRejection(
            editTask(tasks, key, () => expect.fail('`change` is called')),
            TaskNotFound,
          )
        }
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('stores both of two concurrent updates', async () => {
        const key = keyOf(await addTask())
        await Promise.all([
          editTask(tasks, key, (task) => task.edit({ title: 'one' }, NOW)),
          editTask(tasks, key, (task) => task.edit({ completed: true }, NOW)),
        ])
        expect((await tasks.get(key)).snapshot()).to.include({ title: 'one', completed: true })
      })

      it('passes each of twenty concurrent updates the result of the previous one', async () => {
        const key = keyOf(await addTask({ title: '0' }))
        const increment = (task: Task) => task.edit({ title: `${Number(task.snapshot().title) + 1}` }, NOW)
        await Promise.all(Array.from({ length: 20 }, () => editTask(tasks, key, increment)))
        expect((await tasks.get(key)).snapshot().title).to.equal('20')
      })
    })

    describe('listing tasks', () => {
      it('returns an empty array for an owner without tasks', async () => {
        for (const id of [ownerId, ...UNASSIGNED_IDS]) expect(await listTasks(tasks, id)).to.deep.equal([])
      })

      it('returns complete tasks of that owner only, newest first', async () => {
        const other = await anOwner(repositories)
        const added = [await addTask()]
        await storeTask(tasks, aTaskDraft({ ownerId: other }))
        added.unshift(await addTask({ createdAt: new Date(0) }))
        expect(snapshotsOf(await listTasks(tasks, ownerId))).to.deep.equal(snapshotsOf(added))
      })
    })

    describe('writing several tasks at once', () => {
      const idOf = (task: Task | undefined) => (task as Task).snapshot().id
      const write = (...writes: readonly TaskWrite[]) => tasks.write(ownerId, [], () => writes)
      const draft = (title: string) => ({ add: aTaskDraft({ ownerId, title }) })
      const state = async () => ({
        tasks: snapshotsOf(await listTasks(tasks, ownerId)),
        head: await tasks.head(ownerId),
        total: (await tasks.list(ownerId, taskQuery({ count: true }))).total,
      })

      it('gives each a revision of its own, in the order of the writes', async () => {
        const added = await write(draft('one'), draft('two'), draft('three'))
        const [one, two, three] = added.map(idOf) as [number, number, number]
        expect(two).to.be.above(one)
        const results = await tasks.write(ownerId, [one, two, three], (found) => {
          const [first, second, third] = [one, two, three].map((id) => found.get(id)) as [Task, Task, Task]
          second.edit({ title: 'second' }, NOW)
          third.edit({ completed: true }, NOW)
          return [{ save: third }, { remove: first, deletedAt: NOW }, draft('four'), { save: second }]
        })
        expect(results.map((task) => task?.snapshot().title)).to.deep.equal(['three', undefined, 'four', 'second'])
        const { tasks: stored, head, total } = await state()
        expect(stored.map(({ title, revision }) => [title, revision])).to.deep.equal([
          ['four', 6],
          ['three', 4],
          ['second', 7],
        ])
        expect(stored).to.have.deep.members(results.flatMap((task) => (task ? [task.snapshot()] : [])))
        expect(head.revision).to.equal(7)
        expect(total).to.equal(3)
      })

      it('passes the tasks with these ids to the decision, without those of other owners', async () => {
        const other = await storeTask(tasks, aTaskDraft({ ownerId: await anOwner(repositories) }))
        const [one, two] = (await write(draft('one'), draft('two'), draft('three'))).map(idOf) as [number, number]
        let seen: unknown
        await tasks.write(ownerId, [two, keyOf(other).id, one, ...UNASSIGNED_IDS, one], (found) => {
          seen = [...found].map(([id, task]) => [id, task.snapshot().title]).sort()
          return []
        })
        expect(seen).to.deep.equal([
          [one, 'one'],
          [two, 'two'],
        ])
      })

      it('raises no revision for tasks that did not change', async () => {
        const [added] = await write(draft('one'), draft('two'))
        const before = await state()
        const [saved] = await tasks.write(ownerId, [idOf(added)], (found) => [{ save: found.get(idOf(added)) as Task }])
        expect(saved?.snapshot()).to.deep.equal(added?.snapshot())
        expect(await state()).to.deep.equal(before)
      })

      it('stores nothing when the decision throws', async () => {
        const ids = (await write(draft('one'), draft('two'))).map(idOf)
        const before = await state()
        const failing = tasks.write(ownerId, ids, (found) => {
          for (const task of found.values()) task.edit({ title: 'half done' }, NOW)
          throw new RangeError('no')
        })
        await expectRejection(failing, RangeError)
        expect(await state()).to.deep.equal(before)
      })

      it('counts the revisions of each owner separately, from 0', async () => {
        const other = await anOwner(repositories)
        expect((await tasks.head(ownerId)).revision).to.equal(0)
        await write(draft('one'), draft('two'))
        const task = await storeTask(tasks, aTaskDraft({ ownerId: other }))
        expect(task.snapshot()).to.include({ ownerId: other, revision: 1 })
        const ids = [ownerId, other, MISSING]
        const heads = await Promise.all(ids.map((id) => tasks.head(id)))
        expect(heads.map(({ revision }) => revision)).to.deep.equal([2, 1, 0])
        expect([...(await tasks.heads(ids))]).to.deep.equal(ids.map((id, index) => [id, heads[index]]))
        expect(await tasks.heads([])).to.deep.equal(new Map())
      })
    })

    describe('reading changes', () => {
      const START = undefined

      it('returns tasks and deletions by ascending revision, page by page', async () => {
        const [first, second] = (await addTasks(4)) as [Task, Task]
        const start = await tasks.changes(ownerId, START, 9)
        expect(snapshotsOf(start.items).map(({ revision }) => revision)).to.deep.equal([1, 2, 3, 4])
        expect(start).to.deep.include({ deleted: [], hasMore: false, next: { ...start.next, revision: 4 } })

        await removeTask(tasks, keyOf(first), NOW)
        await editTask(tasks, keyOf(second), (task) => task.edit({ title: 'edited' }, NOW))
        const added = await addTask()
        const one = await tasks.changes(ownerId, start.next, 2)
        expect(one.deleted).to.deep.equal([{ id: keyOf(first).id, revision: 5, deletedAt: NOW }])
        expect(snapshotsOf(one.items).map(({ title, revision }) => [title, revision])).to.deep.equal([['edited', 6]])
        expect(one).to.deep.include({ hasMore: true, next: { ...start.next, revision: 6 } })
        const two = await tasks.changes(ownerId, one.next, 2)
        expect(snapshotsOf(two.items)).to.deep.equal([added.snapshot()])
        expect(two).to.deep.include({ deleted: [], hasMore: false, next: { ...start.next, revision: 7 } })
        expect(await tasks.changes(ownerId, two.next, 2)).to.deep.include({ items: [], deleted: [], next: two.next })
      })

      it('reads the changes and the position after them together', async () => {
        const reading = tasks.changes(ownerId, START, 9)
        await storeTask(tasks, aTaskDraft({ ownerId }))
        const { items, next } = await reading
        for (const task of items) expect(task.snapshot().revision).to.be.at.most(next.revision)
      })

      it('ends a page once its texts take 1 MiB', async () => {
        const [, gone] = await tasks.write(ownerId, [], () => Array(2).fill({ add: aTaskDraft({ ownerId }) }))
        const start = (await tasks.changes(ownerId, START, 9)).next
        await removeTask(tasks, keyOf(gone as Task), NOW)
        const largest = (character: string) =>
          aTaskDraft({
            ownerId,
            title: character.repeat(255),
            description: character.repeat(2_000),
            tags: Array.from({ length: 20 }, (_, index) => character.repeat(48) + String(index + 10)),
          })
        const add = (character: string) => Array(60).fill({ add: largest(character) })
        const added = await tasks.write(ownerId, [], () => [...add('\u0001'), ...add('😀')])
        const read: TaskSnapshot[] = []
        const sizes: number[] = []
        let position = start
        for (let more = true; more; ) {
          const page = await tasks.changes(ownerId, position, 1_000)
          expect(page.deleted).to.have.lengthOf(sizes.length === 0 ? 1 : 0)
          read.push(...snapshotsOf(page.items))
          sizes.push(Buffer.byteLength(JSON.stringify(page.items)))
          position = page.next
          more = page.hasMore
        }
        expect(read).to.deep.equal(added.map((task) => task?.snapshot()))
        expect(sizes).to.have.lengthOf(2)
        for (const size of sizes.slice(0, -1)) expect(size).to.be.within(2 ** 20, 1.1 * 2 ** 20)
        expect(await tasks.changes(ownerId, position, 1_000)).to.deep.include({
          items: [],
          deleted: [],
          next: position,
        })
      })

      it('leaves deletions out of a first synchronization', async () => {
        const [removed, kept] = (await addTasks(2)) as [Task, Task]
        await removeTask(tasks, keyOf(removed))
        const { items, deleted, next } = await tasks.changes(ownerId, START, 1)
        expect(snapshotsOf(items)).to.deep.equal([kept.snapshot()])
        expect(deleted).to.deep.equal([])
        expect(next.revision).to.equal(3)
      })

      it('rejects a position of another store, or ahead of the list, with SyncExpired', async () => {
        const { next } = await tasks.changes(ownerId, START, 1)
        for (const position of [
          { ...next, epoch: 'another' },
          { ...next, revision: next.revision + 1 },
        ]) {
          await expectRejection(tasks.changes(ownerId, position, 1), SyncExpired)
        }
      })

      it('rejects a position before a purged deletion with SyncExpired', async () => {
        const days = (count: number) => new Date(NOW.getTime() + count * 86_400_000)
        const positions: SyncPosition[] = []
        for (const deletedAt of [days(0), days(1), days(2)]) {
          const task = await addTask()
          positions.push((await tasks.changes(ownerId, START, 9)).next)
          await removeTask(tasks, keyOf(task), deletedAt)
        }
        const other = await anOwner(repositories)
        await repositories.purgeDeletions(days(2))
        const [first, second, third] = positions as [SyncPosition, SyncPosition, SyncPosition]
        for (const position of [first, second]) await expectRejection(tasks.changes(ownerId, position, 9), SyncExpired)
        expect((await tasks.changes(ownerId, third, 9)).deleted.map(({ deletedAt }) => deletedAt)).to.deep.equal([
          days(2),
        ])
        expect((await tasks.head(ownerId)).forgotten).to.equal(4)
        expect((await tasks.head(other)).forgotten).to.equal(0)
        await repositories.purgeDeletions(days(2))
        expect((await tasks.head(ownerId)).forgotten).to.equal(4)
        expect((await tasks.changes(ownerId, START, 9)).items).to.deep.equal([])
      })

      it('reads the whole list page by page after deletions were purged', async () => {
        const added = await addTasks(3)
        await removeTask(tasks, keyOf(await addTask()), NOW)
        await repositories.purgeDeletions(new Date(NOW.getTime() + 1))
        const read: TaskSnapshot[] = []
        let position: SyncPosition | undefined
        for (let more = true; more; ) {
          const page = await tasks.changes(ownerId, position, 1)
          read.push(...snapshotsOf(page.items))
          position = page.next
          more = page.hasMore
        }
        expect(read).to.deep.equal(snapshotsOf(added))
      })

      it('keeps a replica equal while writers work', async () => {
        const replica = new Map<number, TaskSnapshot>()
        let position: SyncPosition | undefined
        const pull = async () => {
          for (let more = true; more; ) {
            const page = await tasks.changes(ownerId, position, 3)
            for (const task of snapshotsOf(page.items)) replica.set(task.id, task)
            for (const { id } of page.deleted) replica.delete(id)
            position = page.next
            more = page.hasMore
          }
        }
        let writing = true
        const reader = (async () => {
          while (writing) await pull()
        })()
        const writer = async (index: number) => {
          const kept = keyOf(await addTask({ title: `kept ${index}` }))
          const removed = keyOf(await addTask({ title: `removed ${index}` }))
          await editTask(tasks, kept, (task) => task.edit({ completed: true }, NOW))
          await removeTask(tasks, removed)
        }
        for (let round = 0; round < 5; round++)
          await Promise.all(Array.from({ length: 8 }, (_, index) => writer(index)))
        writing = false
        await reader
        await pull()
        const byId = (one: TaskSnapshot, other: TaskSnapshot) => other.id - one.id
        expect([...replica.values()].sort(byId)).to.deep.equal(snapshotsOf(await listTasks(tasks, ownerId)))
        expect(replica.size).to.equal(40)
      })
    })

    describe('removing a task', () => {
      it('removes that task and no other', async () => {
        const [kept, removed] = (await addTasks(2)) as [Task, Task]
        await removeTask(tasks, keyOf(removed))
        await expectRejection(tasks.get(keyOf(removed)), TaskNotFound)
        await expectRejection(removeTask(tasks, keyOf(removed)), TaskNotFound)
        await expectRejection(
          editTask(tasks, keyOf(removed), (task) => task.edit({ title: 'back' }, NOW)),
          TaskNotFound,
        )
        expect(idsOf(await listTasks(tasks, ownerId))).to.deep.equal([kept.snapshot().id])
      })

      it('rejects with TaskNotFound for a missing or another owner’s task', async () => {
        const added = await addTask()
        for (const id of UNASSIGNED_IDS) await expectRejection(removeTask(tasks, { id, ownerId }), TaskNotFound)
        const other = { ...keyOf(added), ownerId: await anOwner(repositories) }
        await expectRejection(removeTask(tasks, other), TaskNotFound)
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('succeeds for one of twenty concurrent calls', async () => {
        const key = keyOf(await addTask())
        const { succeeded, reasons } = await outcomes(Array.from({ length: 20 }, () => removeTask(tasks, key)))
        expect(succeeded).to.equal(1)
        for (const reason of reasons) expect(reason).to.be.an.instanceOf(TaskNotFound)
      })
    })
  })
}

for (const { name, databaseUrl, deleteUser } of persistentSets) {
  describe(`A persistent task repository (${name})`, () => {
    it('deletes tasks with their owner, and rejects new ones with InvalidToken', async () => {
      const url = await databaseUrl()
      const repositories = await openRepositories(url)
      const ownerId = await anOwner(repositories)
      const added = await storeTask(repositories.tasks, aTaskDraft({ ownerId }))
      const other = await storeTask(repositories.tasks, aTaskDraft({ ownerId: await anOwner(repositories) }))
      await deleteUser(url, ownerId)
      await expectRejection(repositories.tasks.get(keyOf(added)), TaskNotFound)
      for (const missing of [ownerId, ...UNASSIGNED_IDS]) {
        const key = { ...keyOf(added), ownerId: missing }
        await expectRejection(storeTask(repositories.tasks, aTaskDraft({ ownerId: missing })), InvalidToken)
        await expectRejection(
          editTask(repositories.tasks, key, () => undefined),
          InvalidToken,
        )
        await expectRejection(removeTask(repositories.tasks, key), InvalidToken)
        const twoDrafts = () => [{ add: aTaskDraft({ ownerId: missing }) }, { add: aTaskDraft({ ownerId: missing }) }]
        await expectRejection(repositories.tasks.write(missing, [], twoDrafts), InvalidToken)
      }
      expect((await repositories.tasks.get(keyOf(other))).snapshot()).to.deep.equal(other.snapshot())
      await repositories.close()
    })

    it('rejects a write that leaves more tasks than an owner may have, and stores none of it', async () => {
      const repositories = await openRepositories(await databaseUrl(), { MAX_TASKS_PER_USER: '3' })
      const { tasks } = repositories
      const ownerId = await anOwner(repositories)
      const draft = { add: aTaskDraft({ ownerId }) }
      const attempts = Array.from({ length: 5 }, (_, index) =>
        tasks.write(ownerId, [], () => Array(1 + (index % 2)).fill(draft)),
      )
      const { reasons } = await outcomes(attempts)
      for (const reason of reasons) expect(reason).to.be.an.instanceOf(TaskLimitReached)
      expect(await listTasks(tasks, ownerId)).to.have.lengthOf(3)

      const before = await tasks.head(ownerId)
      await expectRejection(storeTask(tasks, draft.add), TaskLimitReached)
      await expectRejection(
        tasks.write(ownerId, [], () => [draft, draft]),
        TaskLimitReached,
      )
      expect(await tasks.head(ownerId)).to.deep.equal(before)
      const [task] = (await listTasks(tasks, ownerId)) as [Task]
      await tasks.write(ownerId, [keyOf(task).id], (found) => [
        draft,
        ...Array.from(found.values(), (remove) => ({ remove, deletedAt: NOW })),
      ])
      expect(await listTasks(tasks, ownerId)).to.have.lengthOf(3)
      await removeTask(tasks, keyOf((await listTasks(tasks, ownerId))[0] as Task))
      await storeTask(tasks, draft.add)
      await repositories.close()
    })

    it('rejects with StoreUnavailable after its database was closed', async () => {
      const closed = await openRepositories(await databaseUrl())
      const key = keyOf(await storeTask(closed.tasks, aTaskDraft({ ownerId: await anOwner(closed) })))
      await closed.close()
      await expectRejection(storeTask(closed.tasks, aTaskDraft(key)), StoreUnavailable)
      await expectRejection(closed.tasks.get(key), StoreUnavailable)
      await expectRejection(
        editTask(closed.tasks, key, (task) => task.edit({ title: 'late' }, NOW)),
        StoreUnavailable,
      )
      await expectRejection(listTasks(closed.tasks, key.ownerId), StoreUnavailable)
      await expectRejection(removeTask(closed.tasks, key), StoreUnavailable)
    })
  })
}
