import { expect } from 'chai'
import { IdempotencyKeyReused, TaskNotFound } from '#src/domain/errors.ts'
import { KEY_LIFETIME } from '#src/domain/tasks/idempotency.ts'
import type { Decide, Written } from '#src/domain/tasks/ports.ts'
import type { Task } from '#src/domain/tasks/task.ts'
import { adapterSets, persistentSets, sqlSets } from '#test/adapter-sets.ts'
import { aTaskDraft } from '#test/builders.ts'
import { directSql } from '#test/contracts/direct-sql.ts'
import {
  anOwner,
  editTask,
  expectRejection,
  listTasks,
  openRepositories,
  type Repositories,
  removeTask,
  storeTask,
} from '#test/contracts/repositories.ts'

const NOW = new Date('2026-02-01T12:00:00.000Z')
const KEY = { scope: 'POST /tasks', key: '8e03978e', fingerprint: 'of the body' }

const snapshotsOf = (tasks: Written) => tasks.map((task) => task?.snapshot())

for (const { name, databaseUrl } of adapterSets) {
  describe(`A write with an idempotency key (${name})`, () => {
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

    const addOne: Decide = () => [{ add: aTaskDraft({ ownerId, title: 'Ship', tags: ['At'], due: '2026-02-29' }) }]
    const write = (key: Partial<typeof KEY> = {}, now = NOW, decide = addOne, ids: readonly number[] = []) =>
      tasks.writeOnce(ownerId, ids, decide, { ...KEY, ...key }, now)

    it('is made once, and its result is returned again', async () => {
      const first = await write()
      expect(first.replayed).to.equal(false)
      expect(snapshotsOf(first.result)).to.deep.equal(snapshotsOf(await listTasks(tasks, ownerId)))
      const head = await tasks.head(ownerId)
      for (let attempt = 0; attempt < 2; attempt++) {
        const { result, replayed } = await write()
        expect(replayed).to.equal(true)
        expect(snapshotsOf(result)).to.deep.equal(snapshotsOf(first.result))
      }
      expect(await tasks.head(ownerId)).to.deep.equal(head)
    })

    it('returns the tasks as they were, each in its place', async () => {
      const [edited, removed, kept] = await Promise.all(
        ['edited', 'removed', 'kept'].map((title) => storeTask(tasks, aTaskDraft({ ownerId, title }))),
      )
      const ids = [edited, removed, kept].map((task) => (task as Task).snapshot().id) as [number, number, number]
      const decide: Decide = (found) => {
        const [one, two, three] = ids.map((id) => found.get(id) as Task) as [Task, Task, Task]
        one.edit({ completed: true }, NOW)
        const [draft, another] = ['second', 'third'].map((title) => aTaskDraft({ ownerId, title }))
        return [
          { remove: two, deletedAt: NOW },
          { add: draft as ReturnType<typeof aTaskDraft> },
          { save: one },
          { save: three },
          { add: another as ReturnType<typeof aTaskDraft> },
        ]
      }
      const first = snapshotsOf((await write({}, NOW, decide, ids)).result)
      expect(first.map((task) => task?.title)).to.deep.equal([undefined, 'second', 'edited', 'kept', 'third'])
      const stored = await listTasks(tasks, ownerId)
      for (const task of stored.slice(1))
        await editTask(tasks, task.snapshot(), (each) => each.edit({ title: 'x' }, NOW))
      await removeTask(tasks, (stored[0] as Task).snapshot(), NOW)
      expect(snapshotsOf((await write({}, NOW, decide, ids)).result)).to.deep.equal(first)
    })

    it('is made once when it is attempted concurrently', async () => {
      const results = await Promise.all(Array.from({ length: 20 }, () => write()))
      expect(results.filter(({ replayed }) => !replayed)).to.have.lengthOf(1)
      expect(new Set(results.map(({ result }) => JSON.stringify(result)))).to.have.property('size', 1)
      expect(await listTasks(tasks, ownerId)).to.have.lengthOf(1)
    })

    it('rejects with IdempotencyKeyReused if the input differs', async () => {
      await write()
      await expectRejection(write({ fingerprint: 'of another body' }), IdempotencyKeyReused)
      expect(await listTasks(tasks, ownerId)).to.have.lengthOf(1)
    })

    it('is independent of other keys, scopes and owners', async () => {
      const first = await write()
      const others = [await write({ key: 'other' }), await write({ scope: 'POST /tasks/batch' })]
      ownerId = await anOwner(repositories)
      for (const { replayed, result } of [...others, await write()]) {
        expect(replayed).to.equal(false)
        expect(result).to.not.deep.equal(first.result)
      }
    })

    it('keeps no result if it fails', async () => {
      await expectRejection(
        write({}, NOW, () => {
          throw new TaskNotFound()
        }),
        TaskNotFound,
      )
      expect(await write({ fingerprint: 'of another body' })).to.include({ replayed: false })
    })

    it('is made again once its result has expired', async () => {
      await write()
      const expired = new Date(NOW.getTime() + KEY_LIFETIME)
      expect(await write({}, new Date(expired.getTime() - 1))).to.include({ replayed: true })
      const again = await write({ fingerprint: 'of another body' }, expired)
      expect(again).to.include({ replayed: false })
      const { result } = await write({ fingerprint: 'of another body' }, expired)
      expect(snapshotsOf(result)).to.deep.equal(snapshotsOf(again.result))
      expect(await listTasks(tasks, ownerId)).to.have.lengthOf(2)
    })

    it('is made again once its result has been purged', async () => {
      const later = new Date(NOW.getTime() + 1)
      await write()
      await write({ key: 'later' }, later)
      await repositories.purgeKeys(later)
      expect(await write({ key: 'later' }, later)).to.include({ replayed: true })
      expect(await write({}, later)).to.include({ replayed: false })
    })

    it('is made again after a purge of more than a thousand results', async () => {
      const keys = Array.from({ length: 1_100 }, (_, index) => `${index}`)
      await Promise.all(keys.map((key) => write({ key })))
      await repositories.purgeKeys(new Date(NOW.getTime() + 1))
      for (const key of ['0', '1099']) expect(await write({ key })).to.include({ replayed: false })
    })
  })
}

