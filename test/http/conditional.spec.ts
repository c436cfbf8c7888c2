import { expect } from 'chai'
import fc from 'fast-check'
import type { Response, Test } from 'supertest'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import { InMemoryTaskRepository } from '#src/adapters/in-memory/in-memory-task-repository.ts'
import { adapterSets } from '#test/adapter-sets.ts'
import { FakeClock } from '#test/use-cases/fakes.ts'
import { Api, codeOf, describeApi, ORIGIN, TASKS, type User } from './api.ts'

const pathOf = ({ id }: TaskBody) => `${TASKS}/${id}`
const etagOf = ({ headers }: Response) => String(headers.etag)
const quoted = ({ revision }: TaskBody, difference = 0) => `"${revision + difference}"`

/** Values of If-Match or If-None-Match that match the current tag strongly, only weakly, or not. */
const conditions = (tag: string) => ({
  strongly: [tag, `"other", ${tag}`, `${tag},"other"`, ` ,, ${tag} ,\t`, '*', ' * ', `"a,b" , ${tag}`, `"", ${tag}`],
  weakly: [`W/${tag}`, `"other", W/${tag}`],
  not: [
    ...['', '""', '"other"', `${tag.slice(0, -1)}0"`, tag.slice(1, -1), tag.slice(0, -1), tag.slice(1)],
    ...[`w/${tag}`, `W / ${tag}`, `'${tag.slice(1, -1)}'`, `"0${tag.slice(1)}`, `"${tag.slice(1, -1)}.0"`],
    ...[`${tag} ${tag}`, `${tag};"other"`, `*, ${tag}`, '**', `x, ${tag}`, `" ${tag.slice(1)}`, '"'.repeat(9_001)],
  ],
})

