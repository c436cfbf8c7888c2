import { expect } from 'chai'
import { InMemoryTaskRepository } from '#src/adapters/in-memory/in-memory-task-repository.ts'
import { RevisionMismatch, TaskNotFound } from '#src/domain/errors.ts'
import { ManageTasks } from '#src/domain/tasks/manage-tasks.ts'
import type { NewTask, TaskChanges } from '#src/domain/tasks/task.ts'
import type { Position, TaskQuery } from '#src/domain/tasks/task-query.ts'
import { aTask } from '#test/builders.ts'
import { violations, violationsOf } from '#test/domain/violations.ts'
import { FakeChangeSignal, FakeClock } from './fakes.ts'
import { rejection } from './rejections.ts'

const JANE = 1
const JOHN = 2

describe('Managing tasks', () => {
  let clock: FakeClock
  let changeSignal: FakeChangeSignal
  let manage: ManageTasks

  beforeEach(() => {
    clock = new FakeClock()
    changeSignal = new FakeChangeSignal()
    manage = new ManageTasks({ tasks: new InMemoryTaskRepository(), changeSignal, clock })
  })

  const create = async (ownerId: number, fields: unknown = { title: 'Ship' }) =>
    (await manage.create(ownerId, fields as NewTask)).result.snapshot()
  const get = async (id: number, ownerId = JANE) => (await manage.get({ id, ownerId })).snapshot()
  const edit = async (id: number, changes: unknown, ownerId = JANE) =>
    (await manage.edit({ id, ownerId }, changes as TaskChanges)).snapshot()
  const idsOf = async (ownerId: number, query: Partial<TaskQuery> = {}) =>
    (await manage.list(ownerId, query)).tasks.map((task) => task.snapshot().id)

  it('creates a task for the owner with the current time', async () => {
    const task = await create(JOHN, { title: 'Ship', description: 'soon' })
    const times = { createdAt: clock.time, updatedAt: clock.time }
    expect(task).to.deep.equal(
      aTask({ id: 1, ownerId: JOHN, title: 'Ship', description: 'soon', revision: 1, ...times }).snapshot(),
    )
    expect(await get(1, JOHN)).to.deep.equal(task)
  })

  it('ignores an id and an owner among the fields', async () => {
    expect(await create(JANE, { title: 'Ship', id: 50, ownerId: JOHN })).to.include({ id: 1, ownerId: JANE })
  })

  it('stores no task that breaks a rule', async () => {
    expect(await violationsOf(create(JANE, { title: ' ', completed: 1 }))).to.deep.equal([
      'title: blank',
      'completed: not_boolean',
    ])
    expect(await idsOf(JANE)).to.deep.equal([])
  })

  it('lists one owner’s tasks, newest first', async () => {
    for (const owner of [JANE, JOHN, JANE, JANE]) await create(owner)
    expect(await idsOf(JANE)).to.deep.equal([4, 3, 1])
    expect(await idsOf(JOHN)).to.deep.equal([2])
    expect(await idsOf(99)).to.deep.equal([])
  })

  it('lists a page and its neighbours among the owner’s tasks only', async () => {
    for (const owner of [JANE, JOHN, JANE, JANE, JOHN]) await create(owner)
    const { tasks, ...page } = await manage.list(JANE, { skip: 1, limit: 1, count: true })
    expect(tasks.map((task) => task.snapshot().id)).to.deep.equal([3])
    expect(page).to.deep.equal({ revision: 3, total: 3, previous: { before: [3] }, next: { after: [3] } })
    expect(await manage.list(JOHN, { limit: 2 })).to.have.all.keys('tasks', 'revision')
  })

  it('follows positions in both directions', async () => {
    for (let count = 0; count < 5; count++) await create(JANE)
    const { next } = await manage.list(JANE, { limit: 2 })
    expect(await idsOf(JANE, { position: next as Position, limit: 2 })).to.deep.equal([3, 2])
    expect(await idsOf(JANE, { position: { before: [2] }, limit: 2 })).to.deep.equal([4, 3])
  })

  it('lists the first 100 tasks unless the query says otherwise', async () => {
    for (let count = 0; count < 101; count++) await create(JANE)
    expect(await idsOf(JANE)).to.have.length(100)
  })

  it('lists the tasks that a filter finds now, in the order asked for', async () => {
    await create(JANE, { title: 'b', due: '2026-01-31' })
    await create(JANE, { title: 'a', due: '2026-01-30' })
    await create(JANE, { title: 'c', due: '2026-02-01' })
    const sort = [{ field: 'title', descending: false }] as const
    const conditions = manage.conditions({ view: 'today' })
    expect(await idsOf(JANE, { conditions, sort })).to.deep.equal([2, 1])
    expect(await idsOf(JANE, { conditions: manage.conditions({ overdue: true }) })).to.deep.equal([2])
    clock.move(24 * 3_600)
    expect(await idsOf(JANE, { conditions: manage.conditions({ view: 'today' }), sort })).to.deep.equal([2, 1, 3])
  })

  it('refuses a filter and a query that break a rule', async () => {
    expect(violations(() => manage.conditions({ timeZone: 'Nowhere' }))).to.deep.equal(['timeZone: unknown_time_zone'])
    expect(await violationsOf(manage.list(JANE, { skip: -1, limit: 201 }))).to.deep.equal([
      'skip: out_of_range',
      'limit: out_of_range',
    ])
  })

  it('edits the given fields, keeps the rest, and moves the time of the last change', async () => {
    const before = await create(JANE, { title: 'Ship', description: 'soon' })
    clock.time = new Date('2026-02-01T00:00:00.000Z')
    const after = await edit(before.id, { completed: true })
    const changed = { completed: true, completedAt: clock.time, updatedAt: clock.time, revision: 2 }
    expect(after).to.deep.equal({ ...before, ...changed })
    expect(await get(before.id)).to.deep.equal(after)
  })

  it('leaves the task unchanged if one edited field breaks a rule', async () => {
    const before = await create(JANE)
    expect(await violationsOf(edit(before.id, { completed: true, title: null }))).to.deep.equal(['title: not_text'])
    expect(await get(before.id)).to.deep.equal(before)
  })

  it('leaves the task unchanged if no field is edited', async () => {
    const before = await create(JANE)
    clock.time = new Date('2026-02-01T00:00:00.000Z')
    expect(await edit(before.id, { id: 9, ownerId: JOHN })).to.deep.equal(before)
    expect(await get(before.id)).to.deep.equal(before)
  })

  it('keeps both of two concurrent edits', async () => {
    const { id } = await create(JANE)
    await Promise.all([edit(id, { title: 'New' }), edit(id, { completed: true })])
    expect(await get(id)).to.include({ title: 'New', completed: true })
  })

  it('edits and removes a task only at a revision that is expected', async () => {
    const { id } = await create(JANE)
    const key = { id, ownerId: JANE }
    await edit(id, { title: 'New' })
    const stale = { match: [1] }
    for (const attempt of [manage.edit(key, { completed: true }, stale), manage.remove(key, stale)]) {
      expect(await rejection(attempt))
        .to.be.instanceOf(RevisionMismatch)
        .with.property('revision', 2)
    }
    expect(await get(id)).to.include({ title: 'New', completed: false, revision: 2 })
    await manage.edit(key, { completed: true }, { match: [2] })
    await manage.remove(key, { match: 'any', noneMatch: [2] })
    expect(await idsOf(JANE)).to.deep.equal([])
  })

  it('announces each write once it is stored, and none that is refused', async () => {
    const { id } = await create(JANE)
    await create(JOHN)
    await edit(id, { title: 'New' })
    await manage.batch(JANE, [{ op: 'delete', id }])
    expect(changeSignal.raised).to.deep.equal([JANE, JOHN, JANE, JANE])
    await rejection(edit(id, { title: 'Gone' }))
    await rejection(create(JANE, { title: '' }))
    expect(changeSignal.raised).to.have.lengthOf(4)
  })

  it('removes a task once', async () => {
    await create(JANE)
    const key = { id: 1, ownerId: JANE }
    await manage.remove(key)
    expect(await rejection(manage.remove(key))).to.be.instanceOf(TaskNotFound)
    expect(await rejection(manage.get(key))).to.be.instanceOf(TaskNotFound)
  })

  it('never reuses the id of a removed task', async () => {
    await create(JANE)
    await manage.remove({ id: 1, ownerId: JANE })
    expect((await create(JANE)).id).to.equal(2)
  })

  it('refuses an edit that breaks a rule before it looks for the task', async () => {
    const { id } = await create(JANE)
    for (const key of [
      { id, ownerId: JANE },
      { id, ownerId: JOHN },
      { id: 99, ownerId: JANE },
    ]) {
      expect(await violationsOf(manage.edit(key, { title: '' }, { match: [99] }))).to.deep.equal(['title: too_short'])
    }
  })

  const attempts = {
    get: (id: number) => manage.get({ id, ownerId: JOHN }),
    edit: (id: number) => manage.edit({ id, ownerId: JOHN }, { title: 'Mine' }),
    'edit in no field': (id: number) => manage.edit({ id, ownerId: JOHN }, {}),
    remove: (id: number) => manage.remove({ id, ownerId: JOHN }),
  }
  for (const [what, attempt] of Object.entries(attempts)) {
    it(`does not let another owner ${what} a task, with the same message as for a missing one`, async () => {
      const before = await create(JANE)
      const foreign = await rejection(attempt(before.id))
      const absent = await rejection(attempt(99))
      expect(foreign).to.be.instanceOf(TaskNotFound)
      expect(absent).to.be.instanceOf(TaskNotFound)
      expect((foreign as Error).message).to.equal((absent as Error).message)
      expect(await get(before.id)).to.deep.equal(before)
    })
  }
})
