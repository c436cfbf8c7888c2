import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { type Reads, readsOf } from '#test/text-readers.ts'
import {
  Api,
  LOGIN,
  ME,
  mistakes,
  PASSWORD,
  type RawRequest,
  REFRESH,
  REGISTER,
  REVOKE,
  SESSIONS,
  TASKS,
  TOKENS,
  type User,
} from './api.ts'
import { failingUsers } from './failing.ts'

const JSON_TYPE = { 'content-type': 'application/json' }
const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' }

/** Maximum input of the functions that `Reads` observes. Longer values are cut or rejected first. */
const BOUND = 4_096
/** Lengths of a long text: less than half of the header limit, and of the body limit. */
const [IN_HEADER, IN_BODY] = [7_000, 400_000]

type Sent = Partial<RawRequest> & { readonly body?: string }

const fill = (length: number, part: string) => part.repeat(Math.ceil(length / part.length)).slice(0, length)
const login = (body: string, headers: Readonly<Record<string, string>> = JSON_TYPE) => ({
  method: 'POST',
  path: LOGIN,
  headers,
  body,
})
const json = (path: string, body: object, headers: Sent['headers'] = {}): Sent => ({
  method: 'POST',
  path,
  headers: { ...JSON_TYPE, ...headers },
  body: JSON.stringify(body),
})

