import { expect } from 'chai'
import { InMemoryTaskRepository } from '#src/adapters/in-memory/in-memory-task-repository.ts'
import { TaskNotFound } from '#src/domain/errors.ts'
import { ManageTasks } from '#src/domain/tasks/manage-tasks.ts'
import type { NewTask, TaskChanges } from '#src/domain/tasks/task.ts'
import { aTask } from '#test/builders.ts'
import { violationsOf } from '#test/domain/violations.ts'
import { FakeClock } from './fakes.ts'
import { rejection } from './rejections.ts'

const JANE = 1
const JOHN = 2

describe('Managing tasks', () => {
  let clock: FakeClock
  let manage: ManageTasks

  beforeEach(() => {
    clock = new FakeClock()
    manage = new ManageTasks({ tasks: new InMemoryTaskRepository(), clock })
  })

  const create = async (ownerId: number, fields: unknown = { title: 'Ship' }) =>
    (await manage.create(ownerId, fields as NewTask)).snapshot()
  const get = async (id: number, ownerId = JANE) => (await manage.get({ id, ownerId })).snapshot()
  const edit = async (id: number, changes: unknown, ownerId = JANE) =>
    (await manage.edit({ id, ownerId }, changes as TaskChanges)).snapshot()
  const idsOf = async (ownerId: number, range = { skip: 0, limit: 100 }) =>
    (await manage.list(ownerId, range)).tasks.map((task) => task.snapshot().id)

  it('creates a task for the owner with the current time', async () => {
    const task = await create(JOHN, { title: 'Ship', description: 'soon' })
    const expected = { ownerId: JOHN, description: 'soon', createdAt: clock.time, updatedAt: clock.time }
    expect(task).to.deep.equal(aTask(expected).snapshot())
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
    const { tasks, ...neighbours } = await manage.list(JANE, { skip: 1, limit: 1 })
    expect(tasks.map((task) => task.snapshot().id)).to.deep.equal([3])
    expect(neighbours).to.deep.equal({ newer: { newerThan: 3 }, older: { olderThan: 3 } })
    expect(await manage.list(JOHN, { skip: 0, limit: 2 })).to.have.all.keys('tasks')
  })

  it('lists the newest 100 tasks by default', async () => {
    for (let id = 1; id <= 101; id++) await create(JANE)
    const { tasks, ...neighbours } = await manage.list(JANE)
    expect(tasks)
      .to.deep.equal((await manage.list(JANE, { skip: 0, limit: 100 })).tasks)
      .and.have.lengthOf(100)
    expect(neighbours).to.deep.equal({ older: { olderThan: 2 } })
    expect((await manage.list(JANE, { skip: 100 })).tasks).to.have.lengthOf(1)
  })

  it('refuses a range beyond its limits', async () => {
    expect(await violationsOf(manage.list(JANE, { skip: -1, limit: 201 }))).to.deep.equal([
      'limit: out_of_range',
      'skip: out_of_range',
    ])
  })

  it('edits the given fields, keeps the rest, and moves the time of the last change', async () => {
    const before = await create(JANE, { title: 'Ship', description: 'soon' })
    clock.time = new Date('2026-02-01T00:00:00.000Z')
    const after = await edit(before.id, { completed: true })
    expect(after).to.deep.equal({ ...before, completed: true, updatedAt: clock.time })
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

  const attempts = {
    get: (id: number) => manage.get({ id, ownerId: JOHN }),
    edit: (id: number) => manage.edit({ id, ownerId: JOHN }, { title: 'Mine' }),
    'edit no field of': (id: number) => manage.edit({ id, ownerId: JOHN }, {}),
    'invalidly edit': (id: number) => manage.edit({ id, ownerId: JOHN }, { title: '' }),
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
