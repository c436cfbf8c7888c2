import { expect } from 'chai'
import { codeOf, describeApi, LOGIN, ME, mistakes, TASKS, type User } from './api.ts'

const LOGIN_FORM = 'application/x-www-form-urlencoded'

describeApi('An unusual request', (api) => {
  let jane: User
  before(async () => {
    jane = await api.signUp()
  })

  it('is rejected with 400 malformed_target if its target is not a URL', async () => {
    for (const path of [
      'http://[::1/health',
      'https://[::1/api/v1/tasks',
      'x://[/health',
      'http://',
      'http://?a',
      'x://',
      'http://localhost:99x/health',
      'http://localhost:65536/health',
    ]) {
      const answer = await api.raw({ method: 'GET', path })
      expect(answer.status, path).to.equal(400)
      expect(codeOf(answer), path).to.equal('malformed_target')
    }
  })

  it('is served despite an unknown expectation', async () => {
    const answer = await api.raw({ method: 'GET', path: '/health', headers: { expect: 'a-miracle' } })
    expect(answer.status).to.equal(200)
  })

  it('is served with Expect: 100-continue if it has a token', async () => {
    const body = '{"title":"x"}'
    const headers = { 'content-length': `${body.length}`, 'content-type': 'application/json', expect: '100-continue' }
    const request = { method: 'POST', path: TASKS, headers, body }
    expect((await jane.raw(request)).status).to.equal(201)
    expect((await api.raw(request)).status).to.equal(401)
  })

  it('is rejected with 415 if a no-break space follows its media type', async () => {
    const type = { 'content-type': `${LOGIN_FORM}\u00a0` }
    expect(
      (await api.raw({ method: 'POST', path: LOGIN, headers: type, body: 'username=x&password=y' })).status,
    ).to.equal(415)
  })

  it('is not_authenticated, not invalid_token, if it uses another scheme', async () => {
    for (const authorization of ['Basic amFuZTpzZWNyZXQ=', 'Token abc']) {
      const answer = await api.raw({ method: 'GET', path: TASKS, headers: { authorization } })
      expect(answer.status).to.equal(401)
      expect(codeOf(answer)).to.equal('not_authenticated')
      expect(answer.headers['www-authenticate']).to.equal('Bearer')
    }
  })

  it('may have any query outside the prefix', async () => {
    const paths = ['/health', '/livez', '/readyz', '/openapi.json', '/docs', '/redoc', '/docs/start.js']
    for (const path of paths) {
      for (const query of ['t=1764082800', 'x=1&x=2', '%ff', `${'a&'.repeat(2_000)}`]) {
        expect((await api.raw({ method: 'GET', path: `${path}?${query}` })).status, `${path}?${query}`).to.equal(200)
      }
    }
  })

  it('is rejected for an unknown parameter under the prefix', async () => {
    for (const [method, path] of [
      ['GET', TASKS],
      ['GET', `${TASKS}/1`],
      ['DELETE', `${TASKS}/1`],
      ['GET', ME],
    ] as const) {
      expect(mistakes(await jane.raw({ method, path: `${path}?t=1` })), path).to.deep.equal(['?t: unknown'])
    }
  })
})
