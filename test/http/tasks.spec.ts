import { expect } from 'chai'
import fc from 'fast-check'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import { adapterSets } from '#test/adapter-sets.ts'
import { anyText } from '#test/domain/texts.ts'
import { Api, codeOf, describeApi, mistakes, TASKS, type User } from './api.ts'

const ASTRAL = '🙂'
const PROTOTYPE = JSON.parse('{"__proto__": {"completed": true}}')

/** Bodies that are invalid for a new and for an edited task, with their errors. */
const refused: Readonly<Record<string, readonly [body: object, ...mistakes: string[]]>> = {
  'an empty title': [{ title: '' }, '/title: too_short'],
  'a blank title': [{ title: ' \t\u3000' }, '/title: blank'],
  'a title of 256 characters': [{ title: 'a'.repeat(256) }, '/title: too_long'],
  'a title of 256 astral characters': [{ title: ASTRAL.repeat(256) }, '/title: too_long'],
  'a title with NUL': [{ title: 'a\0b' }, '/title: malformed_text'],
  'a title with a lone surrogate': [{ title: 'a\ud800' }, '/title: malformed_text'],
  'a title that is null': [{ title: null }, '/title: not_text'],
  'a title that is a number': [{ title: 1 }, '/title: not_text'],
  'a title that is an object': [{ title: { a: 1 } }, '/title: not_text'],
  'a description of 2,001 characters': [{ description: 'a'.repeat(2_001) }, '/description: too_long'],
  'a description of 2,001 astral characters': [{ description: ASTRAL.repeat(2_001) }, '/description: too_long'],
  'a description with NUL': [{ description: '\0' }, '/description: malformed_text'],
  'a description with a lone surrogate': [{ description: '\udfff' }, '/description: malformed_text'],
  'a description that is a list': [{ description: [] }, '/description: not_text'],
  'completed as text': [{ completed: 'true' }, '/completed: not_boolean'],
  'completed as a number': [{ completed: 1 }, '/completed: not_boolean'],
  'completed as null': [{ completed: null }, '/completed: not_boolean'],
  'a due date that does not exist': [{ due: '2026-02-30' }, '/due: not_a_due_date'],
  'a due time without an offset': [{ due: '2026-02-02T09:00:00' }, '/due: not_a_due_date'],
  'a due date in milliseconds': [{ due: 1_770_000_000_000 }, '/due: not_text'],
  'an unknown priority': [{ priority: 'High' }, '/priority: unknown_value'],
  'a priority that is null': [{ priority: null }, '/priority: unknown_value'],
  'a priority that is a name of Object.prototype': [{ priority: 'constructor' }, '/priority: unknown_value'],
  'tags that are a text': [{ tags: 'home' }, '/tags: not_a_list'],
  'tags that are null': [{ tags: null }, '/tags: not_a_list'],
  '21 tags': [{ tags: Array.from({ length: 21 }, (_, index) => `tag ${index}`) }, '/tags: too_many'],
  'a blank tag': [{ tags: ['home', ' '] }, '/tags: too_short'],
  'a tag of 51 characters': [{ tags: ['a'.repeat(51)] }, '/tags: too_long'],
  'a tag that is a number': [{ tags: [1] }, '/tags: not_text'],
  'a tag with NUL': [{ tags: ['a\0b'] }, '/tags: malformed_text'],
  'an unknown member': [{ no_such_member: 1 }, '/no_such_member: unknown'],
  'a member in another case': [{ Completed: true }, '/Completed: unknown'],
  'a member in camel case': [{ ownerId: 1 }, '/ownerId: unknown'],
  'a member named __proto__': [PROTOTYPE, '/__proto__: unknown'],
  'a member named constructor': [{ constructor: { prototype: { completed: true } } }, '/constructor: unknown'],
  'a member named toString': [{ toString: 1 }, '/toString: unknown'],
  'a member whose name needs escaping': [{ 'a/b~c': 1 }, '/a~1b~0c: unknown'],
  'three invalid members': [
    { title: '', description: 1, completed: 'no' },
    '/title: too_short',
    '/description: not_text',
    '/completed: not_boolean',
  ],
}

