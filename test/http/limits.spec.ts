import { mock } from 'node:test'
import { expect } from 'chai'
import type { Context } from 'koa'
import type { Response, Test } from 'supertest'
import { clientNetworkOf } from '#src/adapters/http/endpoint/client-network.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { Api, codeOf, LOGIN, ME, ORIGIN, PASSWORD, REFRESH, REGISTER, REVOKE, TASKS, USERS, type User } from './api.ts'

const LIMITED = { DATABASE_URL: 'memory:', RATE_LIMIT_ENABLED: 'true' }

/** Starts a service with rate limits. */
async function limited(environment: Readonly<Record<string, string>>): Promise<Api> {
  const api = new Api()
  await api.start({ ...LIMITED, ...environment })
  return api
}

const logIn = (api: Api, username = 'unknown@example.com', password = PASSWORD) =>
  api.post(LOGIN).send({ username, password })

const forwarded = (test: Test, ...addresses: string[]) => test.set('X-Forwarded-For', addresses.join(', '))

const statusOf = async (test: Test) => (await test).status

/** Sends the requests one after the other. */
async function statusesOf(tests: readonly (() => Test)[]): Promise<number[]> {
  const statuses: number[] = []
  for (const test of tests) statuses.push(await statusOf(test()))
  return statuses
}

/** Parses both headers (draft-ietf-httpapi-ratelimit-headers-10). */
function rateLimit({ headers }: Response) {
  const [, name, left, reset] = /^"(\w+)";r=(\d+);t=(\d+)$/.exec(headers.ratelimit ?? '') ?? []
  const [, policy, allowed, window] = /^"(\w+)";q=(\d+);w=(\d+)$/.exec(headers['ratelimit-policy'] ?? '') ?? []
  expect(policy).to.equal(name)
  return { name, left: Number(left), reset: Number(reset), allowed: Number(allowed), window: Number(window) }
}

describe('The rate limit per user', () => {
  let api: Api
  before(async () => {
    api = await limited({ RATE_LIMIT_USER: '4' })
  })
  after(() => api.stop())

  it('counts every authenticated request, even a failed one, and returns how many are left', async () => {
    const jane = await api.signUp()
    const answers = [
      await jane.get(TASKS).expect(200),
      await jane.post(TASKS).send({ title: '' }).expect(422),
      await jane.get(`${TASKS}/999`).expect(404),
      await jane.get(ME).expect(200),
    ]
    answers.forEach((answer, index) => {
      const { reset, ...rest } = rateLimit(answer)
      expect(rest).to.deep.equal({ name: 'user', left: 3 - index, allowed: 4, window: 60 })
      expect(reset).to.be.within(1, 60)
    })
  })

  it('returns 429 with Retry-After before validation', async () => {
    const jane = await api.signUp()
    await statusesOf(Array.from({ length: 4 }, () => () => jane.get(TASKS)))
    for (const request of [jane.get(TASKS), jane.post(TASKS).send({ title: '' }), jane.delete(`${TASKS}/1`)]) {
      const answer = await request.set('Origin', ORIGIN).expect(429)
      expect(answer.headers['content-type']).to.match(/^application\/problem\+json/)
      expect(codeOf(answer)).to.equal('too_many_requests')
      const { left, reset } = rateLimit(answer)
      expect(left).to.equal(0)
      expect(answer.headers['retry-after']).to.equal(String(reset))
      expect(answer.headers['access-control-allow-origin']).to.equal(ORIGIN)
    }
  })

  it('is separate for each user', async () => {
    const [jane, john] = [await api.signUp(), await api.signUp()]
    await statusesOf(Array.from({ length: 5 }, () => () => jane.get(TASKS)))
    await jane.get(TASKS).expect(429)
    expect(rateLimit(await john.get(TASKS).expect(200)).left).to.equal(3)
  })

  it('does not count requests without a token', async () => {
    for (let request = 0; request < 6; request++) {
      const { headers } = await api.get(TASKS).expect(401)
      expect(headers).to.not.have.any.keys('ratelimit', 'ratelimit-policy')
    }
  })

  it('does not count probes, documentation and unknown paths', async () => {
    for (const path of ['/health', '/livez', '/readyz', '/openapi.json', '/docs', '/nowhere']) {
      for (let request = 0; request < 6; request++) {
        const { status, headers } = await api.get(path)
        expect(status, path).to.not.equal(429)
        expect(headers, path).to.not.have.any.keys('ratelimit', 'ratelimit-policy')
      }
    }
  })

  it('resets when its window ends', async () => {
    const jane = await api.signUp()
    mock.timers.enable({ apis: ['Date'], now: Date.now() })
    try {
      await statusesOf(Array.from({ length: 4 }, () => () => jane.get(TASKS)))
      mock.timers.tick(20_000)
      const refused = await jane.get(TASKS).expect(429)
      expect(refused.headers['retry-after']).to.equal('40')
      mock.timers.tick(40_000)
      const { left, reset } = rateLimit(await jane.get(TASKS).expect(200))
      expect({ left, reset }).to.deep.equal({ left: 3, reset: 60 })
    } finally {
      mock.timers.reset()
    }
  })

  it('is readable by an allowed origin', async () => {
    const { headers } = await api.get('/health').set('Origin', ORIGIN)
    const exposed = String(headers['access-control-expose-headers']).toLowerCase().split(/, */)
    expect(exposed).to.include.members(['ratelimit', 'ratelimit-policy', 'retry-after'])
  })

  it('is documented: the headers on every response, and 429 with Retry-After', () => {
    for (const [path, item] of Object.entries(api.document.paths)) {
      for (const [method, { responses }] of Object.entries(item)) {
        const what = `${method} ${path}`
        const isLimited = path.startsWith('/api/')
        expect(Object.keys(responses).includes('429'), what).to.equal(isLimited)
        if (!isLimited) continue
        expect(api.documented.response(path, method, 429)?.headers, what).to.include.keys('Retry-After')
        for (const status of Object.keys(responses)) {
          const { headers } = api.documented.response(path, method, Number(status)) ?? {}
          expect(headers, what).to.include.keys('RateLimit', 'RateLimit-Policy')
        }
      }
    }
  })
})

