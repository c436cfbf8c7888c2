import { expect } from 'chai'
import fc from 'fast-check'
import { InMemoryTaskRepository } from '#src/adapters/in-memory/in-memory-task-repository.ts'
import { selectTasks } from '#src/adapters/in-memory/select-tasks.ts'
import { TaskLimitReached } from '#src/domain/errors.ts'
import type { TaskWrite } from '#src/domain/tasks/ports.ts'
import type { Task, TaskDraft, TaskSnapshot } from '#src/domain/tasks/task.ts'
import { EDGE, taskQuery } from '#src/domain/tasks/task-query.ts'
import { aTask, aTaskDraft } from '#test/builders.ts'
import { readPlainly } from '#test/domain/plain-task-list.ts'
import { SCENES, taskDrafts, taskQueries } from '#test/domain/random-tasks.ts'
import { rejection } from '#test/use-cases/rejections.ts'

const OWNER = 1
const NOW = new Date('2026-02-01T12:00:00.000Z')

describe('The in-memory task repository', () => {
  let tasks: InMemoryTaskRepository

  beforeEach(() => {
    tasks = new InMemoryTaskRepository()
  })

  const add = async (...titles: readonly string[]): Promise<Task[]> => {
    const added = await tasks.write(OWNER, [], () => titles.map((title) => ({ add: aTaskDraft({ title }) })))
    return added as Task[]
  }
  const list = async (ownerId = OWNER): Promise<TaskSnapshot[]> =>
    (await tasks.list(ownerId, taskQuery())).tasks.map((task) => task.snapshot())
  const revision = async (ownerId = OWNER): Promise<number> => (await tasks.list(ownerId, taskQuery())).revision
  const state = async () => ({ tasks: await list(), revision: await revision() })

  describe('when it writes', () => {
    it('adds tasks under ascending ids and one revision for each', async () => {
      const added = (await add('one', 'two')).map((task) => task.snapshot())
      expect(added).to.deep.equal([
        { ...aTaskDraft({ title: 'one' }), id: 1, revision: 1 },
        { ...aTaskDraft({ title: 'two' }), id: 2, revision: 2 },
      ])
      expect(await state()).to.deep.equal({ tasks: added.toReversed(), revision: 2 })
    })

    it('passes the tasks with these ids to the decision, without those of other owners', async () => {
      await add('one', 'two', 'three')
      await tasks.write(2, [], () => [{ add: aTaskDraft({ ownerId: 2 }) }])
      let seen: unknown
      await tasks.write(OWNER, [3, 4, 1, 99, 1], (found) => {
        seen = [...found].map(([id, task]) => [id, task.snapshot().title])
        return []
      })
      expect(seen).to.deep.equal([
        [3, 'three'],
        [1, 'one'],
      ])
    })

    it('stores saved tasks under new revisions, in the order of the writes', async () => {
      await add('one', 'two')
      const saved = await tasks.write(OWNER, [1, 2], (found) => {
        for (const task of found.values()) task.edit({ completed: true }, NOW)
        return [2, 1].map((id): TaskWrite => ({ save: found.get(id) as Task }))
      })
      expect(saved.map((task) => task?.snapshot().revision)).to.deep.equal([3, 4])
      expect((await list()).map(({ id, revision, completed }) => ({ id, revision, completed }))).to.deep.equal([
        { id: 2, revision: 3, completed: true },
        { id: 1, revision: 4, completed: true },
      ])
    })

    it('raises no revision for a saved task that did not change', async () => {
      const [added] = await add('one')
      const [saved] = await tasks.write(OWNER, [1], (found) => [{ save: found.get(1) as Task }])
      expect(saved?.snapshot()).to.deep.equal(added?.snapshot())
      expect(await revision()).to.equal(1)
    })

    it('removes tasks under new revisions, and returns undefined for each', async () => {
      await add('one', 'two', 'three')
      const removed = await tasks.write(OWNER, [1, 2], (found) =>
        [...found.values()].map((remove) => ({ remove, deletedAt: NOW })),
      )
      expect(removed).to.deep.equal([undefined, undefined])
      expect((await list()).map(({ id }) => id)).to.deep.equal([3])
      expect(await revision()).to.equal(5)
      expect((await add('four'))[0]?.snapshot()).to.include({ id: 4, revision: 6 })
    })

    it('makes all kinds of writes at once and returns results in order', async () => {
      await add('one', 'two')
      const results = await tasks.write(OWNER, [1, 2], (found) => {
        const [one, two] = [found.get(1), found.get(2)] as [Task, Task]
        two.edit({ title: 'second' }, NOW)
        return [{ remove: one, deletedAt: NOW }, { add: aTaskDraft({ title: 'three' }) }, { save: two }]
      })
      expect(results.map((task) => task?.snapshot().title)).to.deep.equal([undefined, 'three', 'second'])
      expect((await list()).map(({ title, revision }) => [title, revision])).to.deep.equal([
        ['three', 4],
        ['second', 5],
      ])
    })

    it('stores nothing when the decision throws, whatever it changed', async () => {
      await add('one')
      const before = await state()
      const failing = tasks.write(OWNER, [1], (found) => {
        found.get(1)?.edit({ title: 'half done' }, NOW)
        throw new RangeError('no')
      })
      expect(await rejection(failing)).to.be.instanceOf(RangeError)
      expect(await state()).to.deep.equal(before)
    })

    it('shares no task with its callers', async () => {
      const [added] = await add('one')
      added?.edit({ title: 'not saved' }, NOW)
      let kept: Task | undefined
      await tasks.write(OWNER, [1], (found) => {
        kept = found.get(1)
        kept?.edit({ title: 'saved' }, NOW)
        return [{ save: kept as Task }]
      })
      kept?.edit({ title: 'not saved either' }, NOW)
      expect((await list()).map(({ title }) => title)).to.deep.equal(['saved'])
    })

    it('counts the revisions of each owner separately, from 0', async () => {
      expect(await revision()).to.equal(0)
      await add('one', 'two')
      const [task] = await tasks.write(2, [], () => [{ add: aTaskDraft({ ownerId: 2 }) }])
      expect(task?.snapshot()).to.include({ id: 3, ownerId: 2, revision: 1 })
      expect([await revision(), await revision(2)]).to.deep.equal([2, 1])
    })

    it('refuses a write that leaves more tasks than an owner may have, and stores none of it', async () => {
      tasks = new InMemoryTaskRepository(2)
      await add('one', 'two')
      const before = await state()
      expect(await rejection(add('three'))).to.be.instanceOf(TaskLimitReached)
      expect(await state()).to.deep.equal(before)
      await tasks.write(OWNER, [1], (found) => [
        { add: aTaskDraft() },
        { remove: found.get(1) as Task, deletedAt: NOW },
      ])
      expect((await list()).map(({ id }) => id)).to.deep.equal([3, 2])
    })
  })

  describe('when it lists', () => {
    it('returns an empty list at revision 0 for an owner without tasks', async () => {
      const nothing = { tasks: [], hasPrevious: false, hasNext: false, revision: 0, total: 0 }
      expect(await tasks.list(99, taskQuery({ count: true }))).to.deep.equal(nothing)
    })

    it('returns the revision of the list', async () => {
      await add('one', 'two')
      expect(await tasks.list(OWNER, taskQuery())).to.include({ revision: 2 })
    })

    it('returns for every query what a plain search finds (property-based)', async () => {
      const cases = fc.constantFrom(...SCENES).chain((scene) =>
        fc.record({
          drafts: fc.array(taskDrafts(scene.now), { maxLength: 20, size: 'max' }),
          removed: fc.nat({ max: 19 }),
          queries: fc.array(taskQueries(scene, 21), { minLength: 5, maxLength: 5 }),
        }),
      )
      await fc.assert(
        fc.asyncProperty(cases, async ({ drafts, removed, queries }) => {
          tasks = new InMemoryTaskRepository()
          await tasks.write(OWNER, [], () => drafts.map((add: TaskDraft) => ({ add })))
          await tasks.write(OWNER, [removed], (found) =>
            [...found.values()].map((remove) => ({ remove, deletedAt: NOW })),
          )
          const all = (await tasks.list(OWNER, taskQuery())).tasks.map((task) => task.snapshot())
          for (const query of queries) {
            const { revision: _, ...rows } = await tasks.list(OWNER, query)
            expect(shown(rows)).to.deep.equal(shown(readPlainly(all, query)))
          }
        }),
      )
    })

    it('reads a page of the newest tasks at any depth without reading most other tasks', () => {
      let reads = 0
      const stored = Array.from({ length: 10_000 }, (_, index) => aTask({ id: index + 1 }).snapshot())
      const watched = new Proxy(stored, {
        get(target, name, receiver) {
          if (/^\d+$/.test(String(name))) reads++
          return Reflect.get(target, name, receiver)
        },
      })
      for (const position of [{ after: EDGE }, { before: EDGE }, { after: [5_000] }, { before: [5_000] }]) {
        reads = 0
        expect(selectTasks(watched, taskQuery({ position, limit: 10, count: true })).tasks).to.have.length(10)
        expect(reads).to.be.at.most(30)
      }
    })
  })
})

const shown = <Rows extends { readonly tasks: readonly Task[] }>({ tasks, ...rest }: Rows) => ({
  ...rest,
  tasks: tasks.map((task) => task.snapshot()),
})
