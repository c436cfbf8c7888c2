import { expect } from 'chai'
import { InMemoryTaskRepository } from '#src/adapters/in-memory/in-memory-task-repository.ts'
import { InvalidToken, SyncExpired } from '#src/domain/errors.ts'
import type { ChangePage } from '#src/domain/tasks/change-feed.ts'
import { ManageTasks } from '#src/domain/tasks/manage-tasks.ts'
import { SyncTasks } from '#src/domain/tasks/sync-tasks.ts'
import { violationsOf } from '#test/domain/violations.ts'
import { FakeChangeSignal, FakeClock } from './fakes.ts'
import { rejection } from './rejections.ts'

const JANE = 1

describe('Syncing tasks', () => {
  let changeSignal: FakeChangeSignal
  let tasks: InMemoryTaskRepository
  let manage: ManageTasks
  let sync: SyncTasks

  beforeEach(() => {
    changeSignal = new FakeChangeSignal()
    tasks = new InMemoryTaskRepository()
    manage = new ManageTasks({ tasks, changeSignal, clock: new FakeClock() })
    sync = new SyncTasks({ tasks, changeSignal })
  })

  const create = async (ownerId = JANE) => (await manage.create(ownerId, { title: 'Ship' })).result
  const idsOf = ({ items }: ChangePage) => items.map((task) => task.snapshot().id)
  const wait = (ms?: number) => ({ signal: ms === undefined ? new AbortController().signal : AbortSignal.timeout(ms) })

  it('yields the whole list, then what has changed', async () => {
    const first = await create()
    await create()
    const all = await sync.changes(JANE)
    expect(idsOf(all)).to.deep.equal([1, 2])
    await manage.edit({ id: 1, ownerId: JANE }, { title: 'New' })
    await manage.remove({ id: 2, ownerId: JANE })
    const { items, deleted, next, hasMore } = await sync.changes(JANE, all.next)
    expect(items.map((task) => task.snapshot())).to.deep.equal([
      (await manage.get({ id: first.snapshot().id, ownerId: JANE })).snapshot(),
    ])
    expect(deleted.map(({ id, revision }) => ({ id, revision }))).to.deep.equal([{ id: 2, revision: 4 }])
    expect([next.revision, hasMore]).to.deep.equal([4, false])
  })

  it('takes 200 changes unless it is told otherwise, and 1,000 at most', async () => {
    await manage.batch(JANE, Array(100).fill({ op: 'create', task: { title: 'Ship' } }))
    await manage.batch(JANE, Array(100).fill({ op: 'create', task: { title: 'Ship' } }))
    await create()
    expect((await sync.changes(JANE)).items).to.have.lengthOf(200)
    expect((await sync.changes(JANE, undefined, 1_000)).items).to.have.lengthOf(201)
    for (const limit of [0, 1_001, 1.5])
      expect(await violationsOf(sync.changes(JANE, undefined, limit))).to.deep.equal(['limit: out_of_range'])
  })

  describe('with a wait', () => {
    it('yields at once what has changed already', async () => {
      const { next } = await sync.changes(JANE)
      await create()
      expect(idsOf(await sync.nextChanges(JANE, next, wait()))).to.deep.equal([1])
    })

    it('yields the next change, however often it is woken before', async () => {
      const { next } = await sync.changes(JANE)
      const page = sync.nextChanges(JANE, next, wait())
      const spurious = await changeSignal.nextWait()
      spurious()
      const wake = await changeSignal.nextWait()
      await create()
      wake()
      expect(idsOf(await page)).to.deep.equal([1])
      expect(changeSignal.subscribed).to.deep.equal([JANE])
      expect(changeSignal.ended).to.equal(1)
    })

    it('yields an empty page at the same position when the wait ends', async () => {
      await create()
      const { next } = await sync.changes(JANE)
      const page = await sync.nextChanges(JANE, next, wait(1))
      expect(page).to.deep.equal({ items: [], deleted: [], next, hasMore: false })
      expect(changeSignal.ended).to.equal(1)
    })

    it('rejects once it is woken and its owner may no longer read', async () => {
      const { next } = await sync.changes(JANE)
      const checks: string[] = []
      const recheck = async () => {
        checks.push('woken')
        if (checks.length === 2) throw new InvalidToken()
      }
      const page = rejection(sync.nextChanges(JANE, next, { ...wait(), recheck }))
      for (let wake = 0; wake < 2; wake++) {
        const woken = await changeSignal.nextWait()
        expect(checks).to.have.lengthOf(wake)
        woken()
      }
      expect(await page).to.be.instanceOf(InvalidToken)
      expect(changeSignal.ended).to.equal(1)
    })

    it('follows each change, and rejects with the next once its owner may no longer read', async () => {
      const { next } = await sync.changes(JANE)
      let mayRead = true
      const recheck = async () => {
        if (!mayRead) throw new InvalidToken()
      }
      const pages = sync.follow(JANE, next, { ...wait(), recheck })
      const nextPage = async () => {
        const page = pages.next()
        const woken = await changeSignal.nextWait()
        await create()
        woken()
        return page
      }
      for (const id of [1, 2]) {
        const { value } = await nextPage()
        expect(value && idsOf(value)).to.deep.equal([id])
      }
      mayRead = false
      expect(await rejection(nextPage())).to.be.instanceOf(InvalidToken)
      expect(changeSignal.ended).to.equal(1)
    })

    it('misses no change between the read and the wait', async () => {
      const { next } = await sync.changes(JANE)
      const { changes } = tasks
      tasks.changes = async function (...given) {
        expect(changeSignal.subscribed).to.deep.equal([JANE])
        return changes.apply(this, given)
      }
      await sync.nextChanges(JANE, next, wait(1))
    })

    it('rejects with SyncExpired, and ends its subscription', async () => {
      const { next } = await sync.changes(JANE)
      for (const expired of [
        { ...next, epoch: 'another' },
        { ...next, revision: next.revision + 1 },
      ])
        expect(await rejection(sync.nextChanges(JANE, expired, wait()))).to.be.instanceOf(SyncExpired)
      expect(changeSignal.ended).to.equal(2)
    })
  })
})
