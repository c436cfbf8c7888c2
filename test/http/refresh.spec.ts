import { expect } from 'chai'
import { adapterSets } from '#test/adapter-sets.ts'
import { FakeClock } from '#test/use-cases/fakes.ts'
import { Api, codeOf, describeApi, LOGIN, ME, mistakes, REFRESH, REVOKE, SESSIONS, type User } from './api.ts'

const DAY = 86_400
const refresh = (api: Api, refresh_token: string) => api.post(REFRESH).send({ refresh_token })
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })

async function refreshed(api: Api, token: string): Promise<{ access_token: string; refresh_token: string }> {
  return (await refresh(api, token).expect(200)).body
}

/** The characters that RFC 6749, section 5.2, allows in `error_description`. */
const DESCRIPTION = /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/

async function expectInvalidGrant(request: ReturnType<Api['post']>): Promise<void> {
  const answer = await request.expect(400)
  expect(answer.body).to.include({ code: 'invalid_grant', error: 'invalid_grant' })
  expect(answer.body.error_description).to.match(DESCRIPTION)
}

describeApi('A refresh', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })

  it('returns a new pair of the same session, as JSON and as a form', async () => {
    const { body, headers } = await refresh(api, jane.refreshToken).expect(200)
    expect(body).to.have.all.keys(
      ...['access_token', 'token_type', 'expires_in', 'refresh_token', 'refresh_expires_in'],
    )
    expect(headers['cache-control']).to.equal('no-store')
    expect(body.refresh_token).to.not.equal(jane.refreshToken)
    const form = { grant_type: 'refresh_token', refresh_token: body.refresh_token, client_id: 'x', other: 'y' }
    const { body: next } = await api.post(REFRESH).type('form').send(form).expect(200)
    for (const { access_token } of [body, next]) await api.get(ME).set(bearer(access_token)).expect(200)
    const { body: sessions } = await api.get(SESSIONS).set(bearer(next.access_token)).expect(200)
    expect(sessions).to.have.lengthOf(1)
    // An access token is valid until it expires or its session ends.
    await jane.get(ME).expect(200)
  })

  it('returns the same successor to concurrent requests with one token', async () => {
    const pairs = await Promise.all(Array.from({ length: 8 }, () => refreshed(api, jane.refreshToken)))
    const successors = new Set(pairs.map(({ refresh_token }) => refresh_token))
    expect(successors.size).to.equal(1)
    for (const { access_token } of pairs) await api.get(ME).set(bearer(access_token)).expect(200)
    await refreshed(api, [...successors][0] ?? '')
  })

  it('ends the session when a token is replayed after its successor was used', async () => {
    const second = await refreshed(api, jane.refreshToken)
    const third = await refreshed(api, second.refresh_token)
    await jane.get(ME).expect(200)
    await expectInvalidGrant(refresh(api, jane.refreshToken))
    for (const token of [jane.token, second.access_token, third.access_token])
      await api.get(ME).set(bearer(token)).expect(401)
    await expectInvalidGrant(refresh(api, third.refresh_token))
  })

  it('with a forged token changes nothing', async () => {
    const { refreshToken } = jane
    const last = refreshToken.at(-1) === 'A' ? 'B' : 'A'
    const madeUp = [
      refreshToken.slice(0, -4) + last.repeat(4),
      `${refreshToken}x`,
      'x',
      jane.token,
      '🙂',
      'a'.repeat(9_000),
    ]
    for (const token of madeUp) await expectInvalidGrant(refresh(api, token))
    await jane.get(ME).expect(200)
    await refreshed(api, refreshToken)
  })

  it('returns the same words for every refusal', async () => {
    const { refresh_token: second } = await refreshed(api, jane.refreshToken)
    await refreshed(api, second)
    const reused = await refresh(api, jane.refreshToken).expect(400)
    const ended = await refresh(api, second).expect(400)
    const unknown = await refresh(api, 'x').expect(400)
    expect(reused.body).to.deep.equal(unknown.body)
    expect(ended.body).to.deep.equal(unknown.body)
  })

  it('sends its refusals as application/json to clients that accept only that type', async () => {
    const types = {
      'text/html': 'application/problem+json',
      'text/html, text/plain;q=0.5': 'application/problem+json',
      'application/json': 'application/json',
      'application/json;q=1': 'application/json',
      'application/json, text/plain, */*': 'application/problem+json',
      'application/problem+json, application/json': 'application/problem+json',
      'application/*': 'application/problem+json',
    }
    for (const [accept, type] of Object.entries(types)) {
      const { headers, body } = await refresh(api, 'x').set('Accept', accept).expect(400)
      expect(headers['content-type'], accept).to.match(new RegExp(`^${type.replace('+', '\\+')}(?:;|$)`))
      expect(body).to.include({ code: 'invalid_grant', error: 'invalid_grant' })
    }
  })

  it('differs from a login, whose errors are always problem documents', async () => {
    const logIn = () => api.post(LOGIN).set('Accept', 'application/json').type('json')
    for (const request of [logIn().send('{').expect(400), logIn().send({ username: 'x', password: 'x' }).expect(401)])
      expect((await request).headers['content-type']).to.match(/^application\/problem\+json/)
  })

  it('needs the parameter, once', async () => {
    for (const request of [
      api.post(REFRESH).send({}),
      api.post(REFRESH).send({ refresh_token: '' }),
      api.post(REFRESH).type('form').send('grant_type=refresh_token'),
      api.post(REFRESH).type('form').send('refresh_token='),
    ])
      expect((await request.expect(400)).body).to.include({ code: 'invalid_request', error: 'invalid_request' })
    const twice = await api.post(REFRESH).type('form').send('refresh_token=a&refresh_token=b').expect(422)
    expect(mistakes(twice)).to.deep.equal(['/refresh_token: repeated'])
    expect(twice.body.error).to.equal('invalid_request')
  })

  it('returns 422 for a token that is not a string, and for an unknown JSON member', async () => {
    for (const refresh_token of [1, null, ['a'], { a: 1 }])
      expect(mistakes(await api.post(REFRESH).send({ refresh_token }).expect(422))).to.deep.equal([
        '/refresh_token: not_text',
      ])
    expect(mistakes(await refresh(api, 'a\0').expect(422))).to.deep.equal(['/refresh_token: malformed_text'])
    const unknown = await api.post(REFRESH).send({ refresh_token: 'a', other: 1 }).expect(422)
    expect(mistakes(unknown)).to.deep.equal(['/other: unknown'])
  })
})

