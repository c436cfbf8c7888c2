import { expect } from 'chai'
import fc from 'fast-check'
import type { Response } from 'supertest'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import type { TaskSnapshot } from '#src/domain/tasks/task.ts'
import { conditionsOf, type TaskFilter } from '#src/domain/tasks/task-filter.ts'
import type { Sort } from '#src/domain/tasks/task-order.ts'
import { LIMIT, START } from '#src/domain/tasks/task-query.ts'
import { adapterSets } from '#test/adapter-sets.ts'
import { aTask } from '#test/builders.ts'
import { readPlainly } from '#test/domain/plain-task-list.ts'
import { filters, SCENES, sorts, taskDrafts } from '#test/domain/random-tasks.ts'
import { FakeClock } from '#test/use-cases/fakes.ts'
import { Api, describeApi, linksOf, mistakes, TASKS, type User } from './api.ts'

const idsOf = ({ body }: Response) => (body as TaskBody[]).map(({ id }) => id)
const titlesOf = ({ body }: Response) => (body as TaskBody[]).map(({ title }) => title)

const parameterNames: Readonly<Record<keyof TaskFilter, string>> = {
  completed: 'completed',
  priority: 'priority',
  tags: 'tag',
  dueBefore: 'due_before',
  dueAfter: 'due_after',
  overdue: 'overdue',
  containing: 'q',
  view: 'view',
  timeZone: 'time_zone',
}
const sortNames = {
  createdAt: 'created_at',
  updatedAt: 'updated_at',
  due: 'due',
  priority: 'priority',
  title: 'title',
  completedAt: 'completed_at',
} as const

const sortText = (sort: Sort) =>
  sort.map(({ field, descending }) => (descending ? '-' : '') + sortNames[field]).join(',')

function queryOf(filter: TaskFilter, sort: Sort, others: Readonly<Record<string, string>>): URLSearchParams {
  const query = new URLSearchParams({ sort: sortText(sort), ...others })
  for (const [member, value] of Object.entries(filter)) {
    for (const each of [value].flat()) query.append(parameterNames[member as keyof TaskFilter], String(each))
  }
  return query
}

const snapshotOf = (body: TaskBody): TaskSnapshot =>
  aTask({
    ...body,
    ownerId: body.owner_id,
    completedAt: body.completed_at === null ? null : new Date(body.completed_at),
    createdAt: new Date(body.created_at),
    updatedAt: new Date(body.updated_at),
  }).snapshot()

for (const { name, databaseUrl } of adapterSets) {
  describe(`A query of tasks (${name})`, () => {
    const api = new Api()
    const clock = new FakeClock()
    before(async () => api.start({ DATABASE_URL: await databaseUrl() }, { clock: () => clock }))
    after(() => api.stop())

    async function follow(user: User, from: Response, relation: 'next' | 'prev'): Promise<Response[]> {
      const pages: Response[] = []
      for (let target = linksOf(from)[relation]; target; target = linksOf(pages.at(-1) as Response)[relation]) {
        pages.push(await user.get(target).expect(200))
        expect(pages.length).to.be.at.most(50)
      }
      return pages
    }

    for (const scene of SCENES) {
      it(`yields what its parameters say, page by page, in ${scene.zone} at ${new Date(scene.now).toISOString()} (property-based)`, async () => {
        clock.time = new Date(scene.now - 60_000)
        const user = await api.signUp()
        const tasks: TaskSnapshot[] = []
        for (const { title, description, due, priority, tags, completed } of fc.sample(taskDrafts(scene.now), 12)) {
          clock.move(1)
          tasks.push(snapshotOf(await user.createTask({ title, description, due, priority, tags, completed })))
        }
        clock.time = new Date(scene.now)
        await fc.assert(
          fc.asyncProperty(filters(scene), sorts, fc.integer({ min: 2, max: 9 }), async (filter, sort, limit) => {
            const conditions = conditionsOf(filter, clock.time)
            const plain = { conditions, sort, position: START, skip: 0, limit: LIMIT.max, count: true }
            const expected = readPlainly(tasks, plain).tasks.map((task) => task.snapshot().id)
            const query = queryOf(filter, sort, { limit: String(limit), count: 'true' })
            const first = await user.get(`${TASKS}?${query}`).expect(200)
            const pages = [first, ...(await follow(user, first, 'next'))]
            expect(pages.flatMap(idsOf)).to.deep.equal(expected)
            const back = await follow(user, pages.at(-1) as Response, 'prev')
            expect([...back.reverse().flatMap(idsOf), ...idsOf(pages.at(-1) as Response)]).to.deep.equal(expected)
            for (const { headers } of [...pages, ...back])
              expect(headers['x-total-count']).to.equal(String(expected.length))
          }),
          { numRuns: 6 },
        )
      })
    }
  })
}

