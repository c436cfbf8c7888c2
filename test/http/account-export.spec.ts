import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { adapterSets } from '#test/adapter-sets.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Api, codeOf, describeApi, ME, SESSIONS, TASKS, TOKENS, USERS, type User } from './api.ts'

const EXPORT = `${ME}/export`

async function createTasks(user: User, count: number, fields: object = {}): Promise<void> {
  const operations = Array.from({ length: 100 }, (_, number) => ({
    op: 'create',
    task: { title: `Task ${number}`, ...fields },
  }))
  for (let remaining = count; remaining > 0; remaining -= 100)
    await user
      .post(`${TASKS}/batch`)
      .send({ operations: operations.slice(0, remaining) })
      .expect(200)
}

describeApi('The export of an account', (api) => {
  it('is one document with the user, the sessions, the API tokens and the tasks', async () => {
    const jane = await api.signUp()
    await jane.asScript('tasks:read')
    const task = await jane.createTask({ description: '{"é🙂"}' })
    const { body, headers } = await jane.get(EXPORT).expect(200)
    expect(headers).to.include({
      'content-type': 'application/json; charset=utf-8',
      'content-disposition': 'attachment; filename="account.json"',
      'cache-control': 'no-store',
    })
    expect(body).to.deep.equal({
      user: { ...(await jane.get(ME)).body, role: 'user' },
      sessions: (await jane.get(SESSIONS)).body,
      api_tokens: (await jane.get(TOKENS)).body,
      next_since: (await jane.get(`${TASKS}/changes`)).body.next_since,
      tasks: [task],
    })
  })

  it('is complete for a list of many pages, and valid for an empty one', async () => {
    const [jane, john] = [await api.signUp(), await api.signUp()]
    expect((await jane.get(EXPORT).expect(200)).body.tasks).to.deep.equal([])
    await createTasks(jane, 350, { description: 'x'.repeat(2_000) })
    await john.createTask()
    const { body } = await jane.get(EXPORT).expect(200)
    const ids = body.tasks.map(({ id }: { id: number }) => id)
    expect(ids).to.have.lengthOf(350)
    expect(ids).to.deep.equal(ids.toSorted((one: number, other: number) => other - one))
    for (const { owner_id } of body.tasks) expect(owner_id).to.equal(jane.id)
  })

  it('has a next_since from which a sync gets what has changed since it began', async () => {
    const jane = await api.signUp()
    const [kept, edited, deleted] = [await jane.createTask(), await jane.createTask(), await jane.createTask()]
    const { body } = await jane.get(EXPORT).expect(200)
    await jane.editTask(edited.id, { completed: true })
    await jane.deleteTask(deleted.id)
    const { body: changes } = await jane.get(`${TASKS}/changes?since=${body.next_since}`).expect(200)
    expect(changes.items.map(({ id }: { id: number }) => id)).to.deep.equal([edited.id])
    expect(changes.deleted.map(({ id }: { id: number }) => id)).to.deep.equal([deleted.id])
    expect(body.tasks.map(({ id }: { id: number }) => id)).to.include(kept.id)
  })

  it('needs the scope account, has no parameters, and is not sent for HEAD', async () => {
    const jane = await api.signUp()
    const script = await jane.asScript('account')
    expect((await script.get(EXPORT).expect(200)).body.sessions[0].current).to.equal(false)
    expect(codeOf(await (await jane.asScript('tasks:write')).get(EXPORT).expect(403))).to.equal('insufficient_scope')
    await jane.get(`${EXPORT}?x=1`).expect(422)
    const { headers } = await jane.head(EXPORT).expect(200)
    expect(headers['content-disposition']).to.include('attachment')
  })
})

/** A client that reads the head of an export, then pauses until `resume`. */
class SlowReader {
  error: NodeJS.ErrnoException | undefined
  ended = false
  readonly #socket: ReturnType<typeof connect>
  readonly #received: Buffer[] = []

