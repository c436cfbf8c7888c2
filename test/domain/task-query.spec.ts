import { expect } from 'chai'
import fc from 'fast-check'
import type { TaskSnapshot } from '#src/domain/tasks/task.ts'
import { type Condition, conditionsOf } from '#src/domain/tasks/task-filter.ts'
import { comparePlaces, NEWEST_FIRST, type Place, placeOf, type Sort } from '#src/domain/tasks/task-order.ts'
import {
  LIMIT,
  type Position,
  pageOf,
  SKIP,
  START,
  type TaskPage,
  type TaskQuery,
  taskQuery,
} from '#src/domain/tasks/task-query.ts'
import { aTask } from '#test/builders.ts'
import { readPlainly } from './plain-task-list.ts'
import { limits, positions, SCENES, skips, sorts, taskDrafts } from './random-tasks.ts'
import { violations } from './violations.ts'

const NOW = SCENES[0]?.now as number
const OPEN: readonly Condition[] = conditionsOf({ completed: false }, new Date(NOW))
const TITLE: Sort = [{ field: 'title', descending: false }]

class TaskList {
  tasks: readonly TaskSnapshot[]

  constructor(tasks: readonly TaskSnapshot[]) {
    this.tasks = tasks
  }

  page(given: Partial<TaskQuery>): TaskPage {
    const query = taskQuery(given)
    return pageOf({ ...readPlainly(this.tasks, query), revision: 7 }, query)
  }

  /** The ids of all tasks of a query, in its order. */
  ids(query: Pick<TaskQuery, 'sort' | 'conditions'>): number[] {
    return idsOf(this.page({ ...query, limit: LIMIT.max }))
  }

  remove(id: number): void {
    this.tasks = this.tasks.filter((task) => task.id !== id)
  }
}

const idsOf = ({ tasks }: TaskPage) => tasks.map((task) => task.snapshot().id)
const upTo = (highest: number) =>
  new TaskList(Array.from({ length: highest }, (_, index) => aTask({ id: index + 1 }).snapshot()))

function follow(list: TaskList, from: TaskPage, side: 'previous' | 'next', query: Partial<TaskQuery>): TaskPage[] {
  const pages: TaskPage[] = []
  for (let position: Position | undefined = from[side]; position; position = pages.at(-1)?.[side]) {
    pages.push(list.page({ ...query, position }))
    expect(pages.at(-1)?.tasks, 'a page that another page leads to').to.not.have.length(0)
    // A page that leads to itself would be followed endlessly.
    expect(pages.length).to.be.at.most(list.tasks.length + 1)
  }
  return pages
}

/** All tasks found by following a page in both directions, in the order of the query. */
function around(list: TaskList, page: TaskPage, query: Partial<TaskQuery>): number[] {
  const previous = follow(list, page, 'previous', query)
  const next = follow(list, page, 'next', query)
  return [...previous.reverse(), page, ...next].flatMap(idsOf)
}

const taskLists = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 1, max: 60 }), taskDrafts(NOW)), {
    maxLength: 20,
    size: 'max',
    selector: ([id]) => id,
  })
  .map((tasks) => new TaskList(tasks.map(([id, draft]) => aTask({ ...draft, id }).snapshot())))
const queries = fc.record({ sort: sorts, conditions: fc.constantFrom([], OPEN) })

