import { expect } from 'chai'
import fc from 'fast-check'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import { Api, codeOf, describeApi, mistakes, TASKS, type User } from './api.ts'

const BATCH = `${TASKS}/batch`
const create = (title = 'Ship') => ({ op: 'create', task: { title } })

describeApi('A batch', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })

  const send = (operations: unknown, user = jane) => user.post(BATCH).send({ operations } as object)

  it('returns the stored task of each operation in order, and null for a deletion', async () => {
    const [kept, gone] = [await jane.createTask({ title: 'Kept' }), await jane.createTask({ title: 'Gone' })]
    const { body } = await send([
      { op: 'delete', id: gone.id },
      { op: 'create', task: { title: 'First', tags: [' home '], due: '2026-02-02' } },
      { op: 'update', id: kept.id, if_revision: kept.revision, task: { completed: true } },
      create('Second'),
    ]).expect(200)
    const [deleted, first, edited, second] = body.results
    expect(deleted).to.equal(null)
    expect(first).to.include({ title: 'First', due: '2026-02-02', owner_id: jane.id })
    expect(first.tags).to.deep.equal(['home'])
    expect(edited).to.deep.include({ ...kept, completed: true, completed_at: edited.updated_at, ...revised(edited) })
    expect(second).to.include({ title: 'Second' })
    expect(await jane.listTasks()).to.deep.equal([second, first, edited])
  })

  it('gives each task a revision of its own', async () => {
    const { body } = await send(Array.from({ length: 100 }, (_, index) => create(`Task ${index}`))).expect(200)
    const revisions = (body.results as TaskBody[]).map(({ revision }) => revision)
    expect(new Set(revisions)).to.have.property('size', 100)
    expect((body.results as TaskBody[]).map(({ title }) => title)).to.deep.equal(
      Array.from({ length: 100 }, (_, index) => `Task ${index}`),
    )
  })

  it('accepts tasks as they were returned', async () => {
    const task = await jane.createTask({ tags: ['home'] })
    const { body } = await send([
      { op: 'create', task },
      { op: 'update', id: task.id, task: { ...task, title: 'New' } },
    ]).expect(200)
    expect(body.results[0]).to.include({ title: 'Ship' }).and.not.include({ id: task.id })
    expect(body.results[1]).to.include({ title: 'New', id: task.id })
  })

  it('keeps the revision of a task that an operation does not change', async () => {
    const task = await jane.createTask()
    const { body } = await send([{ op: 'update', id: task.id, task: {} }]).expect(200)
    expect(body.results).to.deep.equal([task])
  })

  describe('of which one operation fails', () => {
    let task: TaskBody
    beforeEach(async () => {
      task = await jane.createTask()
    })
    afterEach(async () => {
      expect(await jane.listTasks()).to.deep.equal([task])
    })
    const edit = (others: object = {}) => ({ op: 'update', id: task.id, task: { title: 'New' }, ...others })

    it('returns 404 for a missing task and names the operation', async () => {
      for (const missing of [
        { op: 'delete', id: 999_999_999 },
        { op: 'update', id: 2 ** 53 - 1, task: {} },
      ]) {
        const answer = await send([create(), edit(), missing]).expect(404)
        expect(codeOf(answer)).to.equal('task_not_found')
        expect(mistakes(answer)).to.deep.equal(['/operations/2: task_not_found'])
      }
    })

    it('returns 404 for another user’s task', async () => {
      const john = await api.signUp()
      expect(mistakes(await send([create(), edit()], john).expect(404))).to.deep.equal([
        '/operations/1: task_not_found',
      ])
      expect(await john.listTasks()).to.deep.equal([])
    })

    it('returns 412 for a stale revision and names the operation', async () => {
      const if_revision = task.revision + 1
      for (const stale of [
        edit({ if_revision }),
        { op: 'delete', id: task.id, if_revision },
        edit({ if_revision: 0 }),
      ]) {
        const answer = await send([create(), stale]).expect(412)
        expect(codeOf(answer)).to.equal('revision_mismatch')
        expect(mistakes(answer)).to.deep.equal(['/operations/1: revision_mismatch'])
        expect(answer.headers).to.not.have.property('etag')
      }
    })

    it('returns 422 if an id occurs twice', async () => {
      const answer = await send([edit(), create(), { op: 'delete', id: task.id }]).expect(422)
      expect(mistakes(answer)).to.deep.equal(['/operations/2/id: repeated'])
    })

    it('returns 422 with a pointer into the list for each mistake', async () => {
      const answer = await send([
        create(),
        create(''),
        { op: 'update', id: '1', task: { completed: 1, no_such_member: 1 } },
        { op: 'remove', id: task.id },
      ]).expect(422)
      expect(mistakes(answer)).to.have.members([
        '/operations/1/task/title: too_short',
        '/operations/2/id: out_of_range',
        '/operations/2/task/completed: not_boolean',
        '/operations/2/task/no_such_member: unknown',
        '/operations/3/op: unknown_value',
      ])
      expect(answer.text).to.not.include('remove')
    })

    const refused: Readonly<Record<string, readonly [operation: unknown, ...mistakes: string[]]>> = {
      'without op': [{ id: 1 }, '/op: required'],
      'of op null': [{ op: null }, '/op: unknown_value'],
      'of op __proto__': [{ op: '__proto__' }, '/op: unknown_value'],
      'that is a text': ['create', ': not_an_object'],
      'that is null': [null, ': not_an_object'],
      'that is a list': [[], ': not_an_object'],
      'to create without a task': [{ op: 'create' }, '/task: required'],
      'to create without a title': [{ op: 'create', task: {} }, '/task/title: required'],
      'to create from a list': [{ op: 'create', task: [] }, '/task: not_an_object'],
      'to create under an id': [{ op: 'create', id: 1, task: { title: 'Ship' } }, '/id: unknown'],
      'to create at a revision': [{ op: 'create', if_revision: 1, task: { title: 'Ship' } }, '/if_revision: unknown'],
      'to update without an id': [{ op: 'update', task: {} }, '/id: required'],
      'to update without a task': [{ op: 'update', id: 1 }, '/task: required'],
      'to update with a list': [{ op: 'update', id: 1, task: [] }, '/task: not_an_object'],
      'to update with null': [{ op: 'update', id: 1, task: null }, '/task: not_an_object'],
      'to delete with a task': [{ op: 'delete', id: 1, task: {} }, '/task: unknown'],
      'to delete id 0': [{ op: 'delete', id: 0 }, '/id: out_of_range'],
      'to delete id 1.5': [{ op: 'delete', id: 1.5 }, '/id: out_of_range'],
      'to delete id null': [{ op: 'delete', id: null }, '/id: out_of_range'],
      'to delete an id of 2^53': [{ op: 'delete', id: 2 ** 53 }, '/id: out_of_range'],
      'to delete at revision -1': [{ op: 'delete', id: 1, if_revision: -1 }, '/if_revision: out_of_range'],
      'to delete at a revision in text': [{ op: 'delete', id: 1, if_revision: '1' }, '/if_revision: out_of_range'],
      'to delete at revision null': [{ op: 'delete', id: 1, if_revision: null }, '/if_revision: out_of_range'],
    }
    for (const [what, [operation, ...expected]] of Object.entries(refused)) {
      it(`returns 422 for an operation ${what}`, async () => {
        const answer = await send([create(), operation]).expect(422)
        expect(mistakes(answer)).to.have.members(expected.map((mistake) => `/operations/1${mistake}`))
      })
    }
  })

  const bodies: Readonly<Record<string, readonly [body: unknown, mistake: string]>> = {
    'no operations': [{}, '/operations: required'],
    'an empty list': [{ operations: [] }, '/operations: out_of_range'],
    '101 operations': [{ operations: Array(101).fill(create()) }, '/operations: out_of_range'],
    'a hundred thousand operations': [{ operations: Array(100_000).fill({}) }, '/operations: out_of_range'],
    'operations in an object': [{ operations: { 0: create() } }, '/operations: not_a_list'],
    'operations that are null': [{ operations: null }, '/operations: not_a_list'],
    'a bare list': [[create()], ': not_an_object'],
    'an unknown member': [{ operations: [create()], atomic: true }, '/atomic: unknown'],
  }
  for (const [what, [body, expected]] of Object.entries(bodies)) {
    it(`returns 422 for ${what}`, async () => {
      const answer = await jane.post(BATCH).send(body as object)
      expect([answer.status, ...mistakes(answer)]).to.deep.equal([422, expected])
    })
  }

  it('has the same effect as its operations one by one (property-based)', async () => {
    const changes = fc.record({ completed: fc.boolean(), title: fc.constantFrom('a', 'b') }, { requiredKeys: [] })
    const plans = fc.array(fc.oneof(fc.constant('create'), changes, fc.constant('delete')), {
      minLength: 1,
      maxLength: 6,
    })
    await fc.assert(
      fc.asyncProperty(plans, async (plan) => {
        const [one, whole] = [await api.signUp(), await api.signUp()]
        const existing = { one: [] as number[], whole: [] as number[] }
        for (const _ of plan) {
          existing.one.push((await one.createTask()).id)
          existing.whole.push((await whole.createTask()).id)
        }
        const operations = plan.map((step, index) => {
          if (step === 'create') return create()
          const id = existing.whole[index]
          return step === 'delete' ? { op: 'delete', id } : { op: 'update', id, task: step }
        })
        await send(operations, whole).expect(200)
        for (const [index, step] of plan.entries()) {
          const id = existing.one[index] as number
          if (step === 'create') await one.createTask()
          else if (step === 'delete') await one.deleteTask(id)
          else await one.editTask(id, step as object)
        }
        const shown = (tasks: TaskBody[]) => tasks.map(({ title, completed }) => ({ title, completed }))
        expect(shown(await whole.listTasks())).to.deep.equal(shown(await one.listTasks()))
      }),
      { numRuns: 5 },
    )
  })

  it('is served at its exact path and for POST only', async () => {
    for (const answer of [
      await jane.get(BATCH).expect(405),
      await jane.patch(BATCH).send({}).expect(405),
      await jane.delete(BATCH).expect(405),
    ])
      expect(answer.headers.allow).to.equal('POST')
    await jane
      .post(`${BATCH}/`)
      .send({ operations: [create()] })
      .expect(404)
    await api.post(BATCH).send({ operations: [] }).expect(401)
  })
})

const revised = ({ updated_at, revision }: TaskBody) => ({ updated_at, revision })

describe('A batch under rate limits', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:', RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_USER: '10' }))
  after(() => api.stop())

  const remaining = (answer: { headers: Record<string, string> }) => /r=(\d+)/.exec(answer.headers.ratelimit ?? '')?.[1]

  it('counts as one request before its body is read, and as its operations once it is valid', async () => {
    const jane = await api.signUp()
    const send = (count: number) => jane.post(BATCH).send({ operations: Array(count).fill(create()) })
    expect(remaining(await send(4).expect(200))).to.equal('6')
    expect(remaining(await send(0).expect(422))).to.equal('5')
    expect(remaining(await send(1).expect(200))).to.equal('4')
    expect(codeOf(await send(5).expect(429))).to.equal('too_many_requests')
    await jane.get(TASKS).expect(429)
  })

  it('stores nothing if its operations exceed the limit', async () => {
    const jane = await api.signUp()
    await jane
      .post(BATCH)
      .send({ operations: Array(11).fill(create()) })
      .expect(429)
  })
})