for (const { name, databaseUrl } of persistentSets) {
  describe(`Writes with one idempotency key by two instances (${name})`, () => {
    let instances: readonly [Repositories, Repositories]

    before(async () => {
      const url = await databaseUrl()
      instances = [await openRepositories(url), await openRepositories(url)]
    })
    after(() => Promise.all(instances.map((instance) => instance.close())))

    it('create one task, which both return', async () => {
      for (let round = 0; round < 20; round++) {
        const ownerId = await anOwner(instances[0])
        const results = await Promise.all(
          instances.map(({ tasks }) =>
            tasks.writeOnce(ownerId, [], () => [{ add: aTaskDraft({ ownerId }) }], KEY, NOW),
          ),
        )
        expect(results.map(({ replayed }) => replayed)).to.have.members([true, false])
        expect(snapshotsOf(results[0]?.result ?? [])).to.deep.equal(snapshotsOf(results[1]?.result ?? []))
        expect(await listTasks(instances[0].tasks, ownerId)).to.have.lengthOf(1)
      }
    })
  })
}

for (const { name, databaseUrl, deleteUser } of sqlSets) {
  describe(`The result of a write with an idempotency key (${name})`, () => {
    it('is deleted with the user', async () => {
      const url = await databaseUrl()
      const repositories = await openRepositories(url)
      const ownerId = await anOwner(repositories)
      await repositories.tasks.writeOnce(ownerId, [], () => [{ add: aTaskDraft({ ownerId }) }], KEY, NOW)
      const keys = () => directSql(url)(`select key from idempotency_keys where owner_id = ${ownerId}`)
      expect(await keys()).to.deep.equal([{ key: KEY.key }])
      await deleteUser(url, ownerId)
      expect(await keys()).to.deep.equal([])
      await repositories.close()
    })
  })
}
