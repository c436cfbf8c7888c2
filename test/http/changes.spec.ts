import { expect } from 'chai'
import fc from 'fast-check'
import { PollingChangeSignal } from '#src/adapters/change-signal/polling-change-signal.ts'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import type { ChangeSignal } from '#src/domain/tasks/ports.ts'
import { adapterSets, persistentSets } from '#test/adapter-sets.ts'
import { Api, codeOf, describeApi, mistakes, TASKS, User } from './api.ts'

const CHANGES = `${TASKS}/changes`

interface Changes {
  readonly items: readonly TaskBody[]
  readonly deleted: readonly { readonly id: number; readonly revision: number; readonly deleted_at: string }[]
  readonly next_since: string
  readonly has_more: boolean
}

const changesOf = async (user: User, query = ''): Promise<Changes> =>
  (await user.get(`${CHANGES}?${query}`).expect(200)).body

/** A client's copy of a list. */
class Replica {
  readonly #user: User
  readonly #tasks = new Map<number, TaskBody>()
  #since = ''

  constructor(user: User) {
    this.#user = user
  }

  /** Newest first, as in the list. */
  get tasks(): TaskBody[] {
    return [...this.#tasks.values()].sort((one, other) => other.id - one.id)
  }

  /** @returns the number of tasks and deletions received */
  async sync(query = ''): Promise<number> {
    let count = 0
    for (;;) {
      const since = this.#since && `&since=${this.#since}`
      const { items, deleted, next_since, has_more } = await changesOf(this.#user, query + since)
      count += items.length + deleted.length
      for (const task of items) this.#tasks.set(task.id, task)
      for (const { id } of deleted) this.#tasks.delete(id)
      this.#since = next_since
      if (!has_more) return count
    }
  }
}

/** Creates, edits and deletes tasks of its own and edits a shared one, by single requests and in batches. */
async function writeAll(user: User, shared: number): Promise<void> {
  for (let round = 0; round < 5; round++) {
    const { id } = await user.createTask()
    await user.editTask(id, { completed: true })
    await user.editTask(shared, { title: `Edit ${id}` })
    const edit = { op: 'update', id: round % 2 ? id : shared, task: { priority: 'high' } }
    const operations = [{ op: 'create', task: { title: 'One' } }, edit, { op: 'create', task: { title: 'Two' } }]
    const { body } = await user.post(`${TASKS}/batch`).send({ operations }).expect(200)
    await user.deleteTask(body.results[0].id)
    const deletions = [id, body.results[2].id].map((each) => ({ op: 'delete', id: each }))
    if (round % 3 === 0) await user.post(`${TASKS}/batch`).send({ operations: deletions }).expect(200)
  }
}

/** Lets replicas sync while clients write, and compares them with the list. */
async function expectNoGap(clients: readonly User[]): Promise<void> {
  const [first] = clients as readonly [User]
  const shared = await first.createTask()
  let writing = true
  const syncing = ['limit=3', 'limit=200', 'limit=50&wait=1'].flatMap((query) =>
    clients.map(async (client) => {
      const replica = new Replica(client)
      while (writing) await replica.sync(query)
      await replica.sync()
      return replica.tasks
    }),
  )
  const writers = Array.from({ length: 6 }, (_, writer) => clients[writer % clients.length] as User)
  await Promise.all(writers.map((client) => writeAll(client, shared.id)))
  writing = false
  const replicas = await Promise.all(syncing)
  const list = (await first.get(`${TASKS}?limit=200`).expect(200)).body
  expect(list.length).to.be.within(30, 199)
  for (const tasks of replicas) expect(tasks).to.deep.equal(list)
}

describeApi('The change feed', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })

  it('begins with all tasks and a position, even if there are no tasks', async () => {
    const empty = await changesOf(jane)
    expect(empty).to.deep.include({ items: [], deleted: [], has_more: false })
    expect(empty.next_since).to.match(/^[\da-z]{8}-\d+$/i)
    const tasks = [await jane.createTask(), await jane.createTask({ completed: true })]
    await jane.deleteTask((await jane.createTask()).id)
    expect(await changesOf(jane)).to.deep.include({ items: tasks, deleted: [], has_more: false })
    expect((await changesOf(jane, `since=${empty.next_since}`)).items).to.deep.equal(tasks)
  })

  it('continues with the latest state of each task that has changed, and the deletions', async () => {
    const [kept, edited, gone] = [await jane.createTask(), await jane.createTask(), await jane.createTask()]
    const { next_since } = await changesOf(jane)
    expect(await changesOf(jane, `since=${next_since}`)).to.deep.equal({
      items: [],
      deleted: [],
      next_since,
      has_more: false,
    })
    await jane.editTask(edited.id, { title: 'New' })
    const latest = await jane.editTask(edited.id, { completed: true })
    await jane.editTask(kept.id, {})
    await jane.deleteTask(gone.id)
    const { items, deleted, ...position } = await changesOf(jane, `since=${next_since}`)
    expect(items).to.deep.equal([latest])
    const [deletion] = deleted
    expect(deleted).to.have.lengthOf(1)
    expect(deletion).to.include({ id: gone.id })
    expect(deletion?.revision).to.be.greaterThan(latest.revision)
    expect(deletion?.deleted_at).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(await changesOf(jane, `since=${position.next_since}`)).to.deep.include({ items: [], deleted: [] })
  })

