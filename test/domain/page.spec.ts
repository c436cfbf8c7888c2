import { expect } from 'chai'
import fc from 'fast-check'
import type { TaskRange } from '#src/domain/tasks/ports.ts'
import type { Task } from '#src/domain/tasks/task.ts'
import { LIMIT, type Position, readPage, SKIP, type TaskPage } from '#src/domain/tasks/task-query.ts'
import { aTask } from '#test/builders.ts'
import { violationsOf } from './violations.ts'

/** The simplest implementation of the port's `list`, as a model. */
class Shelf {
  /** Newest first. */
  readonly ids: number[]
  reads = 0

  constructor(ids: readonly number[]) {
    this.ids = descending(ids)
  }

  readonly read = async ({ newerThan, olderThan, skip, limit }: TaskRange): Promise<Task[]> => {
    this.reads += 1
    if (newerThan !== undefined) {
      const nearestFirst = this.ids.filter((id) => id > newerThan).reverse()
      return tasksOf(nearestFirst.slice(skip, skip + limit).reverse())
    }
    return tasksOf(this.ids.filter((id) => id < (olderThan ?? Number.POSITIVE_INFINITY)).slice(skip, skip + limit))
  }

  page(range: TaskRange): Promise<TaskPage> {
    return readPage(this.read, range)
  }

  remove(id: number): void {
    this.ids.splice(this.ids.indexOf(id), 1)
  }
}

const tasksOf = (ids: readonly number[]) => ids.map((id) => aTask({ id }))
const idsOf = ({ tasks }: TaskPage) => tasks.map((task) => task.snapshot().id)
const descending = (ids: Iterable<number>) => [...ids].sort((a, b) => b - a)
const downFrom = (highest: number) => Array.from({ length: highest }, (_, index) => highest - index)

async function follow(shelf: Shelf, from: TaskPage, side: 'newer' | 'older', limit: number): Promise<TaskPage[]> {
  const pages: TaskPage[] = []
  for (let at: Position | undefined = from[side]; at; at = pages.at(-1)?.[side]) {
    pages.push(await shelf.page({ ...at, skip: 0, limit }))
    expect(pages.at(-1)?.tasks, 'a page that another names').to.not.have.length(0)
    // Without this, a page that links to itself would loop.
    expect(pages.length).to.be.at.most(shelf.ids.length + 1)
  }
  return pages
}

/** Every id found by following both sides of a page, newest first. */
async function around(shelf: Shelf, page: TaskPage, limit: number): Promise<number[]> {
  const newer = await follow(shelf, page, 'newer', limit)
  const older = await follow(shelf, page, 'older', limit)
  return [...newer.reverse(), page, ...older].flatMap(idsOf)
}

const shelves = fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 25 })
const limits = fc.integer({ min: 1, max: 8 })
const skips = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 30 }), fc.constant(SKIP.max))
const positions = fc.oneof(
  fc.constant({}),
  fc.integer({ min: 0, max: 61 }).map((olderThan) => ({ olderThan })),
  fc.integer({ min: 0, max: 61 }).map((newerThan) => ({ newerThan })),
)