describe('The rate limits per client network', () => {
  it('are separate for logins and registrations, and count before a body is read', async () => {
    const api = await limited({ RATE_LIMIT_LOGIN: '2', RATE_LIMIT_REGISTER: '3' })
    try {
      expect(rateLimit(await logIn(api).expect(401))).to.include({ name: 'login', left: 1, allowed: 2, window: 60 })
      expect(await statusesOf([() => logIn(api), () => api.post(LOGIN).type('json').send('{')])).to.deep.equal([
        401, 429,
      ])
      const register = (body: string | object) => () => api.post(REGISTER).type('json').send(body)
      expect(rateLimit(await register('{')().expect(400))).to.include({ name: 'register', left: 2, allowed: 3 })
      const pair = { email: 'jane@example.com', password: PASSWORD }
      expect(await statusesOf([pair, pair, pair, '{'].map(register))).to.deep.equal([201, 409, 429, 429])
    } finally {
      await api.stop()
    }
  })

  it('do not trust X-Forwarded-For by default', async () => {
    const api = await limited({ RATE_LIMIT_LOGIN: '2' })
    try {
      const addresses = ['192.0.2.1', '192.0.2.2', '192.0.2.3']
      const logins = addresses.map((address) => () => forwarded(logIn(api), address).set('Forwarded', `for=${address}`))
      expect(await statusesOf(logins)).to.deep.equal([401, 401, 429])
    } finally {
      await api.stop()
    }
  })

  it('warn once about an ignored X-Forwarded-For, without its value', async () => {
    for (const [TRUST_PROXY, expected] of [
      ['0', 1],
      ['1', 0],
    ] as const) {
      const api = await limited({ TRUST_PROXY })
      try {
        await api.get('/health').expect(200)
        expect(api.log.join('')).to.not.include('TRUST_PROXY')
        for (const path of ['/livez', '/nowhere', TASKS]) await forwarded(api.get(path), '192.0.2.77')
        const warnings = api.log.map((line) => JSON.parse(line)).filter(({ msg }) => msg.includes('TRUST_PROXY'))
        expect(warnings).to.have.lengthOf(expected)
        for (const { level, msg } of warnings) {
          expect(level).to.equal(40)
          expect(msg).to.include('X-Forwarded-For')
        }
        expect(api.log.join('')).to.not.include('192.0.2.77')
      } finally {
        await api.stop()
      }
    }
  })

  it('use the address added by the proxy if TRUST_PROXY is 1', async () => {
    const api = await limited({ RATE_LIMIT_LOGIN: '2', TRUST_PROXY: '1' })
    try {
      const lists = [['192.0.2.1'], ['203.0.113.1', '192.0.2.1'], ['203.0.113.2', '198.51.100.9', '192.0.2.1']]
      const logins = lists.map((list) => () => forwarded(logIn(api), ...list))
      expect(await statusesOf(logins)).to.deep.equal([401, 401, 429])
      await forwarded(logIn(api), '192.0.2.1', '192.0.2.2').expect(401)
    } finally {
      await api.stop()
    }
  })

  it('use the address before the last one if TRUST_PROXY is 2', async () => {
    const api = await limited({ RATE_LIMIT_LOGIN: '2', TRUST_PROXY: '2' })
    try {
      const proxy = '198.51.100.1'
      const lists = [['192.0.2.1'], ['203.0.113.1', '192.0.2.1'], ['192.0.2.2', '203.0.113.2', '192.0.2.1']]
      const logins = lists.map((list) => () => forwarded(logIn(api), ...list, proxy))
      expect(await statusesOf(logins)).to.deep.equal([401, 401, 429])
      await forwarded(logIn(api), '192.0.2.1', '192.0.2.2', proxy).expect(401)
    } finally {
      await api.stop()
    }
  })

  it('are shared by all instances on one PostgreSQL database', async () => {
    const shared = { DATABASE_URL: await postgresql.databaseUrl(), RATE_LIMIT_LOGIN: '3', RATE_LIMIT_REGISTER: '2' }
    const one = await limited(shared)
    const other = await limited(shared)
    try {
      const apis = [one, other, one, other]
      expect(await statusesOf(apis.map((api) => () => logIn(api)))).to.deep.equal([401, 401, 401, 429])
      const register = (api: Api) => () => api.post(REGISTER).send({})
      expect(await statusesOf(apis.map(register))).to.deep.equal([422, 422, 429, 429])
    } finally {
      await Promise.all([one.stop(), other.stop()])
    }
  })
})

