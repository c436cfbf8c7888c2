import { mock } from 'node:test'
import { expect } from 'chai'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import { inMemoryDatabase } from '#src/adapters/in-memory/in-memory-database.ts'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { adapterSets, persistentSets, postgresql } from '#test/adapter-sets.ts'
import { postgresqlTarget } from '#test/contracts/repositories.ts'
import { FakeChangeSignal, FakeClock } from '#test/use-cases/fakes.ts'
import {
  Api,
  codeOf,
  describeApi,
  LOGIN,
  ME,
  mistakes,
  PASSWORD,
  REFRESH,
  REVOKE,
  SESSIONS,
  TASKS,
  USERS,
  User,
} from './api.ts'

const EVENTS = `${TASKS}/events`
const HEARTBEAT_INTERVAL = 15_000

interface ServerEvent {
  readonly event: string
  readonly id: string
  readonly data: Record<string, unknown>
}

/** Reads a stream event by event, as a client does with `fetch`. */
class EventReader implements AsyncDisposable {
  readonly response: Response
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #decoder = new TextDecoder()
  #text = ''

  constructor(response: Response) {
    this.response = response
    this.#reader = (response.body as ReadableStream<Uint8Array>).getReader()
  }

  static async open(api: Api, { token }: Pick<User, 'token'>, lastEventId?: string): Promise<EventReader> {
    const headers = { Authorization: `Bearer ${token}`, ...(lastEventId && { 'Last-Event-ID': lastEventId }) }
    return new EventReader(await fetch(api.url + EVENTS, { headers }))
  }

  /** The next block of lines; `undefined` at the end of the stream. */
  async nextBlock(): Promise<string | undefined> {
    for (;;) {
      const [block = '', ...rest] = this.#text.split('\n\n')
      if (rest.length > 0) {
        this.#text = rest.join('\n\n')
        return block
      }
      const { value, done } = await this.#reader.read()
      if (done) return undefined
      this.#text += this.#decoder.decode(value, { stream: true })
    }
  }

  async next(): Promise<ServerEvent | undefined> {
    for (;;) {
      const block = await this.nextBlock()
      if (block === undefined) return undefined
      const fields = Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s, 2)))
      if (fields.event) return { event: fields.event, id: fields.id, data: JSON.parse(fields.data) }
    }
  }

  async nextSome(count: number): Promise<(ServerEvent | undefined)[]> {
    const events: (ServerEvent | undefined)[] = []
    while (events.length < count) events.push(await this.next())
    return events
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel()
  }
}

describeApi('The event stream', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })
  const since = async () => (await jane.get(`${TASKS}/changes`).expect(200)).body.next_since

  it('opens with the current position, a retry time, and headers that keep it from being stored or buffered', async () => {
    await jane.createTask()
    await using events = await EventReader.open(api, jane)
    expect(events.response.status).to.equal(200)
    expect(Object.fromEntries(events.response.headers)).to.include({
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
    })
    expect(await events.nextBlock()).to.match(/^retry: \d+$/)
    const position = await since()
    expect(await events.next()).to.deep.equal({ event: 'position', id: position, data: { since: position } })
  })

  it('has each task that changes, in its latest state, and each deletion, with ascending positions', async () => {
    await using events = await EventReader.open(api, jane)
    const [opening] = await events.nextSome(1)
    const task = await jane.createTask()
    const created = await events.next()
    expect(created).to.deep.include({ event: 'task', data: task })
    const edited = await jane.editTask(task.id, { completed: true })
    expect(await events.next()).to.deep.include({ event: 'task', data: edited })
    await jane.deleteTask(task.id)
    const deleted = await events.next()
    expect(deleted?.event).to.equal('deleted')
    expect(deleted?.data).to.have.all.keys('id', 'revision', 'deleted_at').and.include({ id: task.id })
    const { body } = await jane.get(`${TASKS}/changes?since=${opening?.id}`).expect(200)
    expect(body).to.deep.include({ items: [], deleted: [deleted?.data], next_since: deleted?.id })
    expect(created?.id).to.match(new RegExp(`-${task.revision}$`))
  })

  it('has no event of another user', async () => {
    const john = await api.signUp()
    await using events = await EventReader.open(api, jane)
    await events.next()
    await john.createTask()
    const mine = await jane.createTask()
    expect(await events.next()).to.deep.include({ event: 'task', data: mine })
  })

  it('continues after Last-Event-ID, in the order of the changes', async () => {
    const tasks: TaskBody[] = []
    const position = await since()
    while (tasks.length < 25) tasks.push(await jane.createTask())
    await jane.deleteTask(tasks[3]?.id as number)
    await using events = await EventReader.open(api, jane, position)
    const [opening, ...changes] = await events.nextSome(26)
    expect(opening).to.deep.equal({ event: 'position', id: position, data: { since: position } })
    expect(changes.map((each) => each?.data.id)).to.deep.equal([
      ...tasks.toSpliced(3, 1).map(({ id }) => id),
      tasks[3]?.id,
    ])
    const revisions = changes.map((each) => Number(each?.data.revision))
    expect(revisions).to.deep.equal(revisions.toSorted((one, other) => one - other))

    await using resumed = await EventReader.open(api, jane, changes[9]?.id)
    const [, ...rest] = await resumed.nextSome(16)
    expect(rest).to.deep.equal(changes.slice(10))
  })

  it('returns 410 for an expired Last-Event-ID and 422 for a malformed one', async () => {
    const position = await since()
    const ahead = jane.get(EVENTS).set('Last-Event-ID', position.replace(/\d+$/, '999999'))
    expect(codeOf(await ahead.expect(410))).to.equal('sync_expired')
    const { body } = await jane.get(EVENTS).set('Last-Event-ID', '42').expect(422)
    expect(body.errors).to.have.lengthOf(1)
    expect(body.errors[0]).to.include({ header: 'last-event-id', code: 'not_a_position' })
  })

  it('needs a token, refuses parameters, and is not opened by HEAD', async () => {
    await api.get(EVENTS).expect(401)
    expect(mistakes(await jane.get(`${EVENTS}?since=x`).expect(422))).to.deep.equal(['?since: unknown'])
    const { headers } = await jane.head(EVENTS).expect(200)
    expect(headers).to.include({ 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' })
    expect((await jane.delete(EVENTS).expect(405)).headers.allow).to.equal('GET, HEAD')
  })
})

