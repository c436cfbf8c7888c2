import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import type { AdapterSet } from '#src/composition-root.ts'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { logFile } from '#test/log-file.ts'
import {
  Api,
  LOGIN,
  ME,
  PASSWORD,
  type RawRequest,
  REFRESH,
  REGISTER,
  REVOKE,
  SECRET_KEY,
  TASKS,
  TOKENS,
  type User,
} from './api.ts'
import { failingUsers } from './failing.ts'

const LEVELS: Readonly<Record<number, string>> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' }

interface Line {
  readonly level: number
  readonly msg: string
  readonly requestId?: string
  readonly [name: string]: unknown
}

/** The log lines of one request. */
const linesOf = (api: Api, requestId: string) =>
  api.log.map((line) => JSON.parse(line) as Line).filter((line) => line.requestId === requestId)

/** Waits for the access-log line, which may be written after the client has read the response. */
async function requestLine(api: Api, requestId: string): Promise<Line> {
  for (;;) {
    const line = linesOf(api, requestId).find(({ msg }) => msg === 'request')
    if (line) return line
    await new Promise((later) => setImmediate(later))
  }
}

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'

describe('The access-log line of a request', () => {
  const api = new Api()
  let jane: User
  before(async () => {
    await api.start(
      { DATABASE_URL: 'memory:', RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_LOGIN: '2', RATE_LIMIT_USER: '100' },
      {},
    )
    jane = await api.signUp()
  })
  after(() => api.stop())

  let requests = 0
  /** Sends the request with a unique X-Request-Id and returns its line. */
  async function lineOf(request: RawRequest, token?: string): Promise<Line> {
    const requestId = `request-${++requests}`
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
    await api.raw({ ...request, headers: { ...authorization, ...request.headers, 'x-request-id': requestId } })
    return requestLine(api, requestId)
  }

  it('has the method, route template, status, duration and user, and nothing else', async () => {
    const { id } = await jane.createTask()
    const line = await lineOf({ method: 'GET', path: `${TASKS}/${id}` }, jane.token)
    expect(line).to.include({ method: 'GET', route: `${TASKS}/{id}`, status: 200, userId: jane.id, msg: 'request' })
    expect(line.ms).to.be.a('number').above(0)
    expect(line).to.have.all.keys(
      ...['level', 'time', 'pid', 'hostname', 'msg'],
      ...['method', 'route', 'status', 'ms', 'requestId', 'userId'],
    )
  })

  it('is the only line of the request', async () => {
    const line = await lineOf({ method: 'GET', path: TASKS }, jane.token)
    expect(linesOf(api, line.requestId ?? '')).to.have.length(1)
  })

  const json = { 'content-type': 'application/json' }
  const wrong = JSON.stringify({ username: 'unknown@example.com', password: PASSWORD })
  const examples: Readonly<Record<string, readonly [RawRequest, object]>> = {
    'no token': [
      { method: 'GET', path: TASKS },
      { level: 30, status: 401, route: TASKS },
    ],
    'an unknown path': [
      { method: 'GET', path: '/etc/passwd' },
      { level: 30, status: 404 },
    ],
    'an unsupported method': [
      { method: 'PUT', path: TASKS },
      { level: 30, status: 405, method: 'PUT' },
    ],
    'malformed JSON': [
      { method: 'POST', path: REGISTER, headers: json, body: '{' },
      { level: 30, status: 400 },
    ],
    '/livez': [
      { method: 'GET', path: '/livez' },
      { level: 20, status: 200, route: '/livez' },
    ],
    '/readyz': [
      { method: 'GET', path: '/readyz' },
      { level: 20, status: 200, route: '/readyz' },
    ],
    '/health': [
      { method: 'HEAD', path: '/health' },
      { level: 20, status: 200, route: '/health', method: 'HEAD' },
    ],
    '/openapi.json': [
      { method: 'GET', path: '/openapi.json' },
      { level: 30, status: 200, route: '/openapi.json' },
    ],
    '/docs': [
      { method: 'GET', path: '/docs' },
      { level: 30, status: 200, route: '/docs' },
    ],
    'a failed login': [
      { method: 'POST', path: LOGIN, headers: json, body: wrong },
      { level: 30, status: 401 },
    ],
    'a rate-limited login': [
      { method: 'POST', path: LOGIN, headers: json, body: wrong },
      { level: 40, status: 429 },
    ],
  }
  for (const [what, [request, expected]] of Object.entries(examples)) {
    it(`of ${what} has ${JSON.stringify(expected)}`, async () => {
      const line = await lineOf(request)
      expect(line).to.include(expected)
      expect(line).to.not.have.property('userId')
      if (!('route' in expected) && line.status === 404) expect(line).to.not.have.property('route')
    })
  }

  it('contains neither the path nor the query', async () => {
    const line = await lineOf({ method: 'GET', path: `${TASKS}/77777?skip=88888` }, jane.token)
    expect(JSON.stringify({ ...line, time: 0, pid: 0 })).to.not.match(/77777|88888/)
  })

  it('has status 499 if the client leaves before the response', async () => {
    const requestId = 'client-that-leaves'
    const headers = { authorization: `Bearer ${jane.token}`, ...json, 'content-length': 9, expect: '100-continue' }
    const request = httpRequest(api.url + TASKS, {
      method: 'POST',
      headers: { ...headers, 'x-request-id': requestId },
      agent: false,
    })
    request.on('error', () => undefined)
    request.flushHeaders()
    await once(request, 'continue')
    request.destroy()
    expect(await requestLine(api, requestId)).to.include({ status: 499, aborted: true, level: 30, route: TASKS })
  })

  for (const leave of ['destroy', 'resetAndDestroy'] as const) {
    it(`has status 499 if the client leaves a download (${leave})`, async () => {
      const requestId = `leaves-by-${leave}`
      const socket = connect(Number(new URL(api.url).port), '127.0.0.1').on('error', () => undefined)
      // More responses than the socket buffers hold.
      const request = `GET /redoc/redoc.standalone.js HTTP/1.1\r\nHost: x\r\nX-Request-Id: ${requestId}\r\n\r\n`
      socket.write(request.repeat(20))
      await once(socket, 'data')
      socket.pause()
      await new Promise((later) => setImmediate(later))
      socket[leave]()
      const expected = { status: 499, aborted: true, level: 30, route: '/redoc/redoc.standalone.js' }
      while (!linesOf(api, requestId).some(({ status }) => status === 499))
        await new Promise((later) => setImmediate(later))
      expect(linesOf(api, requestId).find(({ status }) => status === 499)).to.include(expected)
      for (const line of linesOf(api, requestId)) expect(line.level, line.msg).to.be.at.most(30)
      expect(api.log.filter((line) => JSON.parse(line).level >= 50)).to.deep.equal([])
    })
  }

  const given = { 'half a body': '{"ti', 'a chunk without a size': 'ZZ\r\n' }
  for (const [what, body] of Object.entries(given)) {
    for (const end of ['end', 'resetAndDestroy'] as const) {
      it(`is not an error if the client leaves after ${what} (${end})`, async () => {
        const requestId = `${end}-${body.length}`
        const framing = body.startsWith('{') ? 'Content-Length: 50' : 'Transfer-Encoding: chunked'
        const socket = connect(Number(new URL(api.url).port), '127.0.0.1').on('error', () => undefined)
        socket.write(
          `POST ${REGISTER} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Request-Id: ${requestId}\r\n${framing}\r\n\r\n${body}`,
          () => socket[end](),
        )
        expect(await requestLine(api, requestId)).to.include({ level: 30 })
        expect(api.log.filter((line) => JSON.parse(line).level >= 50)).to.deep.equal([])
      })
    }
  }

  describe('has the trace id', () => {
    const traceIdOf = async (traceparent: string) =>
      (await lineOf({ method: 'GET', path: '/livez', headers: { traceparent } })).traceId

    const valid = [
      `00-${TRACE}-${SPAN}-01`,
      `00-${TRACE}-${SPAN}-00`,
      `00-${TRACE}-${SPAN}-ff`,
      `01-${TRACE}-${SPAN}-01`,
      `cc-${TRACE}-${SPAN}-01-what-the-future-will-be-like`,
    ]
    for (const traceparent of valid) {
      it(`of ${traceparent}`, async () => expect(await traceIdOf(traceparent)).to.equal(TRACE))
    }

    const invalid = [
      '',
      'nonsense',
      TRACE,
      `ff-${TRACE}-${SPAN}-01`,
      `00-${TRACE}-${SPAN}-01-more`,
      `00-${TRACE}-${SPAN}-01-`,
      `00-${TRACE}-${SPAN}`,
      `00-${TRACE}-${SPAN}-1`,
      `0-${TRACE}-${SPAN}-01`,
      `00-${'0'.repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
      `00-${TRACE.toUpperCase()}-${SPAN}-01`,
      `00-${TRACE.slice(1)}-${SPAN}-01`,
      `00-${TRACE.slice(1)}g-${SPAN}-01`,
      `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
      `cc-${TRACE}-${SPAN}-01what`,
    ]
    for (const traceparent of invalid) {
      it(`not of ${JSON.stringify(traceparent)}`, async () => {
        expect(await traceIdOf(traceparent)).to.equal(undefined)
      })
    }
  })
})