describe('The work for a request', () => {
  const api = new Api()
  let jane: User
  let signed: Readonly<Record<string, string>>
  before(async () => {
    const limits = {
      RATE_LIMIT_ENABLED: 'true',
      RATE_LIMIT_LOGIN: '999',
      RATE_LIMIT_REFRESH: '999',
      RATE_LIMIT_USER: '999',
      RATE_LIMIT_FAILED_LOGINS: '999',
    }
    await api.start({ DATABASE_URL: 'memory:', TRUST_PROXY: '1', ...limits })
    jane = await api.signUp()
    signed = { authorization: `Bearer ${jane.token}` }
    // Fills the caches of verified tokens and of validators, whose first use reads more.
    await jane.get(ME).expect(200)
    for (const path of ['/docs', '/docs/start.js']) await api.get(path).expect(200)
  })
  after(() => api.stop())

  /** Returns the status. Uses a bare socket, because `readsOf` would count what an HTTP client reads. */
  async function send({ method = 'GET', path = '/health', headers = {}, body = '' }: Sent): Promise<number> {
    const { hostname, port } = new URL(api.url)
    const length = Buffer.byteLength(body)
    const lines = Object.entries({ host: hostname, connection: 'close', 'content-length': length, ...headers })
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    const socket = connect({ host: hostname, port: Number(port) })
    socket.write(`${method} ${path} HTTP/1.1\r\n${head}\r\n${body}`)
    return Number((await text(socket)).split(' ', 2)[1])
  }
  const reads = (request: Sent): Promise<Reads> =>
    readsOf(async () => expect(await send(request)).to.be.oneOf([200, 201, 204, 400, 401, 403, 404, 415, 422]))

  const patch = (body: object): Sent => ({ ...json(ME, body, signed), method: 'PATCH' })

  const inHeaders: Readonly<Record<string, (text: string) => Sent>> = {
    'Content-Type': (text) => login('{}', { 'content-type': text }),
    'a parameter of Content-Type': (text) => login('{}', { 'content-type': `application/json; x=${text}` }),
    'Content-Encoding': (text) => login('{}', { ...JSON_TYPE, 'content-encoding': text }),
    Authorization: (text) => ({ path: ME, headers: { authorization: text } }),
    'the credentials in Authorization': (text) => ({ path: ME, headers: { authorization: `Bearer ${text}` } }),
    'a token in Authorization': (text) => ({ path: ME, headers: { authorization: `Bearer e30.${text}.e30` } }),
    'an API token in Authorization': (text) => ({ path: ME, headers: { authorization: `Bearer tma_${text}` } }),
    'a refresh token in Authorization': (text) => ({ path: ME, headers: { authorization: `Bearer tmr_${text}` } }),
    Accept: (text) => json(REFRESH, { refresh_token: 'x' }, { accept: text }),
    'User-Agent': (text) =>
      login(JSON.stringify({ username: jane.email, password: PASSWORD }), { ...JSON_TYPE, 'user-agent': text }),
    'X-Request-Id': (text) => ({ headers: { 'x-request-id': text } }),
    traceparent: (text) => ({ headers: { traceparent: text } }),
    Origin: (text) => ({ headers: { origin: text } }),
    'Access-Control-Request-Headers': (text) => ({
      method: 'OPTIONS',
      path: TASKS,
      headers: {
        origin: 'http://localhost:3000',
        'access-control-request-method': 'GET',
        'access-control-request-headers': text,
      },
    }),
    'X-Forwarded-For': (text) => login('{}', { ...JSON_TYPE, 'x-forwarded-for': text }),
    'X-Forwarded-Host': (text) => ({ headers: { 'x-forwarded-host': text } }),
    'X-Forwarded-Proto': (text) => ({ headers: { 'x-forwarded-proto': text } }),
    Host: (text) => ({ headers: { host: text } }),
    Cookie: (text) => ({ headers: { cookie: text } }),
    'Cache-Control': (text) => ({ path: '/docs', headers: { 'if-none-match': '"x"', 'cache-control': text } }),
    'If-None-Match': (text) => ({ path: '/docs', headers: { 'if-none-match': text } }),
    'If-Modified-Since': (text) => ({ path: '/docs/start.js', headers: { 'if-modified-since': text } }),
    'Accept-Encoding': (text) => ({ path: '/docs', headers: { 'accept-encoding': text } }),
  }
  const texts: Readonly<Record<string, (length: number) => string>> = {
    blanks: (length) => `a${' '.repeat(length - 2)}b`,
    letters: (length) => 'a'.repeat(length),
    list: (length) => fill(length, 'a, "b";'),
  }
  for (const [place, request] of Object.entries(inHeaders)) {
    it(`does not grow with the length of ${place}`, async () => {
      for (const [form, make] of Object.entries(texts)) {
        const [half, whole] = [await reads(request(make(IN_HEADER))), await reads(request(make(2 * IN_HEADER)))]
        expect(whole, form).to.deep.equal(half)
        expect(Math.max(...Object.values(whole)), form).to.be.at.most(BOUND)
      }
    })
  }

  const inTargets: Readonly<Record<string, (length: number) => string>> = {
    'a path': (length) => `/${fill(length, 'a/')}`,
    'a path of escapes': (length) => `/${fill(length, '%41')}`,
    'an id': (length) => `${TASKS}/${fill(length, '9')}`,
    'the name of a parameter': (length) => `${TASKS}?${fill(length, 'a')}`,
    'limit and skip': (length) => `${TASKS}?limit=${fill(length / 2, '9')}&skip=${fill(length / 2, '9')}`,
    'the id of a session': (length) => `${SESSIONS}/${fill(length, '9')}`,
    cursor: (length) => `${TASKS}?cursor=${fill(length, 'PD')}`,
    'a target in absolute form': (length) => `http://${fill(length, 'a:@')}/health`,
  }
  for (const [place, path] of Object.entries(inTargets)) {
    it(`does not grow with the length of ${place}`, async () => {
      const [half, whole] = [
        await reads({ path: path(IN_HEADER), headers: signed }),
        await reads({ path: path(2 * IN_HEADER), headers: signed }),
      ]
      expect(whole).to.deep.equal(half)
      expect(Math.max(...Object.values(whole))).to.be.at.most(BOUND)
    })
  }

  const inBodies: Readonly<Record<string, (length: number) => Sent>> = {
    'a login name': (length) =>
      login(JSON.stringify({ username: fill(length / 2, '\u0301\u0323'), password: PASSWORD })),
    'a login name in a form': (length) => login(`password=x&username=${'%CC%81'.repeat(length / 8)}`, FORM_TYPE),
    'a login name between blanks': (length) =>
      login(JSON.stringify({ username: `${' '.repeat(length)}a@b.c`, password: PASSWORD })),
    'a password at login': (length) => login(JSON.stringify({ username: jane.email, password: fill(length, 'x') })),
    'an e-mail address': (length) => json(REGISTER, { email: fill(length / 2, '\u0301\u0323'), password: PASSWORD }),
    'an e-mail address between blanks': (length) =>
      json(REGISTER, { email: `a@b.c${' '.repeat(length)}`, password: PASSWORD }),
    'a password at registration': (length) => json(REGISTER, { email: 'x@example.com', password: fill(length, 'x') }),
    'a refresh token': (length) => json(REFRESH, { refresh_token: `tmr_1.1.0.${fill(length, 'x')}` }),
    'a refresh token of many parts': (length) => json(REFRESH, { refresh_token: `tmr_${fill(length, '1.')}` }),
    'a token to revoke': (length) => json(REVOKE, { token: fill(length, 'e30.') }),
    'an API token to revoke in a form': (length) => ({
      method: 'POST',
      path: REVOKE,
      headers: FORM_TYPE,
      body: `token=tma_${fill(length, '0')}`,
    }),
    'a new address': (length) => patch({ email: fill(length / 2, '\u0301\u0323'), current_password: PASSWORD }),
    'a new password': (length) => patch({ password: fill(length, 'x'), current_password: PASSWORD }),
    'the current password': (length) => patch({ email: 'x@example.com', current_password: fill(length, 'x') }),
    'a time zone': (length) => patch({ time_zone: fill(length, 'Europe/') }),
    'the name of an API token': (length) => json(TOKENS, { name: fill(length, ' '), scopes: ['account'] }, signed),
    'the scopes of an API token': (length) =>
      json(TOKENS, { name: 'x', scopes: Array(length / 20).fill('account') }, signed),
    'the expiry of an API token': (length) =>
      json(TOKENS, { name: 'x', scopes: ['account'], expires_at: `2099-01-01T00:00:00.${fill(length, '0')}Z` }, signed),
    'a title': (length) => json(TASKS, { title: fill(length, ' ') }, signed),
    'a description': (length) => json(TASKS, { title: 'x', description: fill(length / 2, 'é') }, signed),
    'the name of a member': (length) => json(TASKS, { title: 'x', [fill(length, '~/')]: 1 }, signed),
    'the names of many members': (length) =>
      json(TASKS, Object.fromEntries(Array.from({ length: length / 12 }, (_, index) => [`x${index}`, 1])), signed),
    'many fields of a form': (length) => login(`username=a&password=b&${fill(length, 'a&')}`, FORM_TYPE),
    'escapes in a form': (length) => login(`username=a&password=${fill(length, '%41')}`, FORM_TYPE),
  }
  for (const [place, request] of Object.entries(inBodies)) {
    it(`does not grow with the length of ${place}`, async () => {
      const [half, whole] = [await reads(request(IN_BODY)), await reads(request(2 * IN_BODY))]
      expect(whole).to.deep.equal(half)
      expect(Math.max(...Object.values(whole))).to.be.at.most(BOUND)
    })
  }

  it('is limited to 1,000 parameters: more are one error', async () => {
    const form = (fields: number) => login(`username=a&password=b${'&'.repeat(fields - 2)}`, FORM_TYPE)
    expect((await api.raw(form(1_000))).status).to.equal(401)
    for (const [answer, place] of [
      [await api.raw(form(1_001)), ''],
      [await jane.raw({ method: 'GET', path: `${TASKS}?${'a&'.repeat(1_000)}` }), '?'],
    ] as const) {
      expect(answer.status).to.equal(422)
      expect(mistakes(answer)).to.deep.equal([`${place}: too_many`])
    }
  })

  it('is bounded for a login, where a name or password that is too long is wrong like any other', async () => {
    const long = 'a'.repeat(IN_BODY)
    const wrong = await api.post(LOGIN).send({ username: jane.email, password: 'wrong horse' }).expect(401)
    for (const pair of [
      { username: long, password: PASSWORD },
      { username: jane.email, password: long },
      { username: long, password: long },
    ]) {
      expect((await api.post(LOGIN).send(pair).expect(401)).body).to.deep.equal(wrong.body)
    }
  })
})