  private constructor(socket: ReturnType<typeof connect>) {
    this.#socket = socket
    socket.on('data', (bytes) => this.#received.push(bytes))
    socket.once('error', (error) => {
      this.error = error
    })
    socket.once('close', () => {
      this.ended = true
    })
  }

  static async open(api: Api, { token }: User, version = '1.1'): Promise<SlowReader> {
    const { hostname, port } = new URL(api.url)
    const socket = connect({ host: hostname, port: Number(port) })
    const reader = new SlowReader(socket)
    socket.write(`GET ${EXPORT} HTTP/${version}\r\nHost: ${hostname}\r\nAuthorization: Bearer ${token}\r\n\r\n`)
    await once(socket, 'readable')
    await waitUntil(() => reader.text.includes('\r\n\r\n') || reader.ended)
    socket.pause()
    return reader
  }

  resume(): void {
    this.#socket.resume()
  }

  leave(): void {
    this.#socket.destroy()
  }

  get text(): string {
    return Buffer.concat(this.#received).toString()
  }

  /** Whether the response looks complete to the client. */
  get looksComplete(): boolean {
    if (!/transfer-encoding/i.test(String(this.#received[0]))) return this.error === undefined
    return Buffer.concat(this.#received.slice(-2)).toString('latin1').endsWith('\r\n0\r\n\r\n')
  }
}

for (const { name, databaseUrl } of adapterSets) {
  describe(`The export of a large account (${name})`, () => {
    const api = new Api()
    let jane: User
    const exportLine = () => api.log.map((line) => JSON.parse(line)).find(({ route }) => route === EXPORT)

    // More tasks than the buffers of both sockets hold.
    const LARGE = 4_000
    before(async function () {
      this.timeout(60_000)
      await api.start({ DATABASE_URL: await databaseUrl(), MAX_STREAMS_PER_USER: '2' })
      jane = await api.signUp()
      await createTasks(jane, LARGE, { description: 'é'.repeat(2_000) })
    })
    after(() => api.stop())
    beforeEach(() => {
      api.log.length = 0
    })

    it('waits longer for its reader than an event stream does', async () => {
      const reader = await SlowReader.open(api, jane)
      await delay(1_500)
      expect(exportLine()).to.equal(undefined)
      reader.resume()
      await waitUntil(() => reader.looksComplete)
      expect(reader.text.match(/"title":/g)).to.have.lengthOf(LARGE)
      reader.leave()
    })

    it('does not look complete if its session ends in the middle', async () => {
      const admin = await api.signUpAdmin()
      for (const version of ['1.1', '1.0']) {
        const other = await api.logIn(jane)
        const reader = await SlowReader.open(api, other, version)
        await other.delete(`${SESSIONS}/${(await other.get(SESSIONS)).body[0].id}`).expect(204)
        reader.resume()
        await waitUntil(() => reader.ended)
        expect(reader.looksComplete, version).to.equal(false)
      }
      const reader = await SlowReader.open(api, jane)
      await admin.patch(`${USERS}/${jane.id}`).send({ disabled: true }).expect(200)
      reader.resume()
      await waitUntil(() => reader.ended)
      expect(reader.looksComplete).to.equal(false)
      await admin.patch(`${USERS}/${jane.id}`).send({ disabled: false }).expect(200)
      jane = await api.logIn(jane)
    })

    it('ends when its client leaves', async () => {
      const reader = await SlowReader.open(api, jane)
      reader.leave()
      await waitUntil(() => exportLine() !== undefined)
      expect(exportLine()).to.include({ status: 499, aborted: true })
      expect(api.log.join('\n')).to.not.include('"level":50')
    })

    it('does not look complete if the service stops, or too many streams follow', async () => {
      const readers = [await SlowReader.open(api, jane), await SlowReader.open(api, jane)]
      readers.push(await SlowReader.open(api, jane))
      const [oldest, ...others] = readers
      oldest?.resume()
      await waitUntil(() => oldest?.ended ?? false)
      expect(others.some(({ ended }) => ended)).to.equal(false)
      const stopped = api.stop()
      for (const reader of others) reader.resume()
      await stopped
      await waitUntil(() => readers.every(({ ended }) => ended))
      expect(readers.map(({ looksComplete }) => looksComplete)).to.deep.equal([false, false, false])
    })
  })
}