/** Members that are stored as sent. */
const accepted: Readonly<Record<string, Partial<TaskBody>>> = {
  'a title of one character': { title: 'a' },
  'a title of 255 characters': { title: 'a'.repeat(255) },
  'a title of 255 astral characters': { title: ASTRAL.repeat(255) },
  'a title with blanks around it': { title: '  Ship \n' },
  'a title in decomposed form': { title: 'e\u0301' },
  'a title that looks like SQL': { title: "'; drop table tasks; --" },
  'an empty description': { description: '' },
  'a description of 2,000 characters': { description: 'a'.repeat(2_000) },
  'a description of 2,000 astral characters': { description: ASTRAL.repeat(2_000) },
  'a description of every control character but NUL': {
    description: String.fromCharCode(...Array.from({ length: 31 }, (_, index) => index + 1), 127, 0x2028, 0xfeff),
  },
  'no description': { description: null },
  'completed: true': { completed: true },
  'a due date': { due: '2028-02-29' },
  'a due time with an offset': { due: '2026-02-02T09:00:00.123456+05:30' },
  'no due date': { due: null },
  'the highest priority': { priority: 'urgent' },
}

const invalidIds = ['0', '-1', '1.5', '01', '+1', '1e1', '0x1', 'abc', 'null', '%20', '1%20', '1%00', '%EF%BC%91']
const hugeIds = ['9007199254740992', '9007199254740993', '9223372036854775807', '9223372036854775808', '9'.repeat(100)]
const absentIds = ['999999999', '2147483647', '2147483648', '4294967297', '9007199254740991']

const readOnly = (jane: User, task: TaskBody) => ({
  id: task.id + 1,
  owner_id: jane.id + 1,
  created_at: '2000-01-01T00:00:00.000Z',
  updated_at: '2000-01-01T00:00:00.000Z',
  completed_at: '2000-01-01T00:00:00.000Z',
  revision: task.revision + 1_000,
})

const withoutInstance = ({ text }: { text: string }) => ({ ...JSON.parse(text), instance: '' })