describeApi('The parameters of the list of tasks', (api) => {
  let jane: User
  before(async () => {
    jane = await api.signUp()
    await jane.createTask({ title: 'Alpha', tags: ['work', 'home'], due: '2026-02-02' })
    await jane.createTask({ title: 'Beta', tags: ['work'], completed: true, priority: 'high' })
    await jane.createTask({ title: 'Gamma', description: 'ALPHA ray', due: '2026-02-01T12:00:00Z', priority: 'low' })
  })

  const found: Readonly<Record<string, readonly string[]>> = {
    'sort=created_at': ['Alpha', 'Beta', 'Gamma'],
    'sort=-created_at': ['Gamma', 'Beta', 'Alpha'],
    'sort=due': ['Gamma', 'Alpha', 'Beta'],
    'sort=-due': ['Alpha', 'Gamma', 'Beta'],
    'sort=-priority,title': ['Beta', 'Gamma', 'Alpha'],
    'sort=-title,due,priority': ['Gamma', 'Beta', 'Alpha'],
    'completed=true': ['Beta'],
    'completed=false&sort=title': ['Alpha', 'Gamma'],
    'priority=low': ['Gamma'],
    'tag=work': ['Beta', 'Alpha'],
    'tag=work&tag=home': ['Alpha'],
    'tag=home&tag=%20work%20': ['Alpha'],
    'q=alpha': ['Gamma', 'Alpha'],
    'q=': ['Gamma', 'Beta', 'Alpha'],
    'due_before=2026-02-02': ['Gamma'],
    'due_after=2026-02-02': ['Alpha'],
    'due_after=2026-02-01T13:00:00%2B01:00&sort=due': ['Gamma', 'Alpha'],
    'overdue=false&completed=true': ['Beta'],
    'time_zone=Europe/Berlin&limit=1': ['Gamma'],
  }
  for (const [query, titles] of Object.entries(found)) {
    it(`return ${titles.join(', ')} for ?${query}`, async () => {
      expect(titlesOf(await jane.get(`${TASKS}?${query}`).expect(200))).to.deep.equal(titles)
    })
  }

  const refused: Readonly<Record<string, readonly string[]>> = {
    'completed=1': ['?completed: not_boolean'],
    'completed=True': ['?completed: not_boolean'],
    'completed=': ['?completed: not_boolean'],
    'completed=true&completed=true': ['?completed: repeated'],
    'overdue=maybe': ['?overdue: not_boolean'],
    'count=yes': ['?count: not_boolean'],
    'priority=highest': ['?priority: unknown_value'],
    'priority=__proto__': ['?priority: unknown_value'],
    'tag=': ['?tag: too_short'],
    'tag=a%00': ['?tag: malformed_text'],
    [`tag=${'a'.repeat(51)}`]: ['?tag: too_long'],
    [Array.from({ length: 21 }, (_, index) => `tag=${index}`).join('&')]: ['?tag: too_many'],
    'due_before=tomorrow': ['?due_before: not_a_due_date'],
    'due_after=2026-02-30': ['?due_after: not_a_due_date'],
    'due_after=2026-02-01T13:00:00+01:00': ['?due_after: not_a_due_date'],
    [`q=${'a'.repeat(256)}`]: ['?q: too_long'],
    'q=%00': ['?q: malformed_text'],
    'q=%FF': ['?q: malformed_text'],
    'q=a&%C0%AF=%ED%A0%80&limit=%80': ['?%C0%AF: malformed_text', '?limit: malformed_text'],
    'view=tomorrow': ['?view: unknown_value'],
    'time_zone=Mars/Phobos': ['?time_zone: unknown_time_zone'],
    'time_zone=': ['?time_zone: unknown_time_zone'],
    'time_zone=%2B01:00': ['?time_zone: unknown_time_zone'],
    'sort=': ['?sort: unknown_value'],
    'sort=id': ['?sort: unknown_value'],
    'sort=createdAt': ['?sort: unknown_value'],
    'sort=--due': ['?sort: unknown_value'],
    'sort=due,': ['?sort: unknown_value'],
    'sort=due,-due': ['?sort: repeated'],
    'sort=due,title,priority,created_at': ['?sort: out_of_range'],
    'sort=constructor': ['?sort: unknown_value'],
    'sort=due&sort=title': ['?sort: repeated'],
    'Tag=a': ['?Tag: unknown'],
    'tags=a': ['?tags: unknown'],
    'completed=no&view=x&colour=red': ['?completed: not_boolean', '?view: unknown_value', '?colour: unknown'],
  }
  for (const [query, expected] of Object.entries(refused)) {
    it(`return 422 for ?${query.slice(0, 60)}`, async () => {
      const answer = await jane.raw({ method: 'GET', path: `${TASKS}?${query}` })
      expect(answer.status).to.equal(422)
      expect(mistakes(answer)).to.have.members(expected)
    })
  }

  const explained = {
    'sort=x': 'must have these keys only: created_at, updated_at, due, priority, title, completed_at',
    'due_after=2026-01-01T00:00:00+02:00':
      'must be a date such as 2026-01-31 or an RFC 3339 instant with Z or an offset; write + as %2B',
    'q=%FF': 'must be UTF-8',
  }
  for (const [query, detail] of Object.entries(explained)) {
    it(`return a detail for ?${query} that says what is valid`, async () => {
      const { text } = await jane.raw({ method: 'GET', path: `${TASKS}?${query}` })
      expect(JSON.parse(text).errors.map((error: { detail: string }) => error.detail)).to.deep.equal([detail])
    })
  }

  it('keep a % that begins no escape', async () => {
    const task = await jane.createTask({ title: '100%zz' })
    const { text } = await jane.raw({ method: 'GET', path: `${TASKS}?q=100%zz` })
    expect(JSON.parse(text)).to.deep.equal([task])
    await jane.deleteTask(task.id)
  })

  it('include X-Total-Count only with count=true', async () => {
    for (const query of ['', '?count=false', '?completed=false'])
      expect((await jane.get(TASKS + query).expect(200)).headers).to.not.have.property('x-total-count')
    for (const [query, total] of Object.entries({ '': '3', 'completed=false&': '2', 'limit=1&skip=2&': '3' })) {
      for (const request of [jane.get(`${TASKS}?${query}count=true`), jane.head(`${TASKS}?${query}count=true`)])
        expect((await request.expect(200)).headers['x-total-count']).to.equal(total)
    }
  })

  it('are kept in the links to other pages', async () => {
    const given = 'limit=1&completed=false&tag=work&tag=home&q=a%26b%3E&time_zone=Europe%2FBerlin&sort=-due&count=true'
    await jane.createTask({ title: 'a&b> 1', tags: ['home', 'work'] })
    await jane.createTask({ title: 'A&B> 2', tags: ['home', 'work'] })
    const { next = '' } = linksOf(await jane.get(`${TASKS}?${given}`).expect(200))
    const { cursor, ...others } = Object.fromEntries(new URL(next, api.url).searchParams)
    expect(cursor).to.be.a('string')
    expect(others).to.deep.equal({
      limit: '1',
      completed: 'false',
      tag: 'home',
      q: 'a&b>',
      time_zone: 'Europe/Berlin',
      sort: '-due',
      count: 'true',
    })
    expect(new URL(next, api.url).searchParams.getAll('tag')).to.deep.equal(['work', 'home'])
    const second = await jane.get(next).expect(200)
    expect(titlesOf(second)).to.deep.equal(['a&b> 1'])
    expect(linksOf(second)).to.have.all.keys('prev')
  })

  it('must be those for which a cursor was issued, whatever the limit and the count', async () => {
    const { next = '' } = linksOf(await jane.get(`${TASKS}?completed=false&sort=title&limit=1`).expect(200))
    const { searchParams } = new URL(next, api.url)
    const cursor = searchParams.get('cursor')
    await jane.get(`${TASKS}?sort=title&completed=false&limit=3&count=true&cursor=${cursor}`).expect(200)
    const others = ['', 'completed=false', 'sort=title', 'completed=true&sort=title', 'completed=false&sort=-title']
    for (const other of [...others, 'completed=false&sort=title&tag=work', 'completed=false&sort=title,due']) {
      const answer = await jane.get(`${TASKS}?${other}&cursor=${cursor}`).expect(422)
      expect(mistakes(answer), other).to.deep.equal(['?cursor: conflicting'])
    }
  })

  it('may include a cursor of release 1.0 for the newest tasks only', async () => {
    const [newest] = (await jane.get(`${TASKS}?limit=1`).expect(200)).body as TaskBody[]
    const cursor = Buffer.from(`<${newest?.id}`).toString('base64url')
    const { body } = await jane.get(TASKS).expect(200)
    expect((await jane.get(`${TASKS}?cursor=${cursor}`).expect(200)).body).to.deep.equal(body.slice(1))
    await jane.get(`${TASKS}?cursor=${cursor}&sort=-created_at&limit=1`).expect(200)
    expect(mistakes(await jane.get(`${TASKS}?cursor=${cursor}&sort=due`).expect(422))).to.deep.equal([
      '?cursor: conflicting',
    ])
  })

  it('cannot contain both skip and a cursor', async () => {
    const { next = '' } = linksOf(await jane.get(`${TASKS}?limit=1`).expect(200))
    expect(mistakes(await jane.get(`${next}&skip=1`).expect(422))).to.deep.equal(['?cursor: conflicting'])
  })
})
