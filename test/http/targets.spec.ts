import { expect } from 'chai'
import { codeOf, describeApi, LOGIN, mistakes, TASKS, type User } from './api.ts'

const LOGIN_FORM = 'application/x-www-form-urlencoded'

describeApi('A request that is odd and well-formed', (api) => {
  let jane: User
  before(async () => {
    jane = await api.user()
  })

  it('is refused with 400 where its target is no URL, as everything that is refused is', async () => {
    for (const path of [
      'http://[::1/health',
      'https://[::1/api/v1/tasks',
      'x://[/health',
      'http://',
      'http://?a',
      'x://',
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

  it('has no parameter that a page of the documentation knows', async () => {
    for (const path of ['/docs', '/redoc', '/docs/start.js', '/redoc/redoc.standalone.js']) {
      const answer = await api.raw({ method: 'GET', path: `${path}?x=1` })
      expect(answer.status, path).to.equal(422)
      expect(mistakes(answer), path).to.deep.equal(['?x: unknown'])
    }
  })
})
