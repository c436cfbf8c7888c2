import { expect } from 'chai'
import { persistentSets } from '#test/adapter-sets.ts'
import { Api, codeOf, describeApi, ME, REVOKE, SECRET_KEY, SESSIONS, TASKS, TOKENS, USERS } from './api.ts'
import { RawConnection } from './raw-connection.ts'
import { invalidTokens, signed } from './tokens.ts'

const PROTECTED = [
  ['GET', ME],
  ['GET', TASKS],
  ['POST', TASKS],
  ['GET', `${TASKS}/1`],
  ['PATCH', `${TASKS}/1`],
  ['DELETE', `${TASKS}/1`],
] as const

const json = { 'content-type': 'application/json' }

describeApi('Authentication', (api) => {
  const claimsAt = (seconds: number) => ({ iat: seconds, exp: seconds + 600 })
  const claims = () => claimsAt(Math.floor(Date.now() / 1_000))
  const withToken = (token: string) => api.get(ME).set('Authorization', `Bearer ${token}`)

  for (const [method, path] of PROTECTED) {
    it(`is required for ${method} ${path}`, async () => {
      const answer = await api.raw({ method, path })
      expect(answer.status).to.equal(401)
      expect(codeOf(answer)).to.equal('not_authenticated')
      // RFC 6750, section 3.1: no error code if the request has no token.
      expect(answer.headers['www-authenticate'])
        .to.match(/^Bearer\b/)
        .and.not.include('error')
    })

    it(`rejects a forged token for ${method} ${path}`, async () => {
      const token = signed({ sub: '1', ...claims() }, 'another key')
      const answer = await api.raw({ method, path, headers: { authorization: `Bearer ${token}` } })
      expect(answer.status).to.equal(401)
      expect(codeOf(answer)).to.equal('invalid_token')
      expect(answer.headers['www-authenticate']).to.match(/^Bearer\b.*error="invalid_token"/)
    })
  }

  it('accepts any token signed with SECRET_KEY', async () => {
    const { id } = await api.signUp()
    const { body } = await withToken(signed({ sub: String(id), ...claims() }, SECRET_KEY)).expect(200)
    expect(body.id).to.equal(id)
  })

  it('accepts the scheme in any case (RFC 9110, section 11.1)', async () => {
    const { token } = await api.signUp()
    for (const scheme of ['bearer', 'BEARER', 'Bearer'])
      await api.get(ME).set('Authorization', `${scheme} ${token}`).expect(200)
  })

  it('is repeated once a slow body has arrived', async () => {
    const [jane, admin] = [await api.signUp(), await api.signUpAdmin()]
    const stolen = await api.logIn(jane)
    const [former, accomplice] = [await api.signUpAdmin(), await api.signUp()]
    const requests = [
      { method: 'POST', path: TOKENS, token: stolen.token, body: { name: 'script', scopes: ['account'] }, status: 401 },
      { method: 'PATCH', path: `${USERS}/${accomplice.id}`, token: former.token, body: { role: 'admin' }, status: 404 },
    ]
    const connections = await Promise.all(
      requests.map(async ({ method, path, token, body }) => {
        const connection = new RawConnection(api.url)
        const length = JSON.stringify(body).length
        await connection.send(
          `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n` +
            `Content-Type: application/json\r\nContent-Length: ${length}\r\nExpect: 100-continue\r\n\r\n`,
        )
        expect((await connection.answer())?.status).to.equal(100)
        return connection
      }),
    )
    await jane.delete(SESSIONS).expect(204)
    await admin.patch(`${USERS}/${former.id}`).send({ role: 'user' }).expect(200)
    for (const [index, { body, status }] of requests.entries()) {
      const connection = connections[index] as RawConnection
      await connection.send(JSON.stringify(body))
      expect((await connection.answer())?.status).to.equal(status)
      connection.close()
    }
    expect((await jane.get(TOKENS).expect(200)).body).to.deep.equal([])
    await accomplice.get(USERS).expect(404)
  })

  it('rejects every invalid token with the same problem', async () => {
    const { id } = await api.signUp()
    const wrong = invalidTokens(id, SECRET_KEY, new Date())
    const { body: expected } = await withToken('nonsense').expect(401)
    for (const [what, token] of Object.entries(wrong)) {
      const answer = await api.raw({ method: 'GET', path: ME, headers: { authorization: `Bearer ${token}` } })
      expect(answer.status, what).to.equal(401)
      expect(JSON.parse(answer.text), what).to.deep.equal(expected)
    }
  })

  it('rejects a token issued more than 10 s before its user was created', async () => {
    const { id, token } = await api.signUp()
    const { body } = await withToken(token).expect(200)
    const created = Math.floor(Date.parse(body.created_at) / 1_000)
    const issued = (seconds: number) => signed({ sub: String(id), ...claimsAt(seconds) }, SECRET_KEY)
    // The second time, the verified token comes from the cache.
    for (let use = 0; use < 2; use++) {
      for (const early of [11, 300]) {
        const answer = await withToken(issued(created - early)).expect(401)
        expect(codeOf(answer)).to.equal('invalid_token')
      }
      await withToken(issued(created - 10)).expect(200)
    }
  })

  it('rejects a token of a missing user', async () => {
    for (const id of [999_999, 2_147_483_647, 2_147_483_648, 4_294_967_297, Number.MAX_SAFE_INTEGER]) {
      const answer = await withToken(signed({ sub: String(id), ...claims() }, SECRET_KEY)).expect(401)
      expect(codeOf(answer)).to.equal('invalid_token')
    }
  })

  it('rejects an Authorization header without a bearer token', async () => {
    const { token } = await api.signUp()
    const headers = [
      'Bearer',
      'Bearer ',
      token,
      `Basic ${token}`,
      `Token ${token}`,
      `Bearer ${token} x`,
      `Bearer "${token}"`,
    ]
    for (const authorization of [...headers, `Bearer ${token},Bearer ${token}`, `BearerX ${token}`, 'Bearer é']) {
      const answer = await api.raw({ method: 'GET', path: ME, headers: { authorization } })
      expect(answer.status, authorization).to.equal(401)
    }
  })

  it('accepts an API token as well, and the error for a missing token says so', async () => {
    const script = await (await api.signUp()).asScript('account')
    await script.get(ME).expect(200)
    await api.post(REVOKE).send({ token: script.token }).expect(200)
    expect((await script.get(ME).expect(401)).body.detail).to.equal('The token is invalid, expired or revoked.')
    expect((await api.get(ME).expect(401)).body.detail).to.match(/^An access token or an API token is required/)
  })

  it('ignores tokens in the query and in cookies', async () => {
    const { token } = await api.signUp()
    await api.get(`${ME}?access_token=${token}`).expect(401)
    await api.get(ME).set('Cookie', `access_token=${token}`).expect(401)
  })

  const invalid: Readonly<Record<string, readonly [method: string, path: string, headers: object, body?: string]>> = {
    'an invalid member': ['POST', TASKS, json, '{"title":1}'],
    'malformed JSON': ['POST', TASKS, json, '{'],
    'an empty body': ['POST', TASKS, json, ''],
    'an unsupported media type': ['POST', TASKS, { 'content-type': 'text/plain' }, 'title'],
    'an unknown content coding': ['POST', TASKS, { ...json, 'content-encoding': 'x' }, '{}'],
    'a body that is too large': ['POST', TASKS, json, 'x'.repeat(1_048_577)],
    'an invalid id': ['PATCH', `${TASKS}/x`, json, '{}'],
    'an unknown parameter': ['GET', `${TASKS}?x=1`, {}],
    'an invalid parameter': ['GET', `${TASKS}?limit=0`, {}],
  }
  for (const [what, [method, path, headers, body]] of Object.entries(invalid)) {
    it(`precedes validation: returns 401 for ${what}`, async () => {
      const answer = await api.raw({ method, path, headers: { ...headers }, ...(body !== undefined && { body }) })
      expect(answer.status).to.equal(401)
    })
  }
})

for (const { name, databaseUrl, deleteUser } of persistentSets) {
  describe(`A token of a deleted user (${name})`, () => {
    const api = new Api()
    let url: string
    before(async () => {
      url = await databaseUrl()
      await api.start({ DATABASE_URL: url })
    })
    after(() => api.stop())

    it('is rejected at once, even if it was used before', async () => {
      const [jane, john] = [await api.signUp(), await api.signUp()]
      await jane.createTask()
      await jane.get(ME).expect(200)
      await deleteUser(url, jane.id)
      for (const request of [jane.get(ME), jane.get(TASKS), jane.post(TASKS).send({ title: 'Ship' })])
        expect(codeOf(await request.expect(401))).to.equal('invalid_token')
      await john.get(ME).expect(200)
    })
  })
}