let failure: unknown
/** Throws `failure` whenever tasks are listed. */
const failingTasks = {
  list: async () => {
    throw failure
  },
} as unknown as ReturnType<AdapterSet['tasks']>

describe('The log lines of a failed request', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:' }, { tasks: () => failingTasks }))
  after(() => api.stop())

  for (const [status, level, error] of [
    [500, 'error', new TypeError('unexpected')],
    [503, 'warn', new StoreUnavailable(new Error('connect ECONNREFUSED 127.0.0.1:5432'))],
  ] as const) {
    it(`have level ${level}, the status ${status}, the cause and the request id`, async () => {
      failure = error
      const jane = await api.signUp()
      const requestId = `fails-with-${status}`
      await jane.get(TASKS).set('X-Request-Id', requestId).expect(status)
      await requestLine(api, requestId)
      const lines = linesOf(api, requestId)
      expect(lines.map((line) => LEVELS[line.level])).to.deep.equal([level, level])
      const [cause, request] = lines as [Line, Line]
      expect(request).to.include({ status, route: TASKS, userId: jane.id })
      expect(cause.err).to.include.keys('type', 'message', 'stack')
      expect(JSON.stringify(cause.err)).to.match(/unexpected|ECONNREFUSED 127\.0\.0\.1:5432/)
    })
  }

  it('have the stack of a failed store once, then only the reason until it changes', async () => {
    const jane = await api.signUp()
    const logged: unknown[] = []
    for (const [index, reason] of ['first', 'first', 'second'].entries()) {
      failure = new StoreUnavailable(new Error(reason))
      await jane.get(TASKS).set('X-Request-Id', `store-${index}`).expect(503)
      await requestLine(api, `store-${index}`)
      const [cause] = linesOf(api, `store-${index}`)
      logged.push(cause?.err ? 'stack' : cause?.reason)
    }
    expect(logged).to.deep.equal(['stack', 'The database is temporarily unavailable.: first', 'stack'])
  })
})