describe('A page of tasks', () => {
  it('holds the newest first, at most as many as the limit', () => {
    expect(idsOf(upTo(5).page({ limit: 3 }))).to.deep.equal([5, 4, 3])
  })

  it('leads to no other page if there are no tasks', () => {
    expect(upTo(0).page({ limit: 3 })).to.deep.equal({ tasks: [], revision: 7 })
  })

  it('leads to no other page if it holds all tasks', () => {
    expect(upTo(3).page({ limit: 3 })).to.have.all.keys('tasks', 'revision')
  })

  it('leads to the tasks after it', () => {
    const page = upTo(4).page({ limit: 3 })
    expect(page.next).to.deep.equal({ after: [2] })
    expect(page).to.not.have.property('previous')
  })

  it('leads to the tasks before it, which were skipped', () => {
    const page = upTo(4).page({ skip: 2, limit: 3 })
    expect(idsOf(page)).to.deep.equal([2, 1])
    expect(page.previous).to.deep.equal({ before: [2] })
    expect(page).to.not.have.property('next')
  })

  it('leads by the values of the keys and the id', () => {
    const list = new TaskList([aTask({ id: 8, title: 'b' }).snapshot(), aTask({ id: 9, title: 'a' }).snapshot()])
    expect(list.page({ sort: TITLE, limit: 1 }).next).to.deep.equal({ after: ['a', 9] })
    expect(list.page({ sort: TITLE, skip: 1 }).previous).to.deep.equal({ before: ['b', 8] })
  })

  it('leads back from beyond the last task to the last ones', () => {
    const list = upTo(5)
    for (const beyond of [{ skip: SKIP.max }, { position: { after: [1] } }, { position: { after: [0] } }]) {
      const page = list.page({ ...beyond, limit: 2 })
      expect(idsOf(page)).to.deep.equal([])
      expect(page).to.not.have.property('next')
      expect(idsOf(list.page({ position: page.previous as Position, limit: 2 }))).to.deep.equal([2, 1])
    }
  })

  it('leads on from before the first task to the first ones', () => {
    const list = upTo(5)
    const page = list.page({ position: { before: [5] }, limit: 2 })
    expect(idsOf(page)).to.deep.equal([])
    expect(page).to.not.have.property('previous')
    expect(idsOf(list.page({ position: page.next as Position, limit: 2 }))).to.deep.equal([5, 4])
  })

  it('leads on beside a task that is gone', () => {
    const list = upTo(5)
    const position = list.page({ limit: 2 }).next as Position
    list.remove(4)
    expect(idsOf(list.page({ position, limit: 2 }))).to.deep.equal([3, 2])
  })

  it('counts all tasks that meet the conditions, wherever it is, only if it is asked to', () => {
    const list = new TaskList([1, 2, 3].map((id) => aTask({ id, completed: id === 2 }).snapshot()))
    expect(list.page({ position: { after: [3] }, limit: 1, count: true })).to.include({ total: 3 })
    expect(list.page({ conditions: OPEN, limit: 1, count: true })).to.include({ total: 2 })
    expect(list.page({ conditions: OPEN })).to.not.have.property('total')
  })

  it('leads from any position in both directions to every task once, in order (property-based)', () => {
    fc.assert(
      fc.property(
        taskLists,
        queries,
        positions(NOW, 61),
        skips,
        limits,
        limits,
        (list, query, position, skip, limit, next) => {
          const page = list.page({ ...query, position: position(query.sort), skip, limit })
          expect(page.tasks.length).to.be.at.most(limit)
          expect(around(list, page, { ...query, limit: next })).to.deep.equal(list.ids(query))
        },
      ),
    )
  })

  it('names a neighbour exactly when there is one (property-based)', () => {
    fc.assert(
      fc.property(taskLists, queries, skips, limits, (list, query, skip, limit) => {
        const { length } = list.ids(query)
        const page = list.page({ ...query, skip, limit })
        expect('previous' in page).to.equal(skip > 0 && length > 0)
        expect('next' in page).to.equal(skip + limit < length)
      }),
    )
  })

  it('shows every task that stays once, while others come and go between two pages (property-based)', () => {
    const meanwhile = fc.infiniteStream(fc.record({ remove: fc.nat(), add: fc.option(taskDrafts(NOW)) }))
    fc.assert(
      fc.property(taskLists, sorts, limits, meanwhile, (list, sort, limit, changes) => {
        const stays = new Set(list.tasks.map(({ id }) => id))
        const places: Place[] = []
        let position: Position | undefined = START
        for (let id = 100; position && id < 150; id++) {
          const page: TaskPage = list.page({ sort, position, limit })
          places.push(...page.tasks.map((task) => placeOf(task.snapshot(), sort)))
          position = page.next
          const { remove, add } = changes.next().value
          const removed = list.tasks[remove % list.tasks.length]
          if (removed) list.remove(removed.id)
          stays.delete(removed?.id as number)
          if (add) list.tasks = [...list.tasks, aTask({ ...add, id }).snapshot()]
        }
        expect(places.map((place) => place.at(-1))).to.include.members([...stays])
        for (const [index, place] of places.entries()) {
          if (index > 0) expect(comparePlaces(places[index - 1] as Place, place, sort)).to.be.below(0)
        }
      }),
    )
  })
})

describe('A query for tasks', () => {
  it('asks for the first 100 of all tasks, newest first, unless it says otherwise', () => {
    expect(taskQuery()).to.deep.equal({
      conditions: [],
      sort: NEWEST_FIRST,
      position: START,
      skip: 0,
      limit: 100,
      count: false,
    })
  })

  const refused: Readonly<Record<string, readonly [unknown, string]>> = {
    'a limit of 0': [{ limit: 0 }, 'limit: out_of_range'],
    'a limit over 200': [{ limit: LIMIT.max + 1 }, 'limit: out_of_range'],
    'a limit that is no whole number': [{ limit: 1.5 }, 'limit: out_of_range'],
    'a negative skip': [{ skip: -1 }, 'skip: out_of_range'],
    'a skip of 2^53': [{ skip: 2 ** 53 }, 'skip: out_of_range'],
    'a skip that is no number': [{ skip: Number.NaN }, 'skip: out_of_range'],
    'a count that is no boolean': [{ count: 1 }, 'count: not_boolean'],
    'no sort key': [{ sort: [] }, 'sort: out_of_range'],
    'an unknown sort key': [{ sort: [{ field: 'id', descending: false }] }, 'sort: unknown_value'],
    'a sort key twice': [{ sort: [...TITLE, ...TITLE] }, 'sort: repeated'],
    'a position before any id': [{ position: { after: [-1] } }, 'position: not_a_position'],
    'a position after any id': [{ position: { before: [2 ** 53] } }, 'position: not_a_position'],
    'a position of another sort': [{ position: { after: [1] }, sort: TITLE }, 'position: not_a_position'],
    'a position that is no list': [{ position: { after: '' } }, 'position: not_a_position'],
    'a position without a side': [{ position: {} }, 'position: not_a_position'],
  }
  for (const [what, [query, violation]] of Object.entries(refused)) {
    it(`is refused with ${what}`, () => {
      expect(violations(() => taskQuery(query as Partial<TaskQuery>))).to.deep.equal([violation])
    })
  }

  it('is refused with one violation for each mistake', () => {
    expect(violations(() => taskQuery({ sort: [], limit: 0, position: { after: [1, 2, 3] } }))).to.deep.equal([
      'sort: out_of_range',
      'limit: out_of_range',
    ])
  })

  it('takes the largest limit and the largest skip', () => {
    expect(taskQuery({ limit: LIMIT.max, skip: SKIP.max })).to.include({ limit: 200, skip: Number.MAX_SAFE_INTEGER })
  })
})