describeApi('A revocation', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })
  const revoke = (body: object) => api.post(REVOKE).send(body)

  it('ends the session of a refresh token and of an access token, also as a form', async () => {
    const others = await Promise.all(Array.from({ length: 3 }, () => api.logIn(jane)))
    const [first, second, third] = others as [User, User, User]
    await revoke({ token: first.refreshToken, token_type_hint: 'refresh_token' }).expect(200, {})
    await revoke({ token: second.token, token_type_hint: 'nonsense' }).expect(200, {})
    await api.post(REVOKE).type('form').send({ token: third.token, client_id: 'x', other: 'y' }).expect(200, {})
    for (const ended of others) {
      expect(codeOf(await ended.get(ME).expect(401))).to.equal('invalid_token')
      await expectInvalidGrant(refresh(api, ended.refreshToken))
    }
    await jane.get(ME).expect(200)
  })

  it('ends an API token', async () => {
    const script = await jane.asScript('account')
    await script.get(ME).expect(200)
    await revoke({ token: script.token }).expect(200)
    await script.get(ME).expect(401)
    await jane.get(ME).expect(200)
  })

  it('ends the session of a refresh token that was used', async () => {
    const { access_token } = await refreshed(api, jane.refreshToken)
    await revoke({ token: jane.refreshToken }).expect(200)
    await api.get(ME).set(bearer(access_token)).expect(401)
  })

  it('does nothing for any other token', async () => {
    const script = await jane.asScript('account')
    const { refreshToken, token } = jane
    for (const each of [
      'x',
      '🙂',
      token.slice(0, -2),
      refreshToken.slice(0, -2),
      script.token.slice(0, -1),
      'a'.repeat(9_000),
    ])
      await revoke({ token: each }).expect(200, {})
    for (const client of [jane, script]) await client.get(ME).expect(200)
    await revoke({ token }).expect(200, {})
    await revoke({ token }).expect(200, {})
  })

  it('needs the parameter, once, and as text', async () => {
    for (const request of [revoke({}), revoke({ token: '' }), api.post(REVOKE).type('form').send('token_type_hint=x')])
      expect((await request.expect(400)).body).to.include({ code: 'invalid_request', error: 'invalid_request' })
    expect(mistakes(await revoke({ token: 1 }).expect(422))).to.deep.equal(['/token: not_text'])
    expect(mistakes(await revoke({ token: 'a', other: 1 }).expect(422))).to.deep.equal(['/other: unknown'])
  })

  it('prevails over concurrent refreshes of the session', async () => {
    for (let round = 0; round < 5; round++) {
      const session = await api.logIn(jane)
      const { refresh_token: second } = await refreshed(api, session.refreshToken)
      const [first, , last] = await Promise.all([
        refresh(api, second),
        revoke({ token: second }).expect(200),
        refresh(api, second),
      ])
      for (const answer of [first, last]) {
        expect(answer.status).to.be.oneOf([200, 400])
        if (answer.status === 400) expect(codeOf(answer)).to.equal('invalid_grant')
        else await api.get(ME).set(bearer(answer.body.access_token)).expect(401)
      }
      await expectInvalidGrant(refresh(api, second))
      await session.get(ME).expect(401)
    }
  })
})

