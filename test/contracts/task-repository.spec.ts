import { expect } from 'chai'
import fc from 'fast-check'
import { InvalidToken, StoreUnavailable, TaskNotFound } from '#src/domain/errors.ts'
import type { TaskKey, TaskRange } from '#src/domain/tasks/ports.ts'
import type { Task, TaskSnapshot } from '#src/domain/tasks/task.ts'
import { adapterSets, persistentSets } from '#test/adapter-sets.ts'
import { aTaskDraft } from '#test/builders.ts'
import {
  anOwner,
  expectRejection,
  openRepositories,
  outcomes,
  type Repositories,
} from '#test/contracts/repositories.ts'

/** Below the first id, at the limits of four bytes, and the largest safe integer. */
const UNASSIGNED_IDS = [0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]
const NOW = new Date('2026-02-01T12:00:00.000Z')
const everything = { skip: 0, limit: 1_000 }

const keyOf = (task: Task): TaskKey => ({ id: task.snapshot().id, ownerId: task.snapshot().ownerId })
const snapshotsOf = (tasks: readonly Task[]): TaskSnapshot[] => tasks.map((task) => task.snapshot())
const idsOf = (tasks: readonly Task[]): number[] => tasks.map((task) => task.snapshot().id)

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

    const addTask = (overrides = {}) => tasks.add(aTaskDraft({ ownerId, ...overrides }))

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
          createdAt: new Date('2026-01-31T09:30:00.123Z'),
          updatedAt: new Date('2026-01-31T09:30:00.456Z'),
        })
        const added = await tasks.add(draft)
        expect(added.snapshot()).to.deep.equal({ ...draft, id: added.snapshot().id })
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
        const second = await tasks.add(aTaskDraft({ ownerId: await anOwner(repositories) }))
        const third = await addTask()
        expect(second.snapshot().id).to.be.above(first.snapshot().id)
        expect(third.snapshot().id).to.be.above(second.snapshot().id)
      })

      it('never reuses an id, not even that of the newest task', async () => {
        const removed = await addTask()
        await tasks.remove(keyOf(removed))
        expect((await addTask()).snapshot().id).to.be.above(removed.snapshot().id)
      })

      it('assigns twenty ids to twenty tasks added concurrently', async () => {
        const added = await Promise.all(Array.from({ length: 20 }, () => addTask()))
        expect(new Set(idsOf(added))).to.have.property('size', 20)
        expect(await tasks.list(ownerId, everything)).to.have.lengthOf(20)
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
        expect(snapshotsOf(await tasks.list(ownerId, everything)).map(({ title }) => title)).to.deep.equal(['stored'])
      })
    })

    describe('updating a task', () => {
      it('stores and returns the changed task', async () => {
        const added = await addTask()
        const changes = { title: 'New 😀', description: 'more', completed: true }
        const updated = await tasks.update(keyOf(added), (task) => task.edit(changes, NOW))
        expect(updated.snapshot()).to.deep.equal({ ...added.snapshot(), ...changes, updatedAt: NOW })
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(updated.snapshot())
      })

      it('can remove the description', async () => {
        const key = keyOf(await addTask({ description: 'some' }))
        await tasks.update(key, (task) => task.edit({ description: null }, NOW))
        expect((await tasks.get(key)).snapshot().description).to.equal(null)
      })

      it('leaves the other tasks unchanged', async () => {
        const [first, second] = (await addTasks(2)) as [Task, Task]
        await tasks.update(keyOf(first), (task) => task.edit({ title: 'changed' }, NOW))
        expect((await tasks.get(keyOf(second))).snapshot()).to.deep.equal(second.snapshot())
      })

      it('returns the task unchanged if `change` does nothing', async () => {
        const added = await addTask()
        const same = await tasks.update(keyOf(added), () => undefined)
        expect(same.snapshot()).to.deep.equal(added.snapshot())
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('rejects with the error that `change` throws, and leaves the task unchanged', async () => {
        const added = await addTask()
        const failing = tasks.update(keyOf(added), (task) => {
          task.edit({ title: 'half done' }, NOW)
          throw new RangeError('no')
        })
        await expectRejection(failing, RangeError)
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('stores concurrent writes although another update fails', async () => {
        const key = keyOf(await addTask())
        const failing = () =>
          tasks.update(key, () => {
            throw new RangeError('no')
          })
        const [failed, ...added] = await Promise.allSettled([failing(), addTask(), addTask(), failing(), addTask()])
        expect(failed?.status).to.equal('rejected')
        expect(added.filter(({ status }) => status === 'fulfilled')).to.have.lengthOf(3)
        expect(await tasks.list(ownerId, everything)).to.have.lengthOf(4)
      })

      it('rejects with TaskNotFound for a missing or another owner’s task, without calling `change`', async () => {
        const added = await addTask()
        const others = [
          ...UNASSIGNED_IDS.map((id) => ({ id, ownerId })),
          ...[await anOwner(repositories), ...UNASSIGNED_IDS].map((other) => ({ ...keyOf(added), ownerId: other })),
        ]
        for (const key of others) {
          await expectRejection(
            tasks.update(key, () => expect.fail('`change` is called')),
            TaskNotFound,
          )
        }
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('stores both of two concurrent updates', async () => {
        const key = keyOf(await addTask())
        await Promise.all([
          tasks.update(key, (task) => task.edit({ title: 'one' }, NOW)),
          tasks.update(key, (task) => task.edit({ completed: true }, NOW)),
        ])
        expect((await tasks.get(key)).snapshot()).to.include({ title: 'one', completed: true })
      })

      it('passes each of twenty concurrent updates the result of the previous one', async () => {
        const key = keyOf(await addTask({ title: '0' }))
        const increment = (task: Task) => task.edit({ title: `${Number(task.snapshot().title) + 1}` }, NOW)
        await Promise.all(Array.from({ length: 20 }, () => tasks.update(key, increment)))
        expect((await tasks.get(key)).snapshot().title).to.equal('20')
      })
    })

    describe('listing tasks', () => {
      it('returns an empty array for an owner without tasks', async () => {
        for (const id of [ownerId, ...UNASSIGNED_IDS]) expect(await tasks.list(id, everything)).to.deep.equal([])
      })

      it('returns complete tasks of that owner only, newest first', async () => {
        const other = await anOwner(repositories)
        const added = [await addTask()]
        await tasks.add(aTaskDraft({ ownerId: other }))
        added.unshift(await addTask({ createdAt: new Date(0) }))
        expect(snapshotsOf(await tasks.list(ownerId, everything))).to.deep.equal(snapshotsOf(added))
      })

      it('returns the same range as a plain array (property-based)', async () => {
        const other = await anOwner(repositories)
        const added: Task[] = []
        for (const title of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) {
          added.unshift(await addTask({ title }))
          await tasks.add(aTaskDraft({ ownerId: other }))
        }
        const [removed] = added.splice(3, 1) as [Task]
        await tasks.remove(keyOf(removed))
        const newest = (added[0] as Task).snapshot().id

        const position = fc.oneof(
          fc.integer({ min: newest - 17, max: newest + 2 }).map((id) => Math.max(id, 0)),
          fc.constantFrom(0, 2 ** 31, Number.MAX_SAFE_INTEGER - 1),
        )
        const range: fc.Arbitrary<TaskRange> = fc
          .tuple(
            fc.oneof(fc.constant({}), fc.record({ newerThan: position }), fc.record({ olderThan: position })),
            fc.oneof(fc.nat({ max: 9 }), fc.constantFrom(2 ** 31, Number.MAX_SAFE_INTEGER)),
            fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(201)),
          )
          .map(([side, skip, limit]) => ({ ...side, skip, limit }))

        await fc.assert(
          fc.asyncProperty(range, async (range) => {
            expect(idsOf(await tasks.list(ownerId, range))).to.deep.equal(rangeOf(idsOf(added), range))
          }),
        )
      })
    })

    describe('removing a task', () => {
      it('removes that task and no other', async () => {
        const [kept, removed] = (await addTasks(2)) as [Task, Task]
        await tasks.remove(keyOf(removed))
        await expectRejection(tasks.get(keyOf(removed)), TaskNotFound)
        await expectRejection(tasks.remove(keyOf(removed)), TaskNotFound)
        await expectRejection(
          tasks.update(keyOf(removed), (task) => task.edit({ title: 'back' }, NOW)),
          TaskNotFound,
        )
        expect(idsOf(await tasks.list(ownerId, everything))).to.deep.equal([kept.snapshot().id])
      })

      it('rejects with TaskNotFound for a missing or another owner’s task', async () => {
        const added = await addTask()
        for (const id of UNASSIGNED_IDS) await expectRejection(tasks.remove({ id, ownerId }), TaskNotFound)
        for (const other of [await anOwner(repositories), ...UNASSIGNED_IDS]) {
          await expectRejection(tasks.remove({ ...keyOf(added), ownerId: other }), TaskNotFound)
        }
        expect((await tasks.get(keyOf(added))).snapshot()).to.deep.equal(added.snapshot())
      })

      it('succeeds for one of twenty concurrent calls', async () => {
        const key = keyOf(await addTask())
        const { succeeded, reasons } = await outcomes(Array.from({ length: 20 }, () => tasks.remove(key)))
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
      const added = await repositories.tasks.add(aTaskDraft({ ownerId }))
      const other = await repositories.tasks.add(aTaskDraft({ ownerId: await anOwner(repositories) }))
      await deleteUser(url, ownerId)
      await expectRejection(repositories.tasks.get(keyOf(added)), TaskNotFound)
      await expectRejection(repositories.tasks.add(aTaskDraft({ ownerId })), InvalidToken)
      expect((await repositories.tasks.get(keyOf(other))).snapshot()).to.deep.equal(other.snapshot())
      await repositories.close()
    })

    it('rejects with StoreUnavailable after its database was closed', async () => {
      const closed = await openRepositories(await databaseUrl())
      const key = keyOf(await closed.tasks.add(aTaskDraft({ ownerId: await anOwner(closed) })))
      await closed.close()
      await expectRejection(closed.tasks.add(aTaskDraft(key)), StoreUnavailable)
      await expectRejection(closed.tasks.get(key), StoreUnavailable)
      await expectRejection(
        closed.tasks.update(key, (task) => task.edit({ title: 'late' }, NOW)),
        StoreUnavailable,
      )
      await expectRejection(closed.tasks.list(key.ownerId, everything), StoreUnavailable)
      await expectRejection(closed.tasks.remove(key), StoreUnavailable)
    })
  })
}

/** The range as the port defines it, in the simplest code. */
function rangeOf(newestFirst: readonly number[], { newerThan, olderThan, skip, limit }: TaskRange): number[] {
  if (newerThan !== undefined) {
    const nearestFirst = newestFirst.filter((id) => id > newerThan).reverse()
    return nearestFirst.slice(skip, skip + limit).reverse()
  }
  return newestFirst.filter((id) => id < (olderThan ?? Number.POSITIVE_INFINITY)).slice(skip, skip + limit)
}