describeApi('An event stream of a credential that ends', (api) => {
  const ends: Readonly<Record<string, (jane: User, ended: User) => Promise<unknown>>> = {
    'its session': async (jane) => {
      const [{ id }] = (await jane.get(SESSIONS)).body
      await jane.delete(`${SESSIONS}/${id}`).expect(204)
    },
    'all other sessions': (jane) => jane.delete(SESSIONS).expect(204),
    'its revocation': (_, { token }) => api.post(REVOKE).send({ token }).expect(200),
    'the reuse of its refresh token': async (_, { refreshToken }) => {
      const refresh = (refresh_token: string) => api.post(REFRESH).send({ refresh_token })
      const { body } = await refresh(refreshToken).expect(200)
      await refresh(body.refresh_token).expect(200)
      await refresh(refreshToken).expect(400)
    },
    'a new password': (jane) =>
      jane.patch(ME).send({ password: 'a password that is new', current_password: PASSWORD }).expect(200),
    'an admin who ends its sessions': async ({ id }) =>
      (await api.signUpAdmin()).delete(`${USERS}/${id}/sessions`).expect(204),
    'an admin who disables its user': async ({ id }) =>
      (await api.signUpAdmin()).patch(`${USERS}/${id}`).send({ disabled: true }).expect(200),
    'its user': (jane) => jane.delete(ME).send({ current_password: PASSWORD }).expect(204),
  }
  for (const [what, end] of Object.entries(ends)) {
    it(`ends at once with ${what}, and so does a long poll`, async () => {
      const jane = await api.signUp()
      const ended = await api.logIn(jane)
      await using events = await EventReader.open(api, ended)
      const opening = await events.next()
      const poll = ended.get(`${TASKS}/changes?since=${opening?.id}&wait=30`).then((answer) => answer)
      await end(jane, ended)
      expect(await events.next()).to.equal(undefined)
      // If the list is deleted before the poll reads it, the position has expired (410).
      expect((await poll).status).to.be.oneOf(what === 'its user' ? [401, 410] : [401])
    })
  }

  it('ends with its API token, while the stream of another token continues', async () => {
    const jane = await api.signUp()
    const [script, other] = [await jane.asScript('tasks:read'), await jane.asScript('tasks:write')]
    await using events = await EventReader.open(api, script)
    await using others = await EventReader.open(api, other)
    for (const reader of [events, others]) await reader.next()
    await api.post(REVOKE).send({ token: script.token }).expect(200)
    expect(await events.next()).to.equal(undefined)
    const task = await other.createTask()
    expect(await others.next()).to.deep.include({ data: task })
  })
})

for (const { name, databaseUrl } of adapterSets) {
  describe(`Event streams of a service (${name})`, () => {
    const api = new Api()
    before(async () => api.start({ DATABASE_URL: await databaseUrl(), MAX_STREAMS_PER_USER: '2' }))
    after(() => api.stop())

    it('end the oldest beyond MAX_STREAMS_PER_USER, counting long polls', async () => {
      const [jane, john] = [await api.signUp(), await api.signUp()]
      await using other = await EventReader.open(api, john)
      await other.next()
      await using first = await EventReader.open(api, jane)
      await using second = await EventReader.open(api, jane)
      const opening = await second.next()
      await first.next()
      const poll = jane.get(`${TASKS}/changes?since=${opening?.id}&wait=30`).expect(200)
      const answered = poll.then(({ body }) => body)
      expect(await first.next()).to.equal(undefined)
      await using third = await EventReader.open(api, jane)
      await third.next()
      expect(await second.next()).to.equal(undefined)
      const task = await jane.createTask()
      expect((await answered).items).to.deep.equal([task])
      expect(await third.next()).to.deep.include({ data: task })
      await john.createTask()
      expect(await other.next()).to.include({ event: 'task' })
    })

    it('end at shutdown', async () => {
      const jane = await api.signUp()
      await using events = await EventReader.open(api, jane)
      await events.next()
      const ended = events.next()
      await api.stop()
      expect(await ended).to.equal(undefined)
    })
  })
}