describeApi('Conditional requests', (api) => {
  let jane: User
  let task: TaskBody
  before(async () => {
    jane = await api.signUp()
  })
  beforeEach(async () => {
    task = await jane.createTask()
  })

  const edit = (changes: object = { completed: true }) => jane.patch(pathOf(task)).send(changes)

  describe('The ETag of a task', () => {
    it('is its revision in quotes when it is created, read or edited', async () => {
      const created = await jane.post(TASKS).send({ title: 'Ship' }).expect(201)
      expect(etagOf(created)).to.equal(quoted(created.body))
      const read = await jane.get(pathOf(created.body)).expect(200)
      expect(etagOf(read)).to.equal(etagOf(created))
      expect(etagOf(await jane.head(pathOf(created.body)).expect(200))).to.equal(etagOf(created))
      const edited = await jane.patch(pathOf(created.body)).send({ completed: true }).expect(200)
      expect(etagOf(edited)).to.equal(quoted(edited.body)).and.not.equal(etagOf(created))
      const unchanged = await jane.patch(pathOf(created.body)).send({}).expect(200)
      expect(etagOf(unchanged)).to.equal(etagOf(edited))
    })

    it('differs after each write, and from the ETag of every other task', async () => {
      const tags = [quoted(task)]
      for (let count = 0; count < 3; count++) {
        tags.push(etagOf(await edit({ title: 'Ship' }).expect(200)))
        tags.push(quoted(await jane.createTask()))
      }
      expect(new Set(tags)).to.have.property('size', tags.length)
    })
  })

  describe('If-None-Match', () => {
    const requests: Readonly<Record<string, () => Test>> = {
      GET: () => jane.get(pathOf(task)),
      HEAD: () => jane.head(pathOf(task)),
    }

    for (const [method, ask] of Object.entries(requests)) {
      it(`returns 304 for ${method} of a task if it has the ETag, by weak comparison`, async () => {
        const { strongly, weakly } = conditions(quoted(task))
        for (const condition of [...strongly, ...weakly]) {
          const { headers, text } = await ask().set({ 'If-None-Match': condition, Origin: ORIGIN }).expect(304)
          expect(text ?? '').to.equal('')
          expect(headers, condition).to.include({ etag: quoted(task), 'cache-control': 'private, no-cache' })
          expect(headers.vary).to.match(/^Authorization, Origin$/)
          expect(headers).to.include({ 'access-control-allow-origin': ORIGIN })
          expect(headers).to.not.have.any.keys('content-type', 'content-length')
        }
      })

      it(`returns 200 for ${method} of a task if it has another ETag or is malformed`, async () => {
        for (const condition of conditions(quoted(task)).not) {
          const { headers } = await ask().set('If-None-Match', condition).expect(200)
          expect(headers, condition).to.include({ etag: quoted(task), 'cache-control': 'private, no-cache' })
          expect(headers.vary).to.equal('Authorization, Origin')
        }
      })
    }

    it('refuses PATCH and DELETE with 412 if it has the ETag', async () => {
      const { strongly, weakly } = conditions(quoted(task))
      for (const condition of [...strongly, ...weakly]) {
        for (const write of [edit(), jane.delete(pathOf(task))]) {
          const answer = await write.set('If-None-Match', condition).expect(412)
          expect([codeOf(answer), etagOf(answer)], condition).to.deep.equal(['revision_mismatch', quoted(task)])
        }
      }
      expect(await jane.getTask(task.id)).to.deep.equal(task)
      await edit().set('If-None-Match', '"other"').expect(200)
      await jane.delete(pathOf(task)).set('If-None-Match', quoted(task)).expect(204)
    })
  })

  describe('If-Match', () => {
    it('allows PATCH and DELETE if it has the ETag', async () => {
      for (const name of ['If-Match', 'if-match']) {
        for (const index of conditions('""').strongly.keys()) {
          const current = await jane.getTask(task.id)
          await edit({ completed: index % 2 === 0 })
            .set(name, conditions(quoted(current)).strongly[index] as string)
            .expect(200)
        }
      }
      const current = await jane.getTask(task.id)
      await jane.delete(pathOf(task)).set('If-Match', quoted(current)).expect(204)
      await jane
        .delete(pathOf(await jane.createTask()))
        .set('If-Match', '*')
        .expect(204)
    })

    it('refuses PATCH and DELETE with 412 and the current ETag otherwise, even if it is weak or malformed', async () => {
      const { weakly, not } = conditions(quoted(task))
      for (const condition of [...weakly, ...not]) {
        for (const write of [edit(), edit({}), jane.delete(pathOf(task))]) {
          const answer = await write.set('If-Match', condition).expect(412)
          expect([codeOf(answer), etagOf(answer)], condition).to.deep.equal(['revision_mismatch', quoted(task)])
          expect(answer.headers['cache-control']).to.equal('no-store')
        }
      }
      expect(await jane.getTask(task.id)).to.deep.equal(task)
    })

    it('is explained if it can never hold: unquoted, weak or malformed, like If-None-Match: *', async () => {
      const tag = quoted(task)
      const never = [tag.slice(1, -1), `W/${tag}`, '"other"', ''].map((condition) => ({ 'If-Match': condition }))
      for (const condition of [...never, { 'If-None-Match': '*' }]) {
        const { body } = await edit().set(condition).expect(412)
        expect(body.detail, JSON.stringify(condition)).to.equal(
          'No task can meet this condition: If-Match must be the ETag of the task, in quotes; If-None-Match must not be *.',
        )
      }
      const { body } = await edit().set('If-Match', quoted(task, 1)).expect(412)
      expect(body.detail).to.equal("The task's revision does not meet the condition; read the task again.")
    })

    it('and If-None-Match must both hold', async () => {
      await edit()
        .set({ 'If-Match': quoted(task), 'If-None-Match': quoted(task) })
        .expect(412)
      await edit()
        .set({ 'If-Match': quoted(task, 1), 'If-None-Match': quoted(task, 1) })
        .expect(412)
      await edit()
        .set({ 'If-Match': quoted(task), 'If-None-Match': quoted(task, 1) })
        .expect(200)
    })

    it('is reported only in the absence of other errors', async () => {
      const stale = { 'If-Match': quoted(task, 1), 'If-None-Match': '*' }
      await api.patch(pathOf(task)).set(stale).send({}).expect(401)
      await jane.patch(`${TASKS}/999999999`).set(stale).send({}).expect(404)
      await jane.delete(`${TASKS}/999999999`).set(stale).expect(404)
      const john = await api.signUp()
      for (const write of [john.patch(pathOf(task)).send({}), john.delete(pathOf(task))]) {
        const answer = await write.set(stale).expect(404)
        expect(answer.headers).to.not.have.property('etag')
      }
      await jane.patch(pathOf(task)).set(stale).type('text/plain').send('x').expect(415)
      await jane.patch(pathOf(task)).set(stale).type('json').send('{').expect(400)
      await edit({ title: '' }).set(stale).expect(422)
      await jane
        .delete(`${pathOf(task)}?force=1`)
        .set(stale)
        .expect(422)
      await edit().set(stale).expect(412)
    })

    it('allows one of several writes at the same revision', async () => {
      const writes = Array.from({ length: 10 }, (_, index) =>
        jane
          .patch(pathOf(task))
          .set('If-Match', quoted(task))
          .send({ title: `Edit ${index}` }),
      )
      const statuses = (await Promise.all(writes)).map(({ status }) => status)
      expect(statuses.sort()).to.deep.equal([200, ...Array(9).fill(412)])
    })

    it('never loses an edit of clients that retry after 412 (property-based)', async () => {
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 2, max: 5 }), async (clients) => {
          const { id } = await jane.createTask({ title: '0' })
          const increment = async () => {
            for (;;) {
              const { headers, body } = await jane.get(`${TASKS}/${id}`).expect(200)
              const { status } = await jane
                .patch(`${TASKS}/${id}`)
                .set('If-Match', headers.etag as string)
                .send({ title: String(Number(body.title) + 1) })
              if (status === 200) return
              expect(status).to.equal(412)
            }
          }
          await Promise.all(Array.from({ length: clients }, increment))
          expect(await jane.getTask(id)).to.include({ title: String(clients) })
        }),
        { numRuns: 4 },
      )
    })

    it('is ignored by GET and POST', async () => {
      await jane.get(pathOf(task)).set('If-Match', '"other"').expect(200)
      await jane.post(TASKS).set({ 'If-Match': '"other"', 'If-None-Match': '*' }).send({ title: 'Ship' }).expect(201)
    })
  })

  describe('The ETag of a list', () => {
    const tagOf = async (query = '', user = jane) => etagOf(await user.get(`${TASKS}?${query}`).expect(200))

    it('is weak, and stays while nothing is written', async () => {
      const tag = await tagOf()
      expect(tag).to.match(/^W\/"[\x21\x23-\x7e]+"$/)
      await edit({}).expect(200)
      await edit().set('If-Match', '"other"').expect(412)
      await (await api.signUp()).createTask()
      expect(await tagOf()).to.equal(tag)
      expect(etagOf(await jane.head(TASKS).expect(200))).to.equal(tag)
    })

    it('differs after a creation, an edit and a deletion', async () => {
      const tags = [await tagOf()]
      const writes = [
        () => jane.createTask(),
        () => jane.editTask(task.id, { title: 'New' }),
        () => jane.deleteTask(task.id),
      ]
      for (const write of writes) {
        await write()
        tags.push(await tagOf())
      }
      expect(new Set(tags)).to.have.property('size', tags.length)
    })

    it('differs for each query', async () => {
      await jane.createTask()
      const link = String((await jane.get(`${TASKS}?limit=1`).expect(200)).headers.link)
      const cursor = /cursor=([\w-]+)/.exec(link)?.[1]
      const queries = [
        ...['', 'limit=1', 'limit=2', 'skip=1', 'count=true', 'sort=due', 'sort=-due', `limit=1&cursor=${cursor}`],
        ...['completed=true', 'completed=false', 'tag=a', 'tag=b', 'tag=a&tag=b', 'q=a', 'priority=low', 'view=today'],
        ...['view=upcoming', 'due_before=2026-02-02', 'due_after=2026-02-02'],
        'due_after=2026-02-02&time_zone=Europe/Berlin',
      ]
      const tags = await Promise.all(queries.map((query) => tagOf(query)))
      expect(new Set(tags)).to.have.property('size', queries.length)
    })

    it('is absent with overdue', async () => {
      for (const overdue of [true, false]) {
        const { headers } = await jane.get(`${TASKS}?overdue=${overdue}`).set('If-None-Match', '""').expect(200)
        expect(headers).to.not.have.property('etag')
        expect(headers).to.include({ 'cache-control': 'private, no-cache', vary: 'Authorization, Origin' })
      }
    })

    it('is not needed for the 304 of If-None-Match: *, because every list exists', async () => {
      for (const query of ['overdue=true', 'overdue=false&limit=1', 'q=nothing&overdue=true', 'skip=1000']) {
        for (const method of ['get', 'head'] as const) {
          const { headers } = await jane[method](`${TASKS}?${query}`).set('If-None-Match', '*').expect(304)
          expect(headers.etag !== undefined).to.equal(!query.includes('overdue'))
          expect(headers).to.include({ 'cache-control': 'private, no-cache', vary: 'Authorization, Origin' })
        }
      }
      await jane.get(`${TASKS}?overdue=maybe`).set('If-None-Match', '*').expect(422)
    })

    it('in If-None-Match returns 304 until something changes', async () => {
      for (const query of ['', 'limit=1&count=true', 'completed=false&sort=-due&view=today']) {
        const tag = await tagOf(query)
        for (const condition of [tag, tag.slice(2), '*', `"other", ${tag}`]) {
          for (const method of ['get', 'head'] as const) {
            const request = jane[method](`${TASKS}?${query}`)
            const { headers, text } = await request.set('If-None-Match', condition).expect(304)
            expect(text ?? '').to.equal('')
            expect(headers).to.include({ etag: tag, 'cache-control': 'private, no-cache' })
            expect(headers.vary).to.equal('Authorization, Origin')
            expect(headers).to.not.have.any.keys('content-type', 'link')
          }
        }
        await jane.get(`${TASKS}?${query}`).set('If-None-Match', '"other"').expect(200)
        await jane.editTask(task.id, { description: query })
        const { headers } = await jane.get(`${TASKS}?${query}`).set('If-None-Match', tag).expect(200)
        expect(headers.etag).to.not.equal(tag)
      }
    })
  })
})