describe('The rate limit of refreshes', () => {
  it('counts refreshes and revocations together, per client network', async () => {
    const api = await limited({ RATE_LIMIT_REFRESH: '3', TRUST_PROXY: '1' })
    try {
      const jane = await api.signUp()
      const refresh = (address: string) =>
        forwarded(api.post(REFRESH).send({ refresh_token: jane.refreshToken }), address)
      const revoke = (address: string) => forwarded(api.post(REVOKE).send({ token: 'x' }), address)
      const { left, reset, ...rest } = rateLimit(await refresh('192.0.2.1').expect(200))
      expect({ left, ...rest }).to.deep.equal({ left: 2, name: 'refresh', allowed: 3, window: 60 })
      expect(await statusesOf([() => revoke('192.0.2.1'), () => refresh('192.0.2.1')])).to.deep.equal([200, 200])
      for (const request of [refresh('192.0.2.1'), revoke('192.0.2.1')]) {
        const answer = await request.expect(429)
        expect(answer.body).to.include({ code: 'too_many_requests' }).and.not.have.any.keys('error')
        expect(answer.headers['retry-after']).to.equal(String(reset))
      }
      await refresh('192.0.2.2').expect(200)
    } finally {
      await api.stop()
    }
  })
})

describe('The rate limit of a user', () => {
  it('counts requests that the access policy refuses', async () => {
    const api = await limited({ RATE_LIMIT_USER: '3' })
    try {
      const jane = await api.signUp()
      const script = await jane.asScript('tasks:read')
      expect(await statusesOf([() => jane.get(USERS), () => script.get(ME), () => script.get(TASKS)])).to.deep.equal([
        404, 403, 429,
      ])
    } finally {
      await api.stop()
    }
  })
})