describe('The errors of a request', () => {
  const api = new Api()
  let jane: User
  before(async () => {
    await api.start({ DATABASE_URL: 'memory:' })
    jane = await api.signUp()
  })
  after(() => api.stop())

  const names = (count: number) => Array.from({ length: count }, (_, index) => index.toString(36))
  const repeated = (count: number) =>
    names(count)
      .flatMap((name) => [name, name])
      .join('&')

  it('are limited to the first twenty', async () => {
    for (const count of [19, 20, 500]) {
      const answer = await jane.raw({ method: 'GET', path: `${TASKS}?${repeated(count)}` })
      expect(answer.status).to.equal(422)
      const expected = [...names(count).map((name) => `?${name}: repeated`), '?0: unknown']
      expect(mistakes(answer)).to.deep.equal(expected.slice(0, 20))
    }
  })

  it('contain one entry for many unknown members and one for each repeated field', async () => {
    const members = names(50_000).map((name) => `"x${name}":1`)
    const answer = await jane.raw({ method: 'POST', path: TASKS, headers: JSON_TYPE, body: `{${members}}` })
    expect(mistakes(answer)).to.deep.equal(['/title: required', '/x0: unknown'])
    const form = `${'username=a&password=b&'.repeat(450)}${repeated(20)}`
    const login = await api.raw({ method: 'POST', path: LOGIN, headers: FORM_TYPE, body: form })
    expect(mistakes(login)).to.deep.equal(['/username: repeated', '/password: repeated'])
  })

  it('do not grow with the request', async () => {
    const answers = async (length: number) => [
      await jane.raw({ method: 'POST', path: TASKS, headers: JSON_TYPE, body: `{"${'~'.repeat(length)}":1}` }),
      await jane.raw({
        method: 'POST',
        path: TASKS,
        headers: JSON_TYPE,
        body: `{"${'\\u0001'.repeat(length / 6)}":1}`,
      }),
      await jane.raw({ method: 'POST', path: TASKS, headers: JSON_TYPE, body: `{"${'🙂'.repeat(length / 4)}":1}` }),
      await jane.raw({ method: 'GET', path: `${TASKS}?${'%01'.repeat(length / 250)}` }),
      await jane.raw({ method: 'GET', path: `${TASKS}?${repeated(length / 2_400)}` }),
    ]
    const [half, whole] = [await answers(480_000), await answers(960_000)]
    expect(whole.map(({ text }) => text)).to.deep.equal(half.map(({ text }) => text))
    for (const { status, text } of whole) {
      expect(status).to.equal(422)
      expect(text).to.have.length.below(3_000)
    }
  })

  it('quote the first 100 characters of a member name', async () => {
    const body = (length: number) => ({ title: 'x', ['n'.repeat(length)]: 1 })
    expect(mistakes(await jane.post(TASKS).send(body(100)))).to.deep.equal([`/${'n'.repeat(100)}: unknown`])
    expect(mistakes(await jane.post(TASKS).send(body(101)))).to.deep.equal([`/${'n'.repeat(100)}…: unknown`])
  })

  it('are limited to 20 in the OpenAPI document', () => {
    expect(api.document.components.schemas.Problem).to.have.nested.property('properties.errors.maxItems', 20)
  })
})

