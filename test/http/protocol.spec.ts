import { METHODS } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import {
  codeOf,
  describeApi,
  LOGIN,
  ME,
  REFRESH,
  REGISTER,
  REVOKE,
  SESSIONS,
  TASKS,
  TOKENS,
  USERS,
  type User,
} from './api.ts'
import { RawConnection } from './raw-connection.ts'

/** Every known path with its methods. */
const ROUTES: Readonly<Record<string, readonly string[]>> = {
  '/health': ['GET', 'HEAD'],
  '/openapi.json': ['GET', 'HEAD'],
  '/docs': ['GET', 'HEAD'],
  '/redoc': ['GET', 'HEAD'],
  '/': ['GET', 'HEAD'],
  '/docs/': ['GET', 'HEAD'],
  '/redoc/': ['GET', 'HEAD'],
  [REGISTER]: ['POST'],
  [LOGIN]: ['POST'],
  [REFRESH]: ['POST'],
  [REVOKE]: ['POST'],
  [ME]: ['DELETE', 'GET', 'HEAD', 'PATCH'],
  [`${ME}/delete`]: ['POST'],
  [`${ME}/export`]: ['GET', 'HEAD'],
  [SESSIONS]: ['DELETE', 'GET', 'HEAD'],
  [`${SESSIONS}/1`]: ['DELETE'],
  [TOKENS]: ['GET', 'HEAD', 'POST'],
  [`${TOKENS}/1`]: ['DELETE'],
  [`${USERS}/1`]: ['DELETE', 'PATCH'],
  [`${USERS}/1/sessions`]: ['DELETE'],
  [TASKS]: ['GET', 'HEAD', 'POST'],
  [`${TASKS}/1`]: ['DELETE', 'GET', 'HEAD', 'PATCH'],
}

/** Redirects with their status. */
const REDIRECTS: Readonly<Record<string, number>> = { '/': 302, '/docs/': 308, '/redoc/': 308 }

// Node's server emits no request for CONNECT: it closes the connection.
const EVERY_METHOD = METHODS.filter((method) => method !== 'CONNECT')