describe('Failed logins', () => {
  const HOME = '192.0.2.1'
  let api: Api
  let jane: User
  beforeEach(async () => {
    api = await limited({ TRUST_PROXY: '1', RATE_LIMIT_FAILED_LOGINS: '2', RATE_LIMIT_LOGIN: '100' })
    jane = await api.signUp()
  })
  afterEach(() => api.stop())

  const from = (address: string, password = PASSWORD) => forwarded(logIn(api, jane.email, password), address)
  const guess = (number: number) => () => from(`203.0.113.${number}`, `guess ${number}`)

  it('are limited per account, even if they come from many addresses', async () => {
    expect(await statusesOf([guess(1), guess(2), guess(1), guess(2)])).to.deep.equal([401, 401, 429, 429])
    const refused = await from('203.0.113.1').expect(429)
    expect(codeOf(refused)).to.equal('too_many_requests')
    expect(Number(refused.headers['retry-after'])).to.be.within(800, 900)
  })

  it('do not lock the owner out, on a known or a new network', async () => {
    await from(HOME).expect(200)
    expect(await statusesOf([guess(1), guess(2), guess(1)])).to.deep.equal([401, 401, 429])
    await from(HOME).expect(200)
    await from('203.0.113.9').expect(200)
  })

  it('are limited in the same way for an unknown account', async () => {
    const unknown = [1, 2, 1].map((number) => () => forwarded(logIn(api), `203.0.113.${number}`))
    expect(await statusesOf(unknown)).to.deep.equal([401, 401, 429])
  })

  it('are counted together for all spellings of an address', async () => {
    const spelled = [' jane@EXAMPLE.com', 'jane@example.com ', 'jane@Example.Com']
    const logins = spelled.map((username, index) => () => forwarded(logIn(api, username), `203.0.113.${index % 2}`))
    expect(await statusesOf(logins)).to.deep.equal([401, 401, 429])
  })

  it('are forgotten after a successful login', async () => {
    await from(HOME, 'wrong').expect(401)
    await from(HOME).expect(200)
    await from(HOME, 'wrong').expect(401)
    await from(HOME).expect(200)
  })
})

describe('Without rate limits', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:', RATE_LIMIT_ENABLED: 'false', RATE_LIMIT_USER: '1' }))
  after(() => api.stop())

  it('no request is rejected, and no response has rate-limit headers', async () => {
    const jane = await api.signUp()
    const requests = [...Array.from({ length: 12 }, () => logIn(api, jane.email, 'wrong')), logIn(api, jane.email)]
    for (const answer of [...(await Promise.all(requests)), await jane.get(TASKS), await jane.get(TASKS)]) {
      expect(answer.status).to.be.oneOf([200, 401])
      expect(answer.headers).to.not.have.any.keys('ratelimit', 'ratelimit-policy')
    }
  })
})

describe('The client network of a request', () => {
  const PEER = '198.51.100.1'
  const clientNetwork = (ip: string) =>
    clientNetworkOf({ ip, req: { socket: { remoteAddress: PEER } } } as unknown as Context)

  const same: Readonly<Record<string, readonly string[]>> = {
    '192.0.2.1': ['192.0.2.1', '::ffff:192.0.2.1', '::FFFF:c000:201', '192.0.2.1:54321', '[::ffff:192.0.2.1]:54321'],
    '2001:db8:1:2': [
      '2001:db8:1:2::',
      '2001:db8:1:2::1',
      '2001:db8:1:2:3:4:5:6',
      '2001:DB8:0001:2:ffff::9',
      '[2001:db8:1:2::1]:443',
    ],
    '2001:db8:0:0': ['2001:db8::', '2001:db8::1', '2001:db8:0:0:1::'],
    '2001:0:0:1': ['2001::1:0:0:0:0', '2001:0:0:1::'],
    '0:0:0:0': ['::1', '::'],
    'fe80:0:0:0': ['fe80::1', 'fe80::1%eth0'],
    [PEER]: ['', 'unknown', '_hidden', '300.1.1.1', '1.2.3', 'x'.repeat(9_999), "'; drop table users"],
  }
  for (const [expected, addresses] of Object.entries(same)) {
    it(`is ${expected} for ${addresses.map((address) => address.slice(0, 30)).join(', ')}`, () => {
      for (const address of addresses) expect(clientNetwork(address), address).to.equal(expected)
    })
  }
})
