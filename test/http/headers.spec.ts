import { expect } from 'chai'
import type { Response, Test } from 'supertest'
import { describeApi, LOGIN, ME, ORIGIN, TASKS, type User } from './api.ts'

const listOf = (value: unknown) =>
  String(value ?? '')
    .split(/\s*,\s*/)
    .filter(Boolean)
const namesIn = (value: unknown) => listOf(value).map((name) => name.toLowerCase())

/** A request for each kind of response that must not be stored (`no-store`). */
const answers: Readonly<Record<string, readonly [status: number, ask: (jane: User) => Test]>> = {
  'the user’s own account': [200, (jane) => jane.get(ME)],
  'a new task': [201, (jane) => jane.post(TASKS).send({ title: 'Ship' })],
  'an invalid title': [422, (jane) => jane.post(TASKS).send({ title: '' })],
  'malformed JSON': [400, (jane) => jane.post(TASKS).type('json').send('{')],
  'an unsupported media type': [415, (jane) => jane.post(TASKS).type('text/plain').send('x')],
  'a body that is too large': [413, (jane) => jane.post(TASKS).type('json').send('x'.repeat(1_048_577))],
  'an invalid token': [401, (jane) => jane.get(ME).set('Authorization', 'Bearer x')],
  'an absent task': [404, (jane) => jane.get(`${TASKS}/999999999`)],
  'an unknown route': [404, (jane) => jane.get('/nowhere')],
  'an unsupported method': [405, (jane) => jane.delete(TASKS)],
}

