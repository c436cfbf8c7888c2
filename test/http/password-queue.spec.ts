import { request as httpRequest } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import type { Test } from 'supertest'
import { BoundedPasswordHasher } from '#src/adapters/security/bounded-password-hasher.ts'
import { SlowPasswordHasher } from '#test/use-cases/fakes.ts'
import { Api, codeOf, LOGIN, PASSWORD, REGISTER } from './api.ts'

const MAX_WAITING = 4

describe('A request in the password queue', () => {
  let api: Api
  let slow: SlowPasswordHasher
  let hasher: BoundedPasswordHasher

  beforeEach(async () => {
    api = new Api()
    slow = new SlowPasswordHasher()
    hasher = new BoundedPasswordHasher(slow, { concurrency: 1, maxWaiting: MAX_WAITING })
    await api.start(
      { DATABASE_URL: 'memory:', RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_FAILED_LOGINS: '1', TRUST_PROXY: '1' },
      { passwordHasher: () => hasher },
    )
    const registered = register('jane@example.com', '192.0.2.1')
    await untilLoad(1, 0)
    slow.finishOne()
    await registered
  })
  afterEach(() => api.stop())

  const register = (email: string, network: string) =>
    sent(api.post(REGISTER).send({ email, password: PASSWORD }), network)
  const logIn = (network: string) =>
    sent(api.post(LOGIN).send({ username: 'jane@example.com', password: PASSWORD }), network)
  const sent = async (request: Test, network: string) => request.set('X-Forwarded-For', network)

  async function untilLoad(running: number, waiting: number): Promise<void> {
    for (let turns = 0; turns < 5_000; turns++) {
      const load = hasher.load()
      if (load.running === running && load.waiting === waiting) return
      await delay(1)
    }
    expect(hasher.load()).to.deep.equal({ running, waiting })
  }

  it('is served in turn with other client networks, each of which may hold half of the queue', async () => {
    const requests = [logIn('192.0.2.1')]
    for (let waiting = 0; waiting < MAX_WAITING / 2; waiting++) {
      await untilLoad(1, waiting)
      requests.push(logIn('192.0.2.1'))
    }
    await untilLoad(1, MAX_WAITING / 2)
    const refused = await logIn('192.0.2.1')
    expect(refused.status).to.equal(503)
    expect(codeOf(refused)).to.equal('overloaded')
    const other = register('joe@example.com', '198.51.100.7')
    await untilLoad(1, MAX_WAITING / 2 + 1)
    // Ends the running request, the next one from its network, and the one from the other network.
    for (let job = 0; job < 3; job++) {
      slow.finishOne()
      await untilLoad(1, Math.max(0, MAX_WAITING / 2 - job))
    }
    expect((await other).status).to.equal(201)
    slow.finishOne()
    for (const { status } of await Promise.all(requests)) expect(status).to.equal(200)
  })

  it('displaces a request of the client network that holds the most if the queue is full', async () => {
    const running = logIn('192.0.2.1')
    await untilLoad(1, 0)
    const waiting: ReturnType<typeof logIn>[] = []
    for (const network of ['192.0.2.1', '192.0.2.1', '198.51.100.7', '198.51.100.7']) {
      waiting.push(logIn(network))
      await untilLoad(1, waiting.length)
    }
    const other = logIn('203.0.113.5')
    const refused = await Promise.race([...waiting, other])
    expect(hasher.load()).to.deep.equal({ running: 1, waiting: MAX_WAITING })
    expect(refused.status).to.equal(503)
    expect(codeOf(refused)).to.equal('overloaded')
    for (let remaining = MAX_WAITING; remaining >= 0; remaining--) {
      slow.finishOne()
      await untilLoad(remaining > 0 ? 1 : 0, Math.max(0, remaining - 1))
    }
    expect((await other).status).to.equal(200)
    expect((await running).status).to.equal(200)
    const statuses = (await Promise.all(waiting)).map(({ status }) => status)
    expect(statuses.sort()).to.deep.equal([200, 200, 200, 503])
  })

  it('is rejected if the queue is full and no client network holds two more than its own', async () => {
    const networks = ['192.0.2.1', '192.0.2.1', '198.51.100.7', '203.0.113.5', '203.0.113.77']
    const requests: ReturnType<typeof logIn>[] = []
    for (const network of networks) {
      requests.push(logIn(network))
      await untilLoad(1, requests.length - 1)
    }
    const refused = await logIn('192.0.2.200')
    expect(refused.status).to.equal(503)
    for (let remaining = MAX_WAITING; remaining >= 0; remaining--) {
      slow.finishOne()
      await untilLoad(remaining > 0 ? 1 : 0, Math.max(0, remaining - 1))
    }
    for (const { status } of await Promise.all(requests)) expect(status).to.equal(200)
  })

  for (const [path, body] of [
    [LOGIN, { username: 'jane@example.com', password: 'wrong' }],
    [REGISTER, { email: 'joe@example.com', password: PASSWORD }],
  ] as const) {
    it(`leaves the queue with its client, is logged as 499 and does not count as a failed login (${path})`, async () => {
      const running = logIn('192.0.2.1')
      await untilLoad(1, 0)
      const requestId = 'client-that-leaves'
      const headers = {
        'content-type': 'application/json',
        'x-forwarded-for': '192.0.2.1',
        'x-request-id': requestId,
      }
      const leaving = httpRequest(api.url + path, { method: 'POST', headers, agent: false })
      leaving.on('error', () => undefined).end(JSON.stringify(body))
      await untilLoad(1, 1)
      const begun = slow.begun.length
      leaving.destroy()
      await untilLoad(1, 0)
      slow.finishOne()
      expect((await running).status).to.equal(200)
      expect(slow.begun).to.have.length(begun)

      const again = logIn('192.0.2.1')
      await untilLoad(1, 0)
      slow.finishOne()
      expect((await again).status).to.equal(200)
      const lines = api.log.map((line) => JSON.parse(line)).filter((line) => line.requestId === requestId)
      expect(lines).to.have.length(1)
      expect(lines[0]).to.include({ level: 30, msg: 'request', route: path, status: 499, aborted: true })
    })
  }
})
