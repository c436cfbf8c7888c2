import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import type { Response } from 'supertest'
import { InMemoryTaskRepository } from '#src/adapters/in-memory/in-memory-task-repository.ts'
import { OutcomeUnknown } from '#src/domain/errors.ts'
import { persistentSets } from '#test/adapter-sets.ts'
import { Api, codeOf, describeApi, ORIGIN, TASKS, User } from './api.ts'
import type { Answer } from './documented.ts'

const BATCH = `${TASKS}/batch`
const TASK = JSON.stringify({ title: 'Ship' })
const KEY = '8e03978e-40d5-43dd-bc93-6894a57f9324'

/** The parts of a response that a repeated request returns unchanged. */
const comparable = ({ status, headers, text }: Pick<Answer, 'status' | 'headers' | 'text'>) => ({
  status,
  text,
  headers: Object.fromEntries(
    ['content-type', 'content-length', 'etag', 'location', 'cache-control'].map((name) => [name, headers[name]]),
  ),
})
const isReplayed = ({ headers }: Response) => headers['idempotency-replayed']

const post = (user: User, key: string, body = TASK, path = TASKS) =>
  user.post(path).set({ 'Idempotency-Key': key, 'Content-Type': 'application/json' }).send(body)

describeApi('A request with an idempotency key', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })

  it('creates one task, however often it is sent', async () => {
    const first = await post(jane, KEY).expect(201)
    expect(isReplayed(first)).to.equal(undefined)
    for (let attempt = 0; attempt < 3; attempt++) {
      const again = await post(jane, KEY).expect(201)
      expect(comparable(again)).to.deep.equal(comparable(first))
      expect(isReplayed(again)).to.equal('true')
    }
    expect(await jane.listTasks()).to.deep.equal([first.body])
  })

  it('gets the first response even after the task was changed or deleted', async () => {
    const first = await post(jane, KEY).expect(201)
    await jane.editTask(first.body.id, { title: 'New', tags: ['home'] })
    expect(comparable(await post(jane, KEY))).to.deep.equal(comparable(first))
    await jane.deleteTask(first.body.id)
    expect(comparable(await post(jane, KEY))).to.deep.equal(comparable(first))
    expect(await jane.listTasks()).to.deep.equal([])
  })

  it('carries out one batch, however often it is sent', async () => {
    const [kept, gone] = [await jane.createTask({ title: 'Kept' }), await jane.createTask({ title: 'Gone' })]
    const batch = JSON.stringify({
      operations: [
        { op: 'delete', id: gone.id },
        { op: 'create', task: { title: 'First', due: '2026-02-02', completed: true } },
        { op: 'update', id: kept.id, if_revision: kept.revision, task: { completed: true } },
        { op: 'create', task: { title: 'Second' } },
      ],
    })
    const first = await post(jane, KEY, batch, BATCH).expect(200)
    const tasks = await jane.listTasks()
    await jane.editTask(kept.id, { completed: false })
    const again = await post(jane, KEY, batch, BATCH).expect(200)
    expect(comparable(again)).to.deep.equal(comparable(first))
    expect([first, again].map(isReplayed)).to.deep.equal([undefined, 'true'])
    expect(await jane.listTasks()).to.have.lengthOf(tasks.length)
  })

  it('has the same key with or without quotes', async () => {
    const { body } = await post(jane, 'a \\ b').expect(201)
    expect((await post(jane, '"a \\\\ b"').expect(201)).body).to.deep.equal(body)
    expect((await post(jane, '"a \\" b"').expect(201)).body).to.not.deep.equal(body)
  })

  it('is compared by the bytes of the body after decompression', async () => {
    const first = await post(jane, KEY).expect(201)
    const compressed = await jane.raw({
      method: 'POST',
      path: TASKS,
      headers: { 'idempotency-key': KEY, 'content-type': 'application/json', 'content-encoding': 'gzip' },
      body: gzipSync(TASK),
    })
    expect(comparable(compressed)).to.deep.equal(comparable(first))
  })

  it('returns 422 if the body differs', async () => {
    await post(jane, KEY).expect(201)
    for (const other of [`${TASK} `, JSON.stringify({ title: 'Other' }), JSON.stringify({ title: 'Ship', tags: [] })]) {
      const answer = await post(jane, KEY, other).expect(422)
      expect(codeOf(answer)).to.equal('idempotency_key_reused')
      expect(answer.text).to.not.include(KEY)
    }
    expect(await jane.listTasks()).to.have.lengthOf(1)
  })

  it('is independent of other users and routes', async () => {
    const john = await api.signUp()
    await post(jane, KEY).expect(201)
    const batch = JSON.stringify({ operations: [{ op: 'create', task: { title: 'Ship' } }] })
    for (const answer of [await post(john, KEY), await post(jane, KEY, batch, BATCH)]) {
      expect(isReplayed(answer)).to.equal(undefined)
    }
    expect(await jane.listTasks()).to.have.lengthOf(2)
  })

  it('takes keys of 1 to 255 printable characters', async () => {
    for (const key of ['a', '~', '!', 'a b', '" "', '"\\""', 'x'.repeat(255), `"${'y'.repeat(255)}"`]) {
      await post(jane, key).expect(201)
    }
    expect(await jane.listTasks()).to.have.lengthOf(8)
  })

  for (const key of ['', '""', '"', '"a', 'é', 'a\tb', '"\\a"', '"a" b', '"a"b"', '"a\\"', 'x'.repeat(256)]) {
    it(`returns 422 naming the header for ${key.length > 20 ? 'a long key' : JSON.stringify(key)}`, async () => {
      for (const [path, body] of [
        [TASKS, TASK],
        [BATCH, JSON.stringify({ operations: [{ op: 'delete', id: 1 }] })],
      ] as const) {
        const answer = await post(jane, key, body, path).expect(422)
        expect(answer.body.errors).to.have.lengthOf(1)
        expect(answer.body.errors[0]).to.include({ header: 'idempotency-key', code: 'malformed' })
      }
      expect(await jane.listTasks()).to.deep.equal([])
    })
  }

  it('stores no error', async () => {
    const missing = { op: 'update', id: 2 ** 52, task: {} }
    await post(jane, KEY, JSON.stringify({ operations: [missing] }), BATCH).expect(404)
    await post(jane, KEY, JSON.stringify({ operations: [{ op: 'create', task: { title: 'Ship' } }] }), BATCH).expect(
      200,
    )
    await post(jane, KEY, '{}').expect(422)
    await post(jane, KEY).expect(201)
    expect(await jane.listTasks()).to.have.lengthOf(2)
  })

  it('has one effect when it is sent 20 times concurrently', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(jane, KEY)))
    expect(new Set(answers.map((answer) => JSON.stringify(comparable(answer))))).to.have.property('size', 1)
    expect(answers.filter((answer) => isReplayed(answer) === undefined)).to.have.lengthOf(1)
    expect(await jane.listTasks()).to.have.lengthOf(1)
  })

  it('can be sent by a page of another origin, which can read Idempotency-Replayed', async () => {
    const preflight = await api.options(TASKS).set({
      Origin: ORIGIN,
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'idempotency-key',
    })
    expect(preflight.headers['access-control-allow-headers']).to.match(/\bIdempotency-Key\b/)
    const answer = await post(jane, KEY).set('Origin', ORIGIN).expect(201)
    expect(answer.headers['access-control-expose-headers']).to.match(/\bIdempotency-Replayed\b/)
  })
})