describe('A page of tasks', () => {
  it('has the newest tasks first, at most `limit` of them', async () => {
    const page = await new Shelf(downFrom(5)).page({ skip: 0, limit: 3 })
    expect(idsOf(page)).to.deep.equal([5, 4, 3])
  })

  it('has no neighbours if there are no tasks', async () => {
    expect(await new Shelf([]).page({ skip: 0, limit: 3 })).to.deep.equal({ tasks: [] })
  })

  it('has no neighbours if it contains every task', async () => {
    const page = await new Shelf(downFrom(3)).page({ skip: 0, limit: 3 })
    expect(page).to.have.all.keys('tasks')
  })

  it('names the older tasks beyond its limit', async () => {
    const page = await new Shelf(downFrom(4)).page({ skip: 0, limit: 3 })
    expect(page.older).to.deep.equal({ olderThan: 2 })
    expect(page).to.not.have.property('newer')
  })

  it('names the newer tasks that were skipped', async () => {
    const page = await new Shelf(downFrom(4)).page({ skip: 2, limit: 3 })
    expect(idsOf(page)).to.deep.equal([2, 1])
    expect(page.newer).to.deep.equal({ newerThan: 2 })
    expect(page).to.not.have.property('older')
  })

  it('leads from beyond the last task back to the oldest ones', async () => {
    const shelf = new Shelf(downFrom(5))
    const page = await shelf.page({ skip: SKIP.max, limit: 2 })
    expect(idsOf(page)).to.deep.equal([])
    expect(page).to.not.have.property('older')
    expect(idsOf(await shelf.page({ ...(page.newer as Position), skip: 0, limit: 2 }))).to.deep.equal([2, 1])
  })

  it('continues next to a task that was removed', async () => {
    const shelf = new Shelf(downFrom(5))
    const first = await shelf.page({ skip: 0, limit: 2 })
    shelf.remove(4)
    expect(idsOf(await shelf.page({ ...(first.older as Position), skip: 0, limit: 2 }))).to.deep.equal([3, 2])
  })

  it('costs one read at the start of a list, and two elsewhere', async () => {
    const shelf = new Shelf(downFrom(5))
    await shelf.page({ skip: 0, limit: 2 })
    expect(shelf.reads).to.equal(1)
    await shelf.page({ olderThan: 4, skip: 0, limit: 2 })
    expect(shelf.reads).to.equal(3)
  })

  it('leads in both directions to every task once, in order (property-based)', async () => {
    await fc.assert(
      fc.asyncProperty(shelves, positions, skips, limits, limits, async (ids, position, skip, limit, next) => {
        const shelf = new Shelf(ids)
        const page = await shelf.page({ ...position, skip, limit })
        expect(page.tasks.length).to.be.at.most(limit)
        expect(await around(shelf, page, next)).to.deep.equal(shelf.ids)
      }),
    )
  })

  it('names a neighbour if and only if there is one (property-based)', async () => {
    await fc.assert(
      fc.asyncProperty(shelves, skips, limits, async (ids, skip, limit) => {
        const shelf = new Shelf(ids)
        const page = await shelf.page({ skip, limit })
        expect('newer' in page).to.equal(skip > 0 && ids.length > 0)
        expect('older' in page).to.equal(skip + limit < ids.length)
      }),
    )
  })

  it('leads to every remaining task once while tasks are added and removed (property-based)', async () => {
    const meanwhile = fc.infiniteStream(fc.record({ remove: fc.nat(), add: fc.boolean() }))
    await fc.assert(
      fc.asyncProperty(shelves, limits, meanwhile, async (ids, limit, changes) => {
        const shelf = new Shelf(ids)
        const gone: number[] = []
        const pages = [await shelf.page({ skip: 0, limit })]
        for (let at = pages[0]?.older; at; at = pages.at(-1)?.older) {
          const { remove, add } = changes.next().value
          gone.push(...shelf.ids.splice(remove % shelf.ids.length, 1))
          if (add) shelf.ids.unshift(100 + pages.length)
          pages.push(await shelf.page({ ...at, skip: 0, limit }))
        }
        const seen = pages.flatMap(idsOf)
        expect(seen).to.include.members(ids.filter((id) => !gone.includes(id)))
        expect(seen).to.deep.equal(descending(new Set(seen)))
      }),
    )
  })

  const refused: readonly [string, TaskRange, string][] = [
    ['a limit of 0', { skip: 0, limit: 0 }, 'limit'],
    ['a limit over 200', { skip: 0, limit: LIMIT.max + 1 }, 'limit'],
    ['a limit that is not a whole number', { skip: 0, limit: 1.5 }, 'limit'],
    ['a negative skip', { skip: -1, limit: 1 }, 'skip'],
    ['a skip of 2^53', { skip: 2 ** 53, limit: 1 }, 'skip'],
    ['a skip that is not a number', { skip: Number.NaN, limit: 1 }, 'skip'],
    ['a position before any id', { olderThan: -1, skip: 0, limit: 1 }, 'olderThan'],
    ['a position after any id', { newerThan: 2 ** 53, skip: 0, limit: 1 }, 'newerThan'],
  ]
  for (const [what, range, member] of refused) {
    it(`is refused for ${what}, without a read`, async () => {
      const shelf = new Shelf(downFrom(3))
      expect(await violationsOf(shelf.page(range))).to.deep.equal([`${member}: out_of_range`])
      expect(shelf.reads).to.equal(0)
    })
  }

  it('accepts the largest limit and the largest skip', async () => {
    const page = await new Shelf(downFrom(250)).page({ skip: 0, limit: LIMIT.max })
    expect(page.tasks).to.have.length(200)
    expect(await new Shelf([]).page({ skip: SKIP.max, limit: 1 })).to.deep.equal({ tasks: [] })
  })
})
