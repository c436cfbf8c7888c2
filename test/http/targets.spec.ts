import { expect } from 'chai'
import { codeOf, describeApi, LOGIN, ME, mistakes, TASKS, type User } from './api.ts'

const LOGIN_FORM = 'application/x-www-form-urlencoded'

describeApi('A request that is odd and well-formed', (api) => {
  let jane: User
  before(async () => {
    jane = await api.signUp()
  })

  it('is refused with 400 where its target is no URL, as everything that is refused is', async () => {
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

  it('is served whatever else it expects', async () => {
    const answer = await api.raw({ method: 'GET', path: '/health', headers: { expect: 'a-miracle' } })
    expect(answer.status).to.equal(200)
  })

  it('is told to go on only where its body is wanted', async () => {
    const body = '{"title":"x"}'
    const headers = { 'content-length': `${body.length}`, 'content-type': 'application/json', expect: '100-continue' }
    const request = { method: 'POST', path: TASKS, headers, body }
    expect((await jane.raw(request)).status).to.equal(201)
    expect((await api.raw(request)).status).to.equal(401)
  })

  it('is refused with 415 where its type only looks like one that is taken', async () => {
    const type = { 'content-type': `${LOGIN_FORM}\u00a0` }
    expect(
      (await api.raw({ method: 'POST', path: LOGIN, headers: type, body: 'username=x&password=y' })).status,
    ).to.equal(415)
  })

  it('is not taken for one with a wrong token where it authenticates by another scheme', async () => {
    for (const authorization of ['Basic amFuZTpzZWNyZXQ=', 'Token abc']) {
      const answer = await api.raw({ method: 'GET', path: TASKS, headers: { authorization } })
      expect(answer.status).to.equal(401)
      expect(codeOf(answer)).to.equal('not_authenticated')
      expect(answer.headers['www-authenticate']).to.equal('Bearer')
    }
  })

  it('has its query ignored outside the prefix, where monitors and browsers add parameters', async () => {
    const paths = ['/health', '/livez', '/readyz', '/openapi.json', '/docs', '/redoc', '/docs/start.js']
    for (const path of paths) {
      for (const query of ['t=1764082800', 'x=1&x=2', '%ff', `${'a&'.repeat(2_000)}`]) {
        expect((await api.raw({ method: 'GET', path: `${path}?${query}` })).status, `${path}?${query}`).to.equal(200)
      }
    }
  })

  it('has its query refused under the prefix where a parameter is unknown', async () => {
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