  it('contains only the changes of the caller', async () => {
    const john = await api.signUp()
    const { next_since } = await changesOf(jane)
    await john.deleteTask((await john.createTask()).id)
    await john.createTask()
    expect(await changesOf(jane, `since=${next_since}`)).to.deep.include({ items: [], deleted: [], next_since })
  })

  it('keeps a replica equal to the list, whatever the limit (property-based)', async () => {
    const steps = fc.array(fc.constantFrom('create', 'edit', 'delete', 'sync'), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 4 }), async (plan, limit) => {
        const user = await api.signUp()
        const replica = new Replica(user)
        for (const step of plan) {
          const [newest] = await user.listTasks()
          if (step === 'create') await user.createTask()
          else if (step === 'sync') await replica.sync(`limit=${limit}`)
          else if (newest && step === 'edit') await user.editTask(newest.id, { title: 'New' })
          else if (newest) await user.deleteTask(newest.id)
        }
        await replica.sync(`limit=${limit}`)
        expect(replica.tasks).to.deep.equal(await user.listTasks())
      }),
      { numRuns: 10 },
    )
  })

  it('has no gap while clients write', () => expectNoGap([jane]))

  it('returns 410 for a position of another store or beyond the last change', async () => {
    await jane.createTask()
    const { next_since } = await changesOf(jane)
    const [epoch = '', revision] = next_since.split('-')
    const other = epoch === 'aaaaaaaa' ? 'bbbbbbbb' : 'aaaaaaaa'
    for (const since of [
      `${other}-${revision}`,
      `${epoch}-${Number(revision) + 1}`,
      `${epoch}-9007199254740991`,
      `${epoch}-1-9007199254740991`,
    ]) {
      for (const wait of ['', '&wait=30']) {
        const answer = await jane.get(`${CHANGES}?since=${since}${wait}`).expect(410)
        expect(codeOf(answer)).to.equal('sync_expired')
      }
    }
  })

  const refused: Readonly<Record<string, string>> = {
    'since=': '?since: not_a_position',
    'since=42': '?since: not_a_position',
    'since=aaaaaaaa-': '?since: not_a_position',
    'since=aaaaaaaa-1-': '?since: not_a_position',
    'since=aaaaaaaa-1-9007199254740992': '?since: not_a_position',
    'since=aaaaaaaa-01': '?since: not_a_position',
    'since=aaaaaaaa--1': '?since: not_a_position',
    'since=aaaaaaa-1': '?since: not_a_position',
    'since=aaaaaaaa-9007199254740992': '?since: not_a_position',
    'since=aaaaaaaa-1%0A': '?since: not_a_position',
    [`since=${'a'.repeat(9_000)}`]: '?since: not_a_position',
    'since=aaaaaaaa-1&since=aaaaaaaa-1': '?since: repeated',
    'limit=0': '?limit: out_of_range',
    'limit=1001': '?limit: out_of_range',
    'wait=31': '?wait: out_of_range',
    'wait=-1': '?wait: out_of_range',
    'wait=1.5': '?wait: out_of_range',
    'cursor=x': '?cursor: unknown',
  }
  for (const [query, expected] of Object.entries(refused)) {
    it(`returns 422 for ?${query.slice(0, 50)}`, async () => {
      const answer = await jane.raw({ method: 'GET', path: `${CHANGES}?${query}` })
      expect([answer.status, ...mistakes(answer)]).to.deep.equal([422, expected])
    })
  }

  it('needs a token, is not stored, and is served for GET and HEAD only', async () => {
    await api.get(CHANGES).expect(401)
    expect((await jane.get(CHANGES).expect(200)).headers).to.include({ 'cache-control': 'no-store' })
    await jane.head(CHANGES).expect(200)
    for (const answer of [await jane.patch(CHANGES).send({}).expect(405), await jane.delete(CHANGES).expect(405)])
      expect(answer.headers.allow).to.equal('GET, HEAD')
  })
})

/** Reports when a subscription waits. */
class ObservedSignal implements ChangeSignal {
  readonly #signal: ChangeSignal
  #waiting = Promise.withResolvers<void>()

  constructor(signal: ChangeSignal) {
    this.#signal = signal
  }

  raise(ownerId: number): void {
    this.#signal.raise(ownerId)
  }

  subscribe(...given: Parameters<ChangeSignal['subscribe']>) {
    const subscription = this.#signal.subscribe(...given)
    return {
      changed: (signal: AbortSignal) => {
        const changed = subscription.changed(signal)
        this.#waiting.resolve()
        return changed
      },
      [Symbol.dispose]: () => subscription[Symbol.dispose](),
    }
  }