describeApi('Headers', (api) => {
  describe('Every response', () => {
    let jane: User
    before(async () => {
      jane = await api.signUp()
    })

    for (const [what, [status, ask]] of Object.entries(answers)) {
      it(`has the security headers: ${what}`, async () => {
        const { headers } = await ask(jane).expect(status)
        expect(headers).to.include({
          'x-content-type-options': 'nosniff',
          'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
          'cross-origin-resource-policy': 'same-origin',
          'referrer-policy': 'no-referrer',
          'x-frame-options': 'DENY',
          'cache-control': 'no-store',
        })
        expect(headers).to.not.have.any.keys('x-powered-by', 'server')
      })

      it(`is readable by an allowed origin: ${what}`, async () => {
        const { headers } = await ask(jane).set('Origin', ORIGIN).expect(status)
        expect(headers).to.include({
          'access-control-allow-origin': ORIGIN,
          'access-control-allow-credentials': 'true',
        })
        expect(namesIn(headers.vary)).to.include('origin')
        expect(namesIn(headers['access-control-expose-headers'])).to.include.members([
          'location',
          'link',
          ...['etag', 'x-total-count'],
          'x-request-id',
          'www-authenticate',
          'retry-after',
          ...['accept', 'accept-patch', 'accept-encoding'],
        ])
      })

      it(`echoes the client’s X-Request-Id: ${what}`, async () => {
        const { headers } = await ask(jane).set('X-Request-Id', 'trace-1.2_3').expect(status)
        expect(headers['x-request-id']).to.equal('trace-1.2_3')
      })
    }

    it('to a login has Cache-Control: no-store, whether it succeeds or fails', async () => {
      for (const username of [jane.email, 'unknown@example.com']) {
        const { headers } = await api.post(LOGIN).send({ username, password: 'correct horse battery staple' })
        expect(headers['cache-control']).to.equal('no-store')
      }
    })
  })

  describe('A request id', () => {
    const send = (id: string) => api.raw({ method: 'GET', path: '/health', headers: { 'x-request-id': id } })

    for (const id of ['1', 'a', 'A.b_c-9', '.', '-'.repeat(128), 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6']) {
      it(`from the client is kept: ${id}`, async () => expect((await send(id)).headers['x-request-id']).to.equal(id))
    }

    const bad = [
      '',
      'a'.repeat(129),
      'a b',
      'a,b',
      'a/b',
      'a:b',
      'a+b',
      'a=b',
      '"a"',
      '<script>',
      'caf\u00e9',
      '%0d%0a',
      'a\tb',
    ]
    for (const id of bad) {
      it(`from the client is replaced: ${JSON.stringify(id)}`, async () => {
        const given = String((await send(id)).headers['x-request-id'])
        expect(given).to.match(/^[A-Za-z0-9._-]{1,128}$/)
        expect(given).to.not.equal(id)
      })
    }

    it('is unique for each request without one', async () => {
      const ids = await Promise.all(
        Array.from({ length: 10 }, async () => (await api.get('/health')).headers['x-request-id']),
      )
      expect(new Set(ids)).to.have.property('size', 10)
    })
  })

  describe('An origin', () => {
    const allowOrigin = ({ headers }: Response) => headers['access-control-allow-origin']

    it('in BACKEND_CORS_ORIGINS is allowed', async () => {
      for (const origin of [ORIGIN, 'http://localhost:3000'])
        expect(allowOrigin(await api.get('/health').set('Origin', origin).expect(200))).to.equal(origin)
    })

    const otherOrigins = [
      'https://evil.example',
      `${ORIGIN}.evil.example`,
      `${ORIGIN}/`,
      `${ORIGIN}:443`,
      'http://app.example.com',
      'https://APP.example.com',
      'https://example.com',
      'http://localhost:3001',
      'null',
      '*',
      `${ORIGIN},http://localhost:3000`,
    ]
    for (const origin of otherOrigins) {
      it(`is not allowed: ${origin}`, async () => {
        const answer = await api.get('/health').set('Origin', origin).expect(200)
        expect(answer.headers).to.not.have.any.keys('access-control-allow-origin', 'access-control-allow-credentials')
        const preflight = await api.options(TASKS).set({ Origin: origin, 'Access-Control-Request-Method': 'POST' })
        expect(allowOrigin(preflight)).to.equal(undefined)
      })
    }

    it('is in Vary whether it is allowed, not allowed or missing', async () => {
      for (const origin of [ORIGIN, 'https://evil.example', undefined]) {
        const request = api.get('/health')
        const { headers } = await (origin === undefined ? request : request.set('Origin', origin))
        expect(namesIn(headers.vary)).to.include('origin')
      }
    })

    it('gets the allowed methods and headers from a preflight without a token', async () => {
      for (const path of [TASKS, `${TASKS}/1`, LOGIN, ME]) {
        const asked = { 'Access-Control-Request-Method': 'PATCH', 'Access-Control-Request-Headers': 'authorization' }
        const { headers } = await api
          .options(path)
          .set({ Origin: ORIGIN, ...asked })
          .expect(204)
        expect(headers).to.include({
          'access-control-allow-origin': ORIGIN,
          'access-control-allow-credentials': 'true',
        })
        expect(listOf(headers['access-control-allow-methods'])).to.include.members(['GET', 'POST', 'PATCH', 'DELETE'])
        const allowed = namesIn(headers['access-control-allow-headers'])
        expect(allowed).to.include.members([
          'authorization',
          'content-type',
          'x-request-id',
          'traceparent',
          'tracestate',
          ...['if-match', 'if-none-match', 'idempotency-key', 'last-event-id'],
        ])
        expect(namesIn(headers.vary)).to.include('origin')
      }
    })

    it('is not allowed to send an unlisted header', async () => {
      const asked = { 'Access-Control-Request-Method': 'GET', 'Access-Control-Request-Headers': 'x-anything' }
      const { headers } = await api.options(TASKS).set({ Origin: ORIGIN, ...asked })
      expect(namesIn(headers['access-control-allow-headers'])).to.not.include('x-anything')
    })

    it('gets 405 for OPTIONS that is not a preflight', async () => {
      const { headers } = await api.options(TASKS).set('Origin', ORIGIN).expect(405)
      expect(headers).to.not.have.property('access-control-allow-methods')
    })
  })
})