describe('An error in the log', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:' }, { tasks: () => failingTasks }))
  after(() => api.stop())

  class CustomError extends RangeError {}

  async function logged(error: unknown): Promise<Record<string, unknown>> {
    failure = error
    const requestId = `error-${++errors}`
    const jane = await api.signUp()
    await jane.get(`${TASKS}?limit=1`).set('X-Request-Id', requestId)
    await requestLine(api, requestId)
    return linesOf(api, requestId)[0]?.err as Record<string, unknown>
  }
  let errors = 0

  it('has its class, its message, its code and its stack', async () => {
    const err = await logged(Object.assign(new CustomError('a wrong number'), { code: 'E_NUMBER', errno: -5 }))
    expect(err).to.include({ type: 'CustomError', message: 'a wrong number', code: 'E_NUMBER', errno: -5 })
    expect(err.stack).to.match(/^RangeError: a wrong number\n +at /)
    expect(err).to.have.all.keys('type', 'message', 'stack', 'code', 'errno')
  })

  it('has the classes and messages of its causes', async () => {
    const err = await logged(new StoreUnavailable(new TypeError('no host', { cause: new CustomError('no name') })))
    expect(err).to.include({ type: 'StoreUnavailable' })
    expect(err.message).to.match(/no host: no name$/)
    expect(err.stack).to.match(/caused by: TypeError: no host\n.*caused by: RangeError: no name\n/s)
  })

  it('has each error of an AggregateError, also if that is a cause', async () => {
    const attempts = ['::1', '127.0.0.1'].map((host) => new CustomError(`connect ECONNREFUSED ${host}:5432`))
    const all = new AggregateError(attempts, 'all')
    for (const error of [all, new StoreUnavailable(all)]) {
      const err = await logged(error)
      expect(err.type).to.equal(error.constructor.name)
      const each = err.aggregateErrors as { type: string; message: string }[]
      expect(each.map(({ type, message }) => `${type}: ${message}`)).to.deep.equal([
        'CustomError: connect ECONNREFUSED ::1:5432',
        'CustomError: connect ECONNREFUSED 127.0.0.1:5432',
      ])
    }
  })

  it('has at most ten aggregated errors, and each error of a cycle once', async () => {
    const many = new AggregateError(
      Array.from({ length: 50 }, () => new Error('one')),
      'many',
    )
    expect((await logged(many)).aggregateErrors).to.have.length(10)
    const circle = new Error('round')
    circle.cause = new Error('and round', { cause: circle })
    expect((await logged(circle)).message).to.include('round: and round')
  })

  it('shows any thrown value', async () => {
    expect(await logged('a text')).to.equal("'a text'")
    expect(await logged(undefined)).to.equal('undefined')
    expect(await logged({ answer: 42 })).to.equal('{ answer: 42 }')
    expect((await logged(new AggregateError(['a text'], 'one'))).aggregateErrors).to.deep.equal(["'a text'"])
  })
})