describe('Logging an error', () => {
  const api = new Api()
  const unavailable = () => Promise.reject(new StoreUnavailable(new Error('unreachable')))
  before(() =>
    api.start(
      { DATABASE_URL: 'memory:' },
      { users: () => failingUsers(unavailable), health: () => ({ ping: unavailable }) },
    ),
  )
  after(() => api.stop())

  const requests: Readonly<Record<string, (length: number) => RawRequest>> = {
    'JSON that contains many &': (length) => login(JSON.stringify({ username: 'a', password: fill(length, 'a&') })),
    'JSON with many secrets': (length) => {
      const secrets = Array.from({ length: length / 20 }, (_, index) => [`token${index}`, `${index}`.padStart(8, 'x')])
      return login(JSON.stringify({ username: 'a', password: 'b', scope: Object.fromEntries(secrets) }))
    },
    'an ignored query': (length) => ({ method: 'GET', path: `/readyz?${fill(length / 50, 'a&')}` }),
  }
  for (const [form, request] of Object.entries(requests)) {
    it(`reads at most 1,000 parameters and writes a short line for ${form}`, async () => {
      const reads = (length: number) =>
        readsOf(async () => expect((await api.raw(request(length))).status).to.equal(503))
      await reads(1_000)
      const { parameters } = await reads(600_000)
      expect(parameters).to.be.at.most(1_000)
      expect(api.log.at(-1)).to.have.length.below(BOUND)
    })
  }
})