for (const { name, databaseUrl } of persistentSets) {
  it(`A request with an idempotency key has one effect when two instances receive it (${name})`, async () => {
    const environment = { DATABASE_URL: await databaseUrl() }
    const instances = [new Api(), new Api()] as const
    try {
      for (const instance of instances) await instance.start(environment)
      const jane = await instances[0].signUp()
      const users = instances.map((instance) => new User(instance, jane.id, jane.email, jane.token))
      for (let round = 1; round <= 20; round++) {
        const answers = await Promise.all([...users, ...users].map((user) => post(user, `${KEY} ${round}`)))
        expect(new Set(answers.map((answer) => JSON.stringify(comparable(answer))))).to.have.property('size', 1)
        expect(answers.filter((answer) => isReplayed(answer) === undefined)).to.have.lengthOf(1)
        expect(await jane.listTasks()).to.have.lengthOf(round)
      }
    } finally {
      for (const instance of instances) await instance.stop()
    }
  })
}

describe('A request with an idempotency key that is in use', () => {
  const api = new Api()
  const tasks = new InMemoryTaskRepository()
  let held: Promise<void> | undefined
  let failure: Error | undefined
  before(async () => {
    const writeOnce: InMemoryTaskRepository['writeOnce'] = async (...write) => {
      await held
      if (failure) throw failure
      return tasks.writeOnce(...write)
    }
    const overridden = new Proxy(tasks, {
      get: (_, name) => {
        if (name === 'writeOnce') return writeOnce
        const member: unknown = Reflect.get(tasks, name)
        return typeof member === 'function' ? member.bind(tasks) : member
      },
    })
    await api.start({ DATABASE_URL: 'memory:' }, { tasks: () => overridden })
  })
  after(() => api.stop())

  it('returns 409 with Retry-After after two seconds, and the response later', async () => {
    const jane = await api.signUp()
    const { promise, resolve } = Promise.withResolvers<void>()
    held = promise
    const first = post(jane, KEY).then((answer) => answer)
    const started = performance.now()
    const answer = await post(jane, KEY).expect(409)
    expect(performance.now() - started).to.be.within(1_900, 4_000)
    expect(codeOf(answer)).to.equal('idempotency_key_in_use')
    expect(answer.headers['retry-after']).to.match(/^[1-9]\d*$/)
    resolve()
    expect(comparable(await post(jane, KEY).expect(201))).to.deep.equal(comparable(await first))
  })

  it('is carried out by the next request if the first one fails', async () => {
    const jane = await api.signUp()
    const { promise, resolve } = Promise.withResolvers<void>()
    held = promise
    failure = new OutcomeUnknown(undefined)
    const first = post(jane, KEY).then((answer) => answer)
    const others = Promise.all([post(jane, KEY), post(jane, KEY)])
    resolve()
    expect((await first).status).to.equal(503)
    failure = undefined
    await others
    await post(jane, KEY).expect(201)
    expect(await jane.listTasks()).to.have.lengthOf(1)
  })
})
