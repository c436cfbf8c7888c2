import { expect } from 'chai'
import { adapterSets } from '#test/adapter-sets.ts'
import { FakeClock } from '#test/use-cases/fakes.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Api, codeOf, describeApi, LOGIN, ME, mistakes, PASSWORD, SESSIONS, TASKS, User } from './api.ts'

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

describeApi('Sessions', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })
  const list = async (user = jane) => (await user.get(SESSIONS).expect(200)).body

  it('are listed, newest first, with that of the request marked as current', async () => {
    const login = api.post(LOGIN).set('User-Agent', 'a browser')
    const { body } = await login.send({ username: jane.email, password: PASSWORD }).expect(200)
    const browser = new User(api, jane.id, jane.email, body.access_token)
    const sessions = await list()
    expect(sessions).to.have.lengthOf(2)
    const [newest, oldest] = sessions
    for (const session of sessions) {
      expect(session).to.have.all.keys('id', 'created_at', 'last_used_at', 'user_agent', 'current')
      for (const time of [session.created_at, session.last_used_at]) expect(time).to.match(TIMESTAMP)
    }
    expect(newest.id).to.be.greaterThan(oldest.id)
    expect([newest.user_agent, newest.current, oldest.current]).to.deep.equal(['a browser', false, true])
    expect((await list(browser)).map(({ current }: { current: boolean }) => current)).to.deep.equal([true, false])
  })

  it('keep the first 255 characters of a user agent, and null for none', async () => {
    const body = JSON.stringify({ username: jane.email, password: PASSWORD })
    const headers = { 'content-type': 'application/json' }
    const agents = [{}, { 'user-agent': 'x'.repeat(300) }]
    for (const agent of agents)
      expect((await api.raw({ method: 'POST', path: LOGIN, headers: { ...headers, ...agent }, body })).status).to.equal(
        200,
      )
    const kept = (await list()).map(({ user_agent }: { user_agent: string | null }) => user_agent)
    expect(kept.slice(0, 2)).to.deep.equal(['x'.repeat(255), null])
  })

  it('can be ended one by one: the next request of a session that was in use gets 401', async () => {
    const other = await api.logIn(jane)
    // The second request takes the verified token from the cache.
    for (let use = 0; use < 2; use++) await other.get(TASKS).expect(200)
    const [{ id }] = await list()
    await jane.delete(`${SESSIONS}/${id}`).expect(204)
    for (const request of [other.get(TASKS), other.get(ME), other.post(TASKS).send({ title: 'Ship' })]) {
      const answer = await request.expect(401)
      expect(codeOf(answer)).to.equal('invalid_token')
      expect(answer.headers['www-authenticate']).to.equal('Bearer error="invalid_token"')
    }
    expect(await list()).to.have.lengthOf(1)
    expect(codeOf(await jane.delete(`${SESSIONS}/${id}`).expect(404))).to.equal('session_not_found')
  })

  it('include that of the request, which can end itself', async () => {
    const [{ id }] = await list()
    await jane.delete(`${SESSIONS}/${id}`).expect(204)
    await jane.get(ME).expect(401)
  })

  it('can all be ended except that of the request', async () => {
    const others = [await api.logIn(jane), await api.logIn(jane)]
    const script = await jane.asScript('account')
    await jane.delete(SESSIONS).expect(204)
    for (const other of others) await other.get(ME).expect(401)
    for (const client of [jane, script]) await client.get(ME).expect(200)
    expect(await list()).to.have.lengthOf(1)
  })

  it('of another user are indistinguishable from missing ones', async () => {
    const john = await api.signUp()
    const [{ id }] = await list(john)
    const foreign = await jane.delete(`${SESSIONS}/${id}`).expect(404)
    const missing = await jane.delete(`${SESSIONS}/${id + 1_000}`).expect(404)
    expect({ ...foreign.body, instance: '' }).to.deep.equal({ ...missing.body, instance: '' })
    await jane.delete(SESSIONS).expect(204)
    await john.get(ME).expect(200)
  })

  it('have ids that are positive integers', async () => {
    for (const id of ['0', '-1', '01', '1.5', 'x', '9007199254740992', '%00']) {
      const { status, body } = await jane.delete(`${SESSIONS}/${id}`)
      expect([404, 422], id).to.include(status)
      if (status === 422) expect(body.errors[0].parameter).to.equal('id')
    }
    for (const id of [2_147_483_648, Number.MAX_SAFE_INTEGER]) await jane.delete(`${SESSIONS}/${id}`).expect(404)
    expect(mistakes(await jane.get(`${SESSIONS}?limit=1`).expect(422))).to.deep.equal(['?limit: unknown'])
  })

  it('are at most 100: a further login ends the oldest', async () => {
    const login = () => api.post(LOGIN).send({ username: jane.email, password: PASSWORD })
    for (let batch = 0; batch < 10; batch++) await Promise.all(Array.from({ length: 10 }, () => login().expect(200)))
    await jane.get(ME).expect(401)
    const newest = await api.logIn(jane)
    expect(await list(newest)).to.have.lengthOf(100)
  })
})

for (const { name, databaseUrl } of adapterSets) {
  describe(`The last use of a session (${name})`, () => {
    const api = new Api()
    const clock = new FakeClock()
    before(async () => api.start({ DATABASE_URL: await databaseUrl() }, { clock: () => clock }))
    after(() => api.stop())

    it('is recorded at most once a minute', async () => {
      const jane = await api.signUp()
      const used = async () => {
        const [{ created_at, last_used_at }] = (await jane.get(SESSIONS).expect(200)).body
        return (Date.parse(last_used_at) - Date.parse(created_at)) / 1_000
      }
      clock.move(59)
      await jane.get(ME).expect(200)
      expect(await used()).to.equal(0)
      clock.move(2)
      await jane.get(ME).expect(200)
      await waitUntil(async () => (await used()) === 61)
      clock.move(59)
      await jane.get(ME).expect(200)
      expect(await used()).to.equal(61)
    })
  })
}