/** A string that occurs in no library. */
const MARK = 'Qx7zKw'

describe('Secrets', function () {
  this.timeout(30_000)
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'tasks-logs-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  const PAIR = { email: 'jane@example.com', password: `${MARK} "horse" \\ bättery & staple` }
  const GUESS = `${MARK}=another/guess%20`

  /** Requests to a route with secrets wherever a client may put them. */
  function requestsTo(method: string, path: string, secrets: Readonly<Record<'token' | 'password', string>>) {
    const { token, password } = secrets
    const target = path.replace('{id}', '1')
    const pair = { username: PAIR.email, email: PAIR.email, password, client_secret: password, title: 'Ship' }
    const json = { 'content-type': 'application/json' }
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    // A malformed Last-Event-ID keeps the event stream from opening.
    const signed = { authorization: `Bearer ${token}`, 'last-event-id': token }
    const body = JSON.stringify(pair)
    const request = (given: Partial<RawRequest>): RawRequest => ({
      method,
      path: target,
      ...given,
      headers: { ...signed, ...given.headers },
    })
    return [
      request({}),
      request({ headers: { authorization: `Basic ${Buffer.from(`jane:${password}`).toString('base64')}` } }),
      request({ headers: { authorization: token } }),
      request({ headers: { cookie: `session=${token}; other=${encodeURIComponent(password)}` } }),
      request({
        headers: { 'x-api-key': token, 'proxy-authorization': `Bearer ${token}`, referer: `/?token=${token}` },
      }),
      request({ path: `${target}?access_token=${token}&password=${encodeURIComponent(password)}` }),
      request({ path: `${target}/${token}` }),
      request({ path: `/${token}%` }),
      request({ headers: json, body }),
      request({ headers: json, body: body.slice(0, -1) }),
      request({ headers: json, body: `[${body}]` }),
      request({ headers: json, body: JSON.stringify({ [password]: token }) }),
      request({ headers: form, body: new URLSearchParams(pair).toString() }),
      request({ headers: { 'content-type': `text/${token}` }, body }),
      request({ headers: { ...json, 'content-encoding': 'gzip' }, body }),
    ]
  }

  // Ports whose errors quote their input, as errors of libraries do.
  const quote = (...given: unknown[]): never => {
    throw new Error(`cannot handle ${given.map((each) => JSON.stringify(each)).join()} nor ${given.join()}`, {
      cause: new TypeError(`nor can ${given.join()}`),
    })
  }
  const failing: Partial<AdapterSet> = {
    passwordHasher: () => ({
      hash: async (...given) => quote(...given),
      verify: async (...given) => quote(...given),
    }),
    tokens: () => ({ issue: (...given) => quote(...given), verify: (...given) => quote(...given) }),
  }

  for (const environment of ['production', 'development']) {
    for (const [what, overrides] of Object.entries({ 'that works': {}, 'whose ports fail and quote them': failing })) {
      it(`never reach the log of a service ${what} (${environment})`, async () => {
        const path = join(folder, `${environment}-${what}`)
        const config = { ENVIRONMENT: environment, SECRET_KEY, LOG_LEVEL: 'trace', DATABASE_URL: 'memory:' }
        const api = new Api()
        const { log: sink, written } = logFile(path, config)
        await api.start({ ...config, BCRYPT_ROUNDS: '10' }, overrides, sink)
        const statuses = new Set<number>()
        const secrets = { token: `eyJ.${MARK}.${MARK}`, password: GUESS }
        try {
          await api.post(REGISTER).send(PAIR)
          const login = await api.post(LOGIN).send({ username: PAIR.email, password: PAIR.password })
          const rightOnes = { token: login.body.access_token ?? secrets.token, password: PAIR.password }
          for (const [template, item] of Object.entries(api.document.paths)) {
            for (const method of Object.keys(item)) {
              for (const used of [secrets, rightOnes]) {
                const requests = requestsTo(method.toUpperCase(), template, used)
                for (const { status } of await Promise.all(requests.map((request) => api.raw(request)))) {
                  statuses.add(status)
                }
              }
            }
          }
          const log = written()
          const known = [rightOnes.token, rightOnes.password, SECRET_KEY, GUESS, MARK, '$2b$']
          const spellings = known.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURI(secret)])
          for (const secret of spellings)
            expect(log.split('\n').filter((line) => line.includes(secret))).to.deep.equal([])
          expect(log.match(/request/g)).to.have.length.of.at.least(200)
          expect([...statuses]).to.include.members(overrides === failing ? [500, 404] : [200, 401, 404, 422, 415, 400])
          if (overrides === failing) expect(log).to.include('cannot handle').and.include('nor can')
        } finally {
          await api.stop()
        }
      })
    }
  }

  const failingTokens: Partial<AdapterSet> = {
    ...failing,
    refreshTokens: () => ({
      newSecret: quote,
      issue: (...given) => quote(...given),
      verify: (...given) => quote(...given),
    }),
    apiTokenService: () => ({
      newSecret: quote,
      issue: (...given) => quote(...given),
      parse: (...given) => quote(...given),
    }),
  }

  for (const [what, overrides] of Object.entries({
    'that works': {},
    'whose ports fail and quote them': failingTokens,
  })) {
    it(`never reach the log of a service ${what} when it is given tokens and the current password`, async () => {
      const path = join(folder, `tokens-${what}`)
      const { log: sink, written } = logFile(path, { ENVIRONMENT: 'production', SECRET_KEY, LOG_LEVEL: 'trace' })
      const api = new Api()
      await api.start({ DATABASE_URL: 'memory:' }, overrides, sink)
      const tokens = [`tmr_1.1.0.${MARK}`, `tma_${MARK.padEnd(54, 'a')}`, `${MARK}-is-no-token`]
      const statuses = new Set<number>()
      const send = async (method: string, path: string, token: string, body: Readonly<Record<string, string>>) => {
        const types = {
          'application/json': JSON.stringify(body),
          'application/x-www-form-urlencoded': String(new URLSearchParams(body)),
        }
        for (const [type, text] of Object.entries(types)) {
          const headers = { authorization: `Bearer ${token}`, 'content-type': type }
          for (const each of [text, text.slice(0, -1)])
            statuses.add((await api.raw({ method, path, headers, body: each })).status)
        }
      }
      try {
        await api.post(REGISTER).send(PAIR)
        const { body: pair } = await api.post(LOGIN).send({ username: PAIR.email, password: PAIR.password })
        if (pair.access_token) {
          const named = { name: 'a script', scopes: ['account'] }
          const made = await api
            .post(TOKENS)
            .set('Authorization', `Bearer ${pair.access_token}`)
            .send(named)
            .expect(201)
          tokens.push(made.body.token, pair.refresh_token, pair.access_token)
        }
        for (const token of tokens) {
          await send('PATCH', ME, token, { password: GUESS, current_password: GUESS })
          await send('POST', REFRESH, token, { refresh_token: token, grant_type: 'refresh_token' })
          await send('POST', REVOKE, token, { token, token_type_hint: 'refresh_token' })
        }
      } finally {
        await api.stop()
      }
      const log = written()
      for (const secret of [...tokens, PAIR.password, GUESS, MARK].flatMap((text) => [text, encodeURIComponent(text)]))
        expect(log.split('\n').filter((line) => line.includes(secret))).to.deep.equal([])
      expect([...statuses]).to.include(overrides === failingTokens ? 500 : 200)
      if (overrides === failingTokens) expect(log).to.include('cannot handle').and.include('nor can')
    })
  }

  /** The logged error of a login whose hasher quotes its input. */
  async function loggedError(type: string, body: string): Promise<Record<string, unknown>> {
    const api = new Api()
    await api.start({ DATABASE_URL: 'memory:' }, failing)
    try {
      const headers = { 'content-type': type }
      expect(await api.raw({ method: 'POST', path: LOGIN, headers, body })).to.include({ status: 500 })
    } finally {
      await api.stop()
    }
    return api.log.map((line) => JSON.parse(line)).find(({ level }) => level === 50).err
  }

  it('are removed from an error message, also if the body begins with a byte order mark', async () => {
    const pair = JSON.stringify({ username: PAIR.email, password: GUESS })
    const { message } = await loggedError('application/json', `\ufeff${pair}`)
    expect(message).to.include('cannot handle').and.to.not.include(MARK)
  })

  it('replace the whole text of an error if there are thousands of them', async () => {
    const scope = Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`token${index}`, `${MARK}${index}`]))
    const body = JSON.stringify({ username: PAIR.email, password: MARK, scope })
    const err = await loggedError('application/json', body)
    expect(err).to.deep.equal({ type: 'Error', message: '[redacted]', stack: '[redacted]' })
  })

  it('never reach the log, even before it redacts', async () => {
    const api = new Api()
    await api.start({ DATABASE_URL: 'memory:' })
    const secrets = [PASSWORD, GUESS, SECRET_KEY, '$2b$']
    try {
      const jane = await api.signUp()
      secrets.push(jane.token)
      await jane.get(ME).expect(200)
      await api.post(LOGIN).send({ username: jane.email, password: GUESS }).expect(401)
      await api.post(REGISTER).send({ email: 'x', password: GUESS }).expect(422)
      await api.get(`${ME}?access_token=${jane.token}`).expect(401)
    } finally {
      await api.stop()
    }
    expect(api.log.filter((line) => JSON.parse(line).msg === 'request')).to.have.length.of.at.least(6)
    for (const secret of secrets) expect(api.log.join('\n')).to.not.include(secret)
  })

  it('never reach the log of a service whose database is unreachable', async () => {
    const api = new Api()
    const away = async (...given: unknown[]) => {
      throw new StoreUnavailable(new Error(`no connection to postgresql://jane:${MARK}@db/tasks for ${given.join()}`))
    }
    const path = join(folder, 'away')
    const config = { SECRET_KEY, LOG_LEVEL: 'trace', DATABASE_URL: 'memory:' }
    const { log: sink, written } = logFile(path, config)
    await api.start({ ...config }, { users: () => failingUsers(away), health: () => ({ ping: away }) }, sink)
    try {
      await api.post(REGISTER).send(PAIR).expect(503)
      await api.post(LOGIN).send({ username: PAIR.email, password: PAIR.password }).expect(503)
      await api.get('/readyz').expect(503)
      await api.get(ME).expect(401)
    } finally {
      await api.stop()
    }
    const log = written()
    expect(log).to.include('no connection to')
    expect(log).to.not.include(MARK)
  })
})