describeApi('A path', (api) => {
  let jane: User
  let taskPath: string
  before(async () => {
    jane = await api.signUp()
    taskPath = `${TASKS}/${(await jane.createTask()).id}`
    await jane.createTask()
  })

  it('/health returns the environment without a token, at the root only', async () => {
    expect((await api.get('/health').expect(200)).body).to.deep.equal({ status: 'ok', environment: 'test' })
    await api.get('/api/v1/health').expect(404)
    await api.get('/health?x=1').expect(200)
  })

  for (const [path, methods] of Object.entries(ROUTES)) {
    it(`${path} returns 405 with Allow for every other method`, async () => {
      for (const method of EVERY_METHOD.filter((each) => !methods.includes(each))) {
        for (const client of [api, jane]) {
          const answer = await client.raw({ method, path })
          expect(answer.status, method).to.equal(405)
          if (method !== 'HEAD') expect(codeOf(answer), method).to.equal('method_not_allowed')
          const allowed = String(answer.headers.allow).split(/\s*,\s*/)
          expect(allowed, method).to.have.members(methods)
        }
      }
    })
  }

  for (const [path, methods] of Object.entries(ROUTES)) {
    if (!methods.includes('HEAD')) continue
    it(`${path} returns for HEAD what it returns for GET, without the body`, async () => {
      const actual = path === `${TASKS}/1` ? taskPath : `${path}${path === TASKS ? '?limit=1' : ''}`
      const head = await jane.raw({ method: 'HEAD', path: actual })
      const get = await jane.raw({ method: 'GET', path: actual })
      expect(get.status).to.equal(REDIRECTS[path] ?? 200)
      expect(head.status).to.equal(get.status)
      expect(head.text).to.equal('')
      // A response to HEAD may omit headers that describe only the body (RFC 9110, section 9.3.2).
      const comparable = ({ date, 'x-request-id': _, 'transfer-encoding': __, ...headers }: typeof get.headers) =>
        headers
      expect(comparable(head.headers)).to.deep.equal(comparable(get.headers))
    })
  }

  it('returns for HEAD the errors of GET, without the body', async () => {
    expect((await api.raw({ method: 'HEAD', path: TASKS })).status).to.equal(401)
    expect((await jane.raw({ method: 'HEAD', path: `${TASKS}?limit=0` })).status).to.equal(422)
    expect((await jane.raw({ method: 'HEAD', path: `${TASKS}/999999999` })).status).to.equal(404)
    expect((await jane.raw({ method: 'HEAD', path: '/nowhere' })).status).to.equal(404)
  })

  const others = [
    '/nowhere',
    '/api',
    '/api/v1',
    '/api/v1/',
    '/api/v1/nowhere',
    '/health/',
    '/Health',
    '/docs//',
    '//docs/',
    '/DOCS',
    '/docs/nothing.js',
    '/docs/..%2f..%2fpackage.json',
    '/docs/%2e%2e/package.json',
    '/docs/../package.json',
    '/openapi.json/',
    '/openapi',
    `${TASKS}/`,
    `${taskPathOf(1)}/`,
    `${taskPathOf(1)}/comments`,
    '/api/v1//tasks',
    '//health',
    '/api/v1/Tasks',
    '/API/v1/tasks',
    '/api/v2/tasks',
    '/tasks',
    `${ME}/`,
    '/api/v1/auth',
    '/api/v1/auth/logout',
    '/__proto__',
    '/constructor',
    '/package.json',
    '/src/main.ts',
    '/.env',
    '/tasks.db',
  ]
  for (const path of others) {
    it(`${path} returns 404 for every method`, async () => {
      for (const method of ['GET', 'HEAD', 'POST', 'PATCH', 'DELETE', 'OPTIONS', 'PUT']) {
        const answer = await jane.raw({ method, path })
        expect(answer.status, method).to.equal(404)
        if (method !== 'HEAD') expect(codeOf(answer), method).to.equal('route_not_found')
      }
    })
  }

  it('serves pipelined requests in order, a GET after a PATCH with the new state', async () => {
    const { id } = await jane.createTask()
    const head = `Host: localhost\r\nAuthorization: Bearer ${jane.token}\r\n`
    const titles = Array.from({ length: 20 }, (_, index) => `Title ${index}`)
    const requests = titles.flatMap((title) => {
      const body = JSON.stringify({ title })
      const json = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`
      return [
        `PATCH ${taskPathOf(id)} HTTP/1.1\r\n${head}${json}\r\n${body}`,
        `GET ${taskPathOf(id)} HTTP/1.1\r\n${head}\r\n`,
      ]
    })
    const { hostname, port } = new URL(api.url)
    const socket = connect(Number(port), hostname)
    socket.end(requests.join(''))
    const answered = [...(await text(socket)).matchAll(/"title":"(.*?)"/g)].map(([, title]) => title)
    expect(answered).to.deep.equal(titles.flatMap((title) => [title, title]))
  })

  for (const path of ['/%', '/%zz', '/%e0%a4%a', `${TASKS}/%`, `${TASKS}/%zz`, `${TASKS}/%e0%a4%a`, `${TASKS}/%ff`]) {
    it(`${path} with an invalid escape returns 400, 404 or 422`, async () => {
      for (const method of ['GET', 'PATCH', 'DELETE'])
        expect((await jane.raw({ method, path })).status, method).to.be.oneOf([400, 404, 415, 422])
      expect((await jane.raw({ method: 'GET', path })).status).to.be.oneOf([400, 404, 422])
    })
  }

  it('is matched without the query', async () => {
    await api.get('/nowhere?x=/health').expect(404)
    await api.get('/health?').expect(200)
    await jane.get(`${TASKS}?`).expect(200)
  })
})

function taskPathOf(id: number): string {
  return `${TASKS}/${id}`
}

describeApi('A request head', (api) => {
  let jane: User
  before(async () => {
    jane = await api.signUp()
  })

  /** Sends the bytes on a new connection and checks the response against the OpenAPI document. */
  async function answerTo(method: string, path: string, lines: readonly string[], body = '', version = '1.1') {
    const connection = new RawConnection(api.url)
    const head = [`${method} ${path} HTTP/${version}`, ...lines]
    await connection.send(`${head.join('\r\n')}\r\n\r\n${body}`)
    const answer = await connection.answer(method)
    connection.close()
    if (answer?.headers['content-type'] !== undefined) api.documented.check(method, path, answer)
    return answer
  }

  const malformedHosts = [
    ['Host: localhost', 'Host: localhost'],
    ['Host: localhost', 'hOST: evil.example'],
    ['Host: local host'],
    ['Host: localhost/'],
    ['Host: jane@localhost'],
    ['Host: localhost, evil.example'],
    ['Host: http://localhost'],
    ['Host: localhost:80a'],
    ['Host: localhost:80:80'],
    ['Host: [::1'],
    ['Host: ::1'],
    ['Host: a%zzb'],
    ['Host: a\\b'],
    ['Host: t\u00e2ches.example'],
  ]
  for (const lines of malformedHosts) {
    it(`is rejected with 400 malformed_host: ${lines.join(' and ')}`, async () => {
      for (const [method, path] of [
        ['GET', '/livez'],
        ['POST', TASKS],
        ['DELETE', `${TASKS}/1`],
        ['GET', '/docs'],
        ['GET', '/nowhere'],
      ] as const) {
        const answer = await answerTo(method, path, [...lines, `Authorization: Bearer ${jane.token}`])
        expect(answer?.status, path).to.equal(400)
        expect(JSON.parse(answer?.text ?? '')).to.include({ code: 'malformed_host', instance: path })
      }
      expect(await answerTo('GET', 'http://localhost/livez', lines)).to.include({ status: 400 })
      expect(await answerTo('GET', '/livez', lines, '', '1.0')).to.include({ status: 400 })
    })
  }

  const validHosts = [
    'localhost',
    'localhost:',
    'LOCALHOST:8000',
    '127.0.0.1:80',
    '[::1]:8000',
    '[fe80::1]',
    'a_b-c.d~e',
    '%41',
    '',
  ]
  for (const host of validHosts) {
    it(`may have the Host ${JSON.stringify(host)}`, async () => {
      expect(await answerTo('GET', '/livez', [`Host: ${host}`])).to.include({ status: 200 })
    })
  }

  it('needs no Host in HTTP/1.0', async () => {
    expect(await answerTo('GET', '/livez', [], '', '1.0')).to.include({ status: 200 })
  })

  const host = 'Host: localhost'
  const json = 'Content-Type: application/json'
  const chunk = '10\r\n{"title":"Ship"}\r\n0\r\n\r\n'
  for (const coding of [
    'gzip, chunked',
    'identity, chunked',
    'x, chunked',
    'deflate,chunked',
    'gzip\r\nTransfer-Encoding: chunked',
  ]) {
    it(`is rejected with 501 unsupported_transfer_coding: ${JSON.stringify(coding)}`, async () => {
      const signed = `Authorization: Bearer ${jane.token}`
      for (const [method, path] of [
        ['POST', TASKS],
        ['GET', TASKS],
        ['POST', LOGIN],
        ['DELETE', `${TASKS}/1`],
      ] as const) {
        const answer = await answerTo(method, path, [host, json, signed, `Transfer-Encoding: ${coding}`], chunk)
        expect(answer?.status).to.equal(501)
        expect(answer && codeOf(answer)).to.equal('unsupported_transfer_coding')
        expect(answer?.headers.connection).to.equal('close')
      }
      await jane.get(TASKS).expect(200, [])
    })
  }

  it('may name chunked in any case', async () => {
    const signed = `Authorization: Bearer ${jane.token}`
    expect(await answerTo('POST', TASKS, [host, json, signed, 'Transfer-Encoding: Chunked'], chunk)).to.include({
      status: 201,
    })
  })

  for (const coding of ['gzip', 'chunked, gzip', 'chunked, chunked', 'identity']) {
    it(`is rejected with 400 by the parser if its transfer coding is ${coding}`, async () => {
      const { id } = await jane.createTask()
      const signed = `Authorization: Bearer ${jane.token}`
      const answer = await answerTo('DELETE', `${TASKS}/${id}`, [host, signed, `Transfer-Encoding: ${coding}`], chunk)
      expect(answer).to.include({ status: 400, text: '' })
      await jane.get(`${TASKS}/${id}`).expect(200)
    })
  }
})