for (const { name, databaseUrl } of adapterSets) {
  describe(`A session in the course of time (${name})`, () => {
    const api = new Api()
    const clock = new FakeClock()
    before(async () => api.start({ DATABASE_URL: await databaseUrl(), SESSION_MAX_DAYS: '60' }, { clock: () => clock }))
    after(() => api.stop())

    it('yields the successor of the previous token for 10 seconds, and then ends', async () => {
      const jane = await api.signUp()
      const { refresh_token: second } = await refreshed(api, jane.refreshToken)
      clock.move(10)
      expect((await refreshed(api, jane.refreshToken)).refresh_token).to.equal(second)
      clock.move(1)
      await expectInvalidGrant(refresh(api, jane.refreshToken))
      await jane.get(ME).expect(401)
      await expectInvalidGrant(refresh(api, second))
    })

    it('ends after 30 days without use', async () => {
      const jane = await api.signUp()
      clock.move(30 * DAY)
      await expectInvalidGrant(refresh(api, jane.refreshToken))
    })

    it('ends after 60 days of use', async () => {
      const jane = await api.signUp()
      let token = jane.refreshToken
      for (const [days, left] of [
        [20, 30],
        [20, 20],
        [19, 1],
      ] as const) {
        clock.move(days * DAY)
        const { body } = await refresh(api, token).expect(200)
        expect(body.refresh_expires_in).to.equal(left * DAY)
        token = body.refresh_token
      }
      clock.move(DAY)
      await expectInvalidGrant(refresh(api, token))
    })
  })
}

describeApi('The error of a login', (api) => {
  it('has the members of OAuth for a wrong pair and for an invalid request, and no others', async () => {
    const { email } = await api.signUp()
    const wrong = await api.post(LOGIN).send({ username: email, password: 'wrong password' }).expect(401)
    expect(wrong.body).to.include({ code: 'invalid_credentials', error: 'invalid_grant' })
    const empty = await api.raw({ method: 'POST', path: LOGIN, headers: { 'content-type': 'application/json' } })
    const missing = await api.post(LOGIN).send({}).expect(422)
    const host = await api.raw({ method: 'POST', path: LOGIN, headers: { host: 'a b' } })
    for (const answer of [JSON.parse(empty.text), missing.body, JSON.parse(host.text)]) {
      expect(answer.error).to.equal('invalid_request')
      expect(answer.error_description).to.match(DESCRIPTION)
    }
    const type = await api.post(LOGIN).type('text').send('x').expect(415)
    expect(type.body).to.not.have.any.keys('error', 'error_description')
  })
})
