import { expect } from 'chai'
import fc from 'fast-check'
import type { Response } from 'supertest'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import { describeApi, linksOf, mistakes, TASKS, type User } from './api.ts'

const idsOf = ({ body }: Response) => (body as TaskBody[]).map(({ id }) => id)
const descending = (ids: readonly number[]) => [...ids].sort((a, b) => b - a)

describeApi('The list of tasks', (api) => {
  /** Follows `Link` in one direction to the last page. */
  async function follow(user: User, from: Response, relation: 'next' | 'prev'): Promise<Response[]> {
    const pages: Response[] = []
    for (let target = linksOf(from)[relation]; target; target = linksOf(pages.at(-1) as Response)[relation]) {
      const { pathname, search } = new URL(target, `${api.url}${TASKS}`)
      pages.push(await user.get(pathname + search).expect(200))
      // Guards against a cycle of links.
      expect(pages.length).to.be.at.most(50)
    }
    return pages
  }

  async function userWith(count: number): Promise<{ user: User; ids: number[] }> {
    const user = await api.signUp()
    const tasks: TaskBody[] = []
    while (tasks.length < count) tasks.push(await user.createTask({ title: `Task ${tasks.length}` }))
    return { user, ids: descending(tasks.map(({ id }) => id)) }
  }

  it('is an empty array without links if there are no tasks', async () => {
    const user = await api.signUp()
    for (const query of ['', '?skip=0&limit=1', '?skip=5']) {
      const answer = await user.get(TASKS + query).expect(200)
      expect(answer.body).to.deep.equal([])
      expect(linksOf(answer)).to.deep.equal({})
    }
  })

  it('contains complete tasks, newest first', async () => {
    const user = await api.signUp()
    const first = await user.createTask({ description: 'soon' })
    const second = await user.createTask({ completed: true })
    expect(await user.listTasks()).to.deep.equal([second, first])
  })

  it('keeps its order when an older task is edited', async () => {
    const { user, ids } = await userWith(3)
    await user.editTask(ids.at(-1) as number, { title: 'Changed' })
    expect(idsOf(await user.get(TASKS).expect(200))).to.deep.equal(ids)
  })

  it('contains 100 tasks by default and at most 200', async () => {
    const { user, ids } = await userWith(201)
    const standard = await user.get(TASKS).expect(200)
    expect(idsOf(standard)).to.deep.equal(ids.slice(0, 100))
    expect(linksOf(standard)).to.have.all.keys('next')
    const most = await user.get(`${TASKS}?limit=200`).expect(200)
    expect(idsOf(most)).to.deep.equal(ids.slice(0, 200))
    expect(idsOf((await follow(user, most, 'next'))[0] as Response)).to.deep.equal(ids.slice(200))
    expect(idsOf(await user.get(`${TASKS}?skip=150&limit=100`).expect(200))).to.deep.equal(ids.slice(150))
  })

  it('links to the next and previous pages only if they exist', async () => {
    const { user, ids } = await userWith(5)
    const at = async (query: string) => linksOf(await user.get(`${TASKS}?${query}`).expect(200))
    expect(await at('limit=5')).to.deep.equal({})
    expect(await at('limit=4')).to.have.all.keys('next')
    expect(await at('skip=1&limit=4')).to.have.all.keys('prev')
    expect(await at('skip=1&limit=3')).to.have.all.keys('next', 'prev')
    expect(await at(`skip=${ids.length}`)).to.have.all.keys('prev')
    expect(await at('skip=9007199254740991&limit=200')).to.have.all.keys('prev')
  })

  it('reaches every task once, in order, from any page in both directions (property-based)', async () => {
    const { user, ids } = await userWith(7)
    const skips = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constant(Number.MAX_SAFE_INTEGER))
    await fc.assert(
      fc.asyncProperty(skips, fc.integer({ min: 1, max: 8 }), async (skip, limit) => {
        const page = await user.get(`${TASKS}?skip=${skip}&limit=${limit}`).expect(200)
        expect(idsOf(page)).to.deep.equal(ids.slice(skip, skip + limit))
        const newer = await follow(user, page, 'prev')
        const older = await follow(user, page, 'next')
        expect([...newer.reverse(), page, ...older].flatMap(idsOf)).to.deep.equal(ids)
        for (const neighbour of [...newer, ...older]) expect(idsOf(neighbour)).to.have.length.within(1, limit)
      }),
      { numRuns: 12 },
    )
  })

  it('neither repeats nor skips a task when others are created and deleted between pages', async () => {
    const { user, ids } = await userWith(7)
    const pages = [await user.get(`${TASKS}?limit=2`).expect(200)]
    // Deletes the last task of this page and the first of the next one, and adds a task before them all.
    for (const id of ids.slice(1, 3)) await user.deleteTask(id)
    await user.createTask()
    pages.push(...(await follow(user, pages[0] as Response, 'next')))
    expect(pages.flatMap(idsOf)).to.deep.equal(ids.toSpliced(2, 1))
  })

  it('can be followed past a page whose neighbours were all deleted', async () => {
    const { user, ids } = await userWith(6)
    const middle = await user.get(`${TASKS}?skip=2&limit=2`).expect(200)
    for (const id of ids.slice(4)) await user.deleteTask(id)
    const [empty] = await follow(user, middle, 'next')
    expect(idsOf(empty as Response)).to.deep.equal([])
    const back = await follow(user, empty as Response, 'prev')
    expect(back.reverse().flatMap(idsOf)).to.deep.equal(ids.slice(0, 4))
    for (const id of ids.slice(0, 4)) await user.deleteTask(id)
    const [nothing] = await follow(user, middle, 'prev')
    expect(idsOf(nothing as Response)).to.deep.equal([])
    expect(linksOf(nothing as Response)).to.deep.equal({})
  })

  it('shows only the caller’s tasks through another user’s link', async () => {
    const { user } = await userWith(3)
    const other = await userWith(3)
    for (const query of ['?limit=1', '?limit=1&skip=1']) {
      for (const target of Object.values(linksOf(await user.get(TASKS + query).expect(200)))) {
        const ids = idsOf(await other.user.get(target).expect(200))
        expect(other.ids).to.include.members(ids)
      }
    }
  })

  it('has the same links for HEAD as for GET', async () => {
    const { user } = await userWith(3)
    const [head, get] = [await user.head(`${TASKS}?limit=1&skip=1`), await user.get(`${TASKS}?limit=1&skip=1`)]
    expect(linksOf(get)).to.have.all.keys('next', 'prev')
    expect(linksOf(head)).to.deep.equal(linksOf(get))
  })

  const refused: Readonly<Record<string, readonly string[]>> = {
    'skip=-1': ['?skip: out_of_range'],
    'skip=01': ['?skip: out_of_range'],
    'skip=00': ['?skip: out_of_range'],
    'skip=%2B1': ['?skip: out_of_range'],
    'skip=+1': ['?skip: out_of_range'],
    'skip=1e1': ['?skip: out_of_range'],
    'skip=1.0': ['?skip: out_of_range'],
    'skip=0x1': ['?skip: out_of_range'],
    'skip=%201': ['?skip: out_of_range'],
    'skip=1%0A': ['?skip: out_of_range'],
    'skip=1%00': ['?skip: out_of_range'],
    'skip=%EF%BC%91': ['?skip: out_of_range'],
    'skip=': ['?skip: out_of_range'],
    skip: ['?skip: out_of_range'],
    'skip=NaN': ['?skip: out_of_range'],
    'skip=Infinity': ['?skip: out_of_range'],
    'skip=9007199254740992': ['?skip: out_of_range'],
    'skip=9007199254740993': ['?skip: out_of_range'],
    'skip=9223372036854775808': ['?skip: out_of_range'],
    'limit=0': ['?limit: out_of_range'],
    'limit=201': ['?limit: out_of_range'],
    'limit=-5': ['?limit: out_of_range'],
    'limit=010': ['?limit: out_of_range'],
    'limit=ten': ['?limit: out_of_range'],
    'skip=x&limit=x': ['?limit: out_of_range', '?skip: out_of_range'],
    'skip=1&skip=1': ['?skip: repeated'],
    'limit=1&skip=1&limit=2': ['?limit: repeated'],
    'offset=1': ['?offset: unknown'],
    'Skip=1': ['?Skip: unknown'],
    'skip[]=1': ['?skip[]: unknown'],
    '__proto__=1': ['?__proto__: unknown'],
    'constructor=1': ['?constructor: unknown'],
    '=1': ['?: unknown'],
    'cursor=': ['?cursor: not_a_cursor'],
    'cursor=1': ['?cursor: not_a_cursor'],
    'cursor=%00': ['?cursor: not_a_cursor'],
  }
  for (const [query, expected] of Object.entries(refused)) {
    it(`returns 422 for ?${query}`, async () => {
      const user = await api.signUp()
      const answer = await user.raw({ method: 'GET', path: `${TASKS}?${query}` })
      expect(answer.status).to.equal(422)
      expect(mistakes(answer)).to.have.members(expected)
    })
  }

  it('returns 200 or 422 for any cursor (property-based)', async () => {
    const user = await api.signUp()
    const cursors = fc.oneof(
      fc.string(),
      fc.base64String(),
      fc.tuple(fc.constantFrom('<', '>'), fc.bigInt()).map(forge),
    )
    await fc.assert(
      fc.asyncProperty(cursors, async (cursor) => {
        const answer = await user.get(`${TASKS}?cursor=${encodeURIComponent(cursor)}`)
        expect(answer.status).to.be.oneOf([200, 422])
      }),
      { numRuns: 50 },
    )
  })
})

/** A cursor made up by a client that has decoded one. */
const forge = ([side, id]: [string, bigint]) => Buffer.from(`${side}${id}`).toString('base64url')