for (const { name, databaseUrl, deleteUser } of persistentSets) {
  describe(`An event stream (${name})`, () => {
    const [one, other] = [new Api(), new Api()]
    let url: string
    before(async () => {
      url = await databaseUrl()
      await one.start({ DATABASE_URL: url })
      await other.start({ DATABASE_URL: url })
    })
    after(() => Promise.all([one.stop(), other.stop()]))

    it('has the changes of another instance', async () => {
      const jane = await one.signUp()
      await using events = await EventReader.open(one, jane)
      await events.next()
      const request = other.post(TASKS).set('Authorization', `Bearer ${jane.token}`)
      const { body } = await request.send({ title: 'Ship' }).expect(201)
      expect(await events.next()).to.deep.include({ event: 'task', data: body })
    })

    it('ends with its user, at the next heartbeat', async () => {
      const jane = await one.signUp()
      mock.timers.enable({ apis: ['setInterval'] })
      try {
        await using events = await EventReader.open(one, jane)
        await events.next()
        await deleteUser(url, jane.id)
        mock.timers.tick(HEARTBEAT_INTERVAL)
        expect(await events.next()).to.equal(undefined)
      } finally {
        mock.timers.reset()
      }
    })
  })
}

describe('An event stream of a restored database (PostgreSQL)', () => {
  const api = new Api()
  let url: string
  before(async () => {
    url = await postgresql.databaseUrl()
    await api.start({ DATABASE_URL: url })
  })
  after(() => api.stop())

  it('ends, and its position expires', async () => {
    const jane = await api.signUp()
    await using events = await EventReader.open(api, jane)
    const opening = await events.next()
    const database = await openDatabase(postgresqlTarget(url))
    await database.raiseCounters()
    await database.close()
    expect(await events.next()).to.equal(undefined)
    const resumed = jane.get(EVENTS).set('Last-Event-ID', String(opening?.id))
    expect(codeOf(await resumed.expect(410))).to.equal('sync_expired')
  })
})

describe('An idle event stream', () => {
  const api = new Api()
  const clock = new FakeClock()
  before(() => api.start({ DATABASE_URL: 'memory:' }, { clock: () => clock }))
  after(() => api.stop())
  beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }))
  afterEach(() => mock.timers.reset())

  it('has a comment every 15 seconds', async () => {
    await using events = await EventReader.open(api, await api.signUp())
    await events.next()
    for (let beat = 0; beat < 3; beat++) {
      mock.timers.tick(HEARTBEAT_INTERVAL)
      expect(await events.nextBlock()).to.equal(':')
    }
  })

  it('ends with its token, before a change is sent or at the next heartbeat', async () => {
    const jane = await api.signUp()
    await using active = await EventReader.open(api, jane)
    await active.next()
    clock.move(3_599)
    const task = await jane.createTask()
    expect(await active.next()).to.deep.include({ data: task })
    const login = await api.post(LOGIN).send({ username: jane.email, password: PASSWORD }).expect(200)
    const again = new User(api, jane.id, jane.email, login.body.access_token)
    await using idle = await EventReader.open(api, again)
    await idle.next()
    clock.move(1)
    await again.createTask()
    expect(await active.next()).to.equal(undefined)
    expect(await idle.next()).to.include({ event: 'task' })
    clock.move(3_600)
    mock.timers.tick(HEARTBEAT_INTERVAL)
    expect(await idle.next()).to.equal(undefined)
  })
})

describe('An event stream whose client leaves while its user is looked up', () => {
  const api = new Api()
  const changeSignal = new FakeChangeSignal()
  const { tasks, users, sessions } = inMemoryDatabase(10)
  const { find } = sessions
  before(() =>
    api.start(
      { DATABASE_URL: 'memory:' },
      { changeSignal: () => changeSignal, tasks: () => tasks, users: () => users, sessions: () => sessions },
    ),
  )
  after(() => api.stop())

  it('ends its subscription', async () => {
    const jane = await api.signUp()
    const [asked, answered] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    sessions.find = async (key) => {
      asked.resolve()
      await answered.promise
      return find.call(sessions, key)
    }
    const leaving = new AbortController()
    const headers = { Authorization: `Bearer ${jane.token}` }
    const opened = fetch(api.url + EVENTS, { headers, signal: leaving.signal }).catch(() => 'left')
    await asked.promise
    leaving.abort()
    expect(await opened).to.equal('left')
    while (!api.log.some((line) => line.includes('"status":499'))) await new Promise(setImmediate)
    answered.resolve()
    for (let turn = 0; turn < 100 && changeSignal.ended === 0; turn++) await new Promise(setImmediate)
    expect([changeSignal.subscribed, changeSignal.ended]).to.deep.equal([[jane.id], 1])
  })
})