for (const { name, databaseUrl } of adapterSets) {
  describe(`The ETag of a list that depends on the current day (${name})`, () => {
    const api = new Api()
    const clock = new FakeClock()
    before(async () => api.start({ DATABASE_URL: await databaseUrl() }, { clock: () => clock }))
    after(() => api.stop())

    it('differs from the moment when the day begins in the zone of the query, and only with a view', async () => {
      clock.time = new Date('2026-03-28T22:30:00.000Z')
      const jane = await api.signUp()
      const tagsOf = (queries: readonly string[]) =>
        Promise.all(queries.map(async (query) => etagOf(await jane.get(`${TASKS}?${query}`).expect(200))))
      const fixed = ['', 'due_before=2026-03-29&time_zone=Europe/Berlin']
      const views = ['view=today&time_zone=Europe/Berlin', 'view=upcoming&time_zone=Europe/Berlin']
      const before = await tagsOf([...fixed, ...views])
      clock.time = new Date('2026-03-28T22:59:59.999Z')
      expect(await tagsOf([...fixed, ...views])).to.deep.equal(before)
      clock.time = new Date('2026-03-28T23:00:00.000Z')
      const after = await tagsOf([...fixed, ...views])
      expect(after.slice(0, 2)).to.deep.equal(before.slice(0, 2))
      for (const index of [2, 3]) expect(after[index]).to.not.equal(before[index])
    })
  })
}

describe('A 304 of a list', () => {
  const called: PropertyKey[] = []
  const tasks = new Proxy(new InMemoryTaskRepository(), {
    get(repository, name: keyof InMemoryTaskRepository) {
      called.push(name)
      return repository[name].bind(repository)
    },
  })
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:' }, { tasks: () => tasks }))
  after(() => api.stop())

  it('reads the head of the list and no task', async () => {
    const jane = await api.signUp()
    await jane.createTask()
    const tag = etagOf(await jane.get(TASKS).expect(200))
    called.length = 0
    await jane.get(TASKS).set('If-None-Match', tag).expect(304)
    expect(called).to.deep.equal(['head'])
  })
})