describeApi('Tasks', (api) => {
  describe('Creating a task', () => {
    let jane: User
    before(async () => {
      jane = await api.signUp()
    })

    it('returns the task with defaults, and its path in Location', async () => {
      const answer = await jane.post(TASKS).send({ title: 'Ship' }).expect(201)
      const { id, created_at } = answer.body
      expect(answer.body).to.include({
        title: 'Ship',
        description: null,
        completed: false,
        completed_at: null,
        due: null,
        priority: 'none',
        owner_id: jane.id,
        updated_at: created_at,
      })
      expect(answer.body.tags).to.deep.equal([])
      expect(answer.body.revision).to.be.greaterThan(0)
      expect(created_at).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      const location = new URL(answer.headers.location as string, `${api.url}${TASKS}`)
      expect(location.href).to.equal(`${api.url}${TASKS}/${id}`)
      expect((await jane.get(location.pathname).expect(200)).body).to.deep.equal(answer.body)
    })

    it('ignores the read-only members of the body', async () => {
      const before = await jane.createTask()
      const { body } = await jane
        .post(TASKS)
        .send({ title: 'Mine', ...readOnly(jane, before), id: 1, owner_id: 1 })
        .expect(201)
      expect(body).to.include({ title: 'Mine', owner_id: jane.id })
      expect(body.id).to.be.greaterThan(before.id)
      expect(body.created_at >= before.created_at).to.equal(true)
    })

    it('accepts a task as it was returned', async () => {
      const task = await jane.createTask({ description: 'soon', completed: true })
      const { body } = await jane.post(TASKS).send(task).expect(201)
      const { title, description, completed } = task
      expect(body).to.include({ title, description, completed }).and.not.include({ id: task.id })
    })

    it('ignores read-only members of any type and depth', async () => {
      const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
      const answer = await jane.raw({
        method: 'POST',
        path: TASKS,
        headers: { 'content-type': 'application/json' },
        body: `{"title":"Ship","id":${deep},"owner_id":{"a":null},"created_at":1e999,"updated_at":[]}`,
      })
      expect(answer.status).to.equal(201)
    })

    it('stores every documented member, as do an edit and a batch', async () => {
      const { properties } = api.document.components.schemas.NewTask as {
        readonly properties: Readonly<Record<string, { readonly examples: readonly unknown[] }>>
      }
      const body = Object.fromEntries(Object.entries(properties).map(([name, { examples }]) => [name, examples[0]]))
      expect(await jane.createTask(body)).to.deep.include(body)
      const { id } = await jane.createTask()
      expect(await jane.editTask(id, body)).to.deep.include(body)
      const { id: other } = await jane.createTask()
      const operations = [
        { op: 'create', task: body },
        { op: 'update', id: other, task: body },
      ]
      const answer = await jane.post(`${TASKS}/batch`).send({ operations }).expect(200)
      for (const task of answer.body.results) expect(task).to.deep.include(body)
    })

    it('requires a title', async () => {
      expect(mistakes(await jane.post(TASKS).send({}).expect(422))).to.deep.equal(['/title: required'])
    })

    for (const [what, [body, ...expected]] of Object.entries(refused)) {
      it(`returns 422 for ${what}`, async () => {
        const answer = await jane
          .post(TASKS)
          .send({ title: 'Ship', ...body })
          .expect(422)
        expect(mistakes(answer)).to.have.members(expected)
      })
    }

    for (const [what, fields] of Object.entries(accepted)) {
      it(`stores ${what} as sent`, async () => {
        const task = await jane.createTask(fields)
        expect(task).to.include(fields)
        expect(await jane.getTask(task.id)).to.deep.equal(task)
      })
    }

    it('stores every well-formed text without NUL (property-based)', async () => {
      await fc.assert(
        fc.asyncProperty(anyText({ maxLength: 20 }), anyText({ maxLength: 20 }), async (title, description) => {
          const answer = await jane.post(TASKS).send({ title, description })
          const kept = title.trim() !== '' && !`${title}${description}`.includes('\0')
          expect(answer.status).to.equal(kept ? 201 : 422)
          if (kept) expect(await jane.getTask(answer.body.id)).to.include({ title, description })
        }),
        { numRuns: 50 },
      )
    })

    it('returns 422 for a query parameter', async () => {
      const answer = await jane.post(`${TASKS}?title=x`).send({ title: 'Ship' }).expect(422)
      expect(mistakes(answer)).to.deep.equal(['?title: unknown'])
    })

    it('never reuses the id of a deleted task', async () => {
      const { id } = await jane.createTask()
      await jane.deleteTask(id)
      expect((await jane.createTask()).id).to.be.greaterThan(id)
    })
  })

  describe('Editing a task', () => {
    let jane: User
    before(async () => {
      jane = await api.signUp()
    })

    it('changes the given members, keeps the others, and advances updated_at', async () => {
      const before = await jane.createTask({ description: 'soon' })
      const after = await jane.editTask(before.id, { completed: true })
      const { updated_at, completed_at, revision } = after
      expect(after).to.deep.equal({ ...before, completed: true, updated_at, completed_at, revision })
      expect(revision).to.be.greaterThan(before.revision)
      expect(after.updated_at > before.updated_at).to.equal(true)
      expect(await jane.getTask(before.id)).to.deep.equal(after)
    })

    it('advances updated_at with every edit, even if no member differs', async () => {
      const { id, updated_at } = await jane.createTask()
      const times = [updated_at]
      for (let count = 0; count < 5; count++) {
        times.push((await jane.editTask(id, { title: 'Ship' })).updated_at)
      }
      expect(times).to.deep.equal([...new Set(times)].sort())
      expect(await jane.getTask(id)).to.include({ updated_at: times.at(-1) })
    })

    it('sets completed_at on completion, keeps it on the next, and clears it on reopening', async () => {
      const { id } = await jane.createTask()
      const done = await jane.editTask(id, { completed: true })
      expect(done.completed_at).to.equal(done.updated_at)
      const again = await jane.editTask(id, { completed: true, title: 'Shipped' })
      expect(again.completed_at).to.equal(done.completed_at)
      expect(await jane.editTask(id, { completed: false })).to.include({ completed_at: null })
      const { completed_at, created_at } = await jane.createTask({ completed: true })
      expect(completed_at).to.equal(created_at)
    })

    it('clears the due date with null', async () => {
      const { id } = await jane.createTask({ due: '2026-02-02' })
      expect(await jane.editTask(id, { due: null })).to.include({ due: null })
      expect(await jane.getTask(id)).to.include({ due: null })
    })

    it('replaces the tags as a whole, trimmed and without duplicates, in the order given', async () => {
      const { id } = await jane.createTask({ tags: ['work'] })
      const { tags } = await jane.editTask(id, { tags: [' home ', 'Home', 'a', 'home'] })
      expect(tags).to.deep.equal(['home', 'Home', 'a'])
      expect((await jane.getTask(id)).tags).to.deep.equal(tags)
      expect((await jane.editTask(id, { tags: [] })).tags).to.deep.equal([])
    })

    it('clears the description with null', async () => {
      const { id } = await jane.createTask({ description: 'soon' })
      expect(await jane.editTask(id, { description: null })).to.include({ description: null })
      expect(await jane.getTask(id)).to.include({ description: null })
    })

    it('accepts application/merge-patch+json (RFC 7396)', async () => {
      const { id } = await jane.createTask({ description: 'soon' })
      const patch = jane.patch(`${TASKS}/${id}`).type('application/merge-patch+json')
      const { body } = await patch.send({ description: null, title: 'New' }).expect(200)
      expect(body).to.include({ description: null, title: 'New' })
    })

    it('changes nothing for an empty object or only read-only members', async () => {
      const before = await jane.createTask()
      for (const body of [{}, readOnly(jane, before), { id: 'x', updated_at: null }]) {
        expect(await jane.editTask(before.id, body)).to.deep.equal(before)
        expect(await jane.getTask(before.id)).to.deep.equal(before)
      }
    })

    it('accepts a task as it was returned, without changing its owner', async () => {
      const before = await jane.createTask({ description: 'soon' })
      const { body } = await jane
        .patch(`${TASKS}/${before.id}`)
        .send({ ...before, ...readOnly(jane, before) })
        .expect(200)
      const { updated_at, revision } = body
      expect(body).to.deep.equal({ ...before, updated_at, revision })
    })

    for (const [what, [body, ...expected]] of Object.entries(refused)) {
      it(`returns 422 for ${what} and changes nothing`, async () => {
        const before = await jane.createTask()
        const answer = await jane
          .patch(`${TASKS}/${before.id}`)
          .send({ completed: true, ...body })
          .expect(422)
        expect(mistakes(answer)).to.have.members(expected)
        expect(await jane.getTask(before.id)).to.deep.equal(before)
      })
    }

    for (const [what, fields] of Object.entries(accepted)) {
      it(`stores ${what} as sent`, async () => {
        const { id } = await jane.createTask({ description: 'before' })
        expect(await jane.editTask(id, fields)).to.include(fields)
        expect(await jane.getTask(id)).to.include(fields)
      })
    }

    it('returns 422 for a query parameter', async () => {
      const { id } = await jane.createTask()
      expect(mistakes(await jane.patch(`${TASKS}/${id}?x=1`).send({}).expect(422))).to.deep.equal(['?x: unknown'])
    })
  })

  describe('Deleting a task', () => {
    it('returns no body, and the task is gone afterwards', async () => {
      const jane = await api.signUp()
      const { id } = await jane.createTask()
      const answer = await jane.delete(`${TASKS}/${id}`).expect(204)
      expect(answer.text ?? '').to.equal('')
      expect(answer.headers).to.not.have.any.keys('content-type', 'content-length')
      await jane.get(`${TASKS}/${id}`).expect(404)
      await jane.patch(`${TASKS}/${id}`).send({ title: 'Back' }).expect(404)
      await jane.delete(`${TASKS}/${id}`).expect(404)
      expect(await jane.listTasks()).to.deep.equal([])
    })

    it('keeps the other tasks', async () => {
      const jane = await api.signUp()
      const [first, second, third] = [await jane.createTask(), await jane.createTask(), await jane.createTask()]
      await jane.deleteTask(second.id)
      expect(await jane.listTasks()).to.deep.equal([third, first])
    })

    it('returns 422 for a query parameter and deletes nothing', async () => {
      const jane = await api.signUp()
      const { id } = await jane.createTask()
      expect(mistakes(await jane.delete(`${TASKS}/${id}?force=1`).expect(422))).to.deep.equal(['?force: unknown'])
      await jane.getTask(id)
    })
  })

  describe('Another user’s task', () => {
    const attempts: Readonly<Record<string, (user: User, path: string) => ReturnType<User['get']>>> = {
      reading: (user, path) => user.get(path),
      editing: (user, path) => user.patch(path).send({ title: 'Mine' }),
      'editing with an empty object': (user, path) => user.patch(path).send({}),
      'editing with an invalid body': (user, path) => user.patch(path).send({ title: null, owner_id: 1 }),
      'reading with a query': (user, path) => user.get(`${path}?x=1`),
      deleting: (user, path) => user.delete(path),
    }
    for (const [what, attempt] of Object.entries(attempts)) {
      it(`is indistinguishable from a missing one when ${what}`, async () => {
        const [jane, john] = [await api.signUp(), await api.signUp()]
        const task = await jane.createTask()
        const foreign = await attempt(john, `${TASKS}/${task.id}`)
        const absent = await attempt(john, `${TASKS}/999999999`)
        expect(foreign.status).to.be.oneOf([404, 422])
        expect(absent.status).to.equal(foreign.status)
        expect(withoutInstance(foreign)).to.deep.equal(withoutInstance(absent))
        expect(Object.keys(foreign.headers)).to.have.members(Object.keys(absent.headers))
        expect(await jane.getTask(task.id)).to.deep.equal(task)
      })
    }

    it('returns 404 task_not_found', async () => {
      const [jane, john] = [await api.signUp(), await api.signUp()]
      const { id } = await jane.createTask()
      for (const attempt of [attempts.reading, attempts.editing, attempts.deleting]) {
        const answer = await (attempt as NonNullable<typeof attempt>)(john, `${TASKS}/${id}`).expect(404)
        expect(codeOf(answer)).to.equal('task_not_found')
      }
    })

    it('is not on the user’s list', async () => {
      const [jane, john] = [await api.signUp(), await api.signUp()]
      const mine = await jane.createTask()
      await john.createTask()
      expect(await jane.listTasks()).to.deep.equal([mine])
    })
  })

  describe('The id in a path', () => {
    let jane: User
    before(async () => {
      jane = await api.signUp()
      await jane.createTask()
    })

    const methods = ['GET', 'PATCH', 'DELETE'] as const
    const ask = (method: string, id: string) => {
      const patch = { headers: { 'content-type': 'application/json' }, body: '{}' }
      return jane.raw({ method, path: `${TASKS}/${id}`, ...(method === 'PATCH' && patch) })
    }

    for (const id of [...invalidIds, ...hugeIds]) {
      it(`returns 404 or 422 if it is ${id}`, async () => {
        for (const method of methods) expect((await ask(method, id)).status, method).to.be.oneOf([404, 422])
      })
    }

    for (const id of absentIds) {
      it(`returns 404 if it is ${id}`, async () => {
        for (const method of methods) expect((await ask(method, id)).status, method).to.equal(404)
      })
    }

    it('returns 404 for any absent id (property-based)', async () => {
      const ids = fc.bigInt({ min: 1_000_000n, max: 2n ** 53n - 1n })
      await fc.assert(
        fc.asyncProperty(ids, async (id) => {
          expect((await ask('GET', String(id))).status).to.equal(404)
        }),
        { numRuns: 30 },
      )
    })

    it('returns 404 or 422 for any other text (property-based)', async () => {
      const segments = anyText({ minLength: 1, maxLength: 12 })
        .map(encodeURIComponent)
        .filter((segment) => !/^[1-9]\d*$/.test(segment) && !/^\.+$/.test(segment))
      await fc.assert(
        fc.asyncProperty(segments, async (segment) => {
          expect((await ask('GET', segment)).status).to.be.oneOf([404, 422])
        }),
        { numRuns: 50 },
      )
    })
  })
})

for (const { name, databaseUrl } of adapterSets) {
  describe(`A user with MAX_TASKS_PER_USER tasks (${name})`, () => {
    const api = new Api()
    before(async () => api.start({ DATABASE_URL: await databaseUrl(), MAX_TASKS_PER_USER: '2' }))
    after(() => api.stop())

    it('gets 409 for one more, until a task is deleted', async () => {
      const [jane, john] = [await api.signUp(), await api.signUp()]
      const tasks = [await jane.createTask(), await jane.createTask()]
      expect(codeOf(await jane.post(TASKS).send({ title: 'Ship' }).expect(409))).to.equal('task_limit_reached')
      expect(await jane.listTasks()).to.have.lengthOf(2)
      await jane.editTask(tasks[0]?.id as number, { completed: true })
      await john.createTask()
      await jane.deleteTask(tasks[0]?.id as number)
      await jane.createTask()
    })
  })
}