  /** Resolves when a subscription next waits. */
  nextWait(): Promise<void> {
    this.#waiting = Promise.withResolvers()
    return this.#waiting.promise
  }
}

for (const { name, databaseUrl } of adapterSets) {
  describe(`A long poll (${name})`, () => {
    const api = new Api()
    let signal: ObservedSignal
    let jane: User
    let since: string
    before(async () => {
      await api.start(
        { DATABASE_URL: await databaseUrl(), REQUEST_TIMEOUT: '1' },
        {
          changeSignal: (container) => {
            signal = new ObservedSignal(new PollingChangeSignal(container.resolve('tasks')))
            return signal
          },
        },
      )
    })
    beforeEach(async () => {
      jane = await api.signUp()
      since = (await changesOf(jane)).next_since
    })
    after(() => api.stop())

    it('returns at once if something has changed already, or without since', async () => {
      const task = await jane.createTask()
      expect((await changesOf(jane, `since=${since}&wait=30`)).items).to.deep.equal([task])
      expect((await changesOf(await api.signUp(), 'wait=30')).items).to.deep.equal([])
    })

    it('returns a change as soon as it is made', async () => {
      for (const user of [jane, jane]) {
        const { next_since } = await changesOf(user)
        const waiting = signal.nextWait()
        const poll = changesOf(user, `since=${next_since}&wait=30`)
        await waiting
        const task = await user.createTask()
        expect((await poll).items).to.deep.equal([task])
      }
      const [task] = await jane.listTasks()
      const { next_since } = await changesOf(jane)
      const waiting = signal.nextWait()
      const poll = changesOf(jane, `since=${next_since}&wait=30`)
      await waiting
      await jane.deleteTask(task?.id as number)
      expect((await poll).deleted.map(({ id }) => id)).to.deep.equal([task?.id])
    })

    it('wakes all long polls of one list', async () => {
      const waiting = signal.nextWait()
      const polls = [1, 2, 3].map(() => changesOf(jane, `since=${since}&wait=30`))
      await waiting
      const task = await jane.createTask()
      for (const { items } of await Promise.all(polls)) expect(items).to.deep.equal([task])
    })

    it('returns an empty page after the wait, also beyond REQUEST_TIMEOUT and if others have changes', async () => {
      const john = await api.signUp()
      const waiting = signal.nextWait()
      const poll = changesOf(jane, `since=${since}&wait=2`)
      await waiting
      await john.createTask()
      expect(await poll).to.deep.equal({ items: [], deleted: [], next_since: since, has_more: false })
    })

    it('ends when the client leaves, without an error in the log', async () => {
      const leaving = new AbortController()
      const waiting = signal.nextWait()
      const poll = fetch(`${api.url}${CHANGES}?since=${since}&wait=30`, {
        headers: { Authorization: `Bearer ${jane.token}`, 'X-Request-Id': 'leaves' },
        signal: leaving.signal,
      }).catch(() => 'left')
      await waiting
      leaving.abort()
      expect(await poll).to.equal('left')
      const lines = () => api.log.map((line) => JSON.parse(line)).filter(({ requestId }) => requestId === 'leaves')
      while (lines().length === 0) await new Promise(setImmediate)
      await jane.createTask()
      expect(lines().map(({ level, status }) => ({ level, status }))).to.deep.equal([{ level: 30, status: 499 }])
    })

    it('is answered when the service shuts down', async () => {
      const waiting = signal.nextWait()
      const poll = fetch(`${api.url}${CHANGES}?since=${since}&wait=30`, {
        headers: { Authorization: `Bearer ${jane.token}` },
      })
      await waiting
      await api.stop()
      const answer = await poll
      expect([answer.status, answer.headers.get('connection')]).to.deep.equal([200, 'close'])
      expect(await answer.json()).to.include({ next_since: since })
    })
  })
}

for (const { name, databaseUrl } of persistentSets) {
  describe(`The change feed of two instances (${name})`, () => {
    const [one, other] = [new Api(), new Api()]
    before(async () => {
      const environment = { DATABASE_URL: await databaseUrl() }
      await one.start(environment)
      await other.start(environment)
    })
    after(() => Promise.all([one.stop(), other.stop()]))

    it('has no gap while clients write to both', async () => {
      const jane = await one.signUp()
      await expectNoGap([jane, new User(other, jane.id, jane.email, jane.token)])
    })

    it('returns a change by another instance to a long poll', async () => {
      const jane = await one.signUp()
      const { next_since } = await changesOf(jane)
      const poll = changesOf(jane, `since=${next_since}&wait=30`)
      const { body } = await other
        .post(TASKS)
        .set('Authorization', `Bearer ${jane.token}`)
        .send({ title: 'Ship' })
        .expect(201)
      expect((await poll).items).to.deep.equal([body])
    })
  })
}
