import { expect } from 'chai'
import { SCOPES } from '#src/domain/accounts/caller.ts'
import { adapterSets } from '#test/adapter-sets.ts'
import { FakeClock } from '#test/use-cases/fakes.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Api, codeOf, describeApi, ME, mistakes, TASKS, TOKENS, User } from './api.ts'

const DAY = 86_400_000

describeApi('API tokens', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })
  const create = (body: object) => jane.post(TOKENS).send({ name: 'script', scopes: ['tasks:read'], ...body })
  const list = async () => (await jane.get(TOKENS).expect(200)).body

  it('are shown once, when they are created', async () => {
    const { body, headers } = await create({ name: 'a script 🙂' }).expect(201)
    expect(headers['cache-control']).to.equal('no-store')
    const { token, ...shown } = body
    expect(token).to.match(/^tma_[0-9A-Za-z]{40,}$/)
    expect(shown).to.deep.include({ name: 'a script 🙂', scopes: ['tasks:read'], last_used_at: null })
    expect(shown).to.have.all.keys('id', 'name', 'scopes', 'created_at', 'expires_at', 'last_used_at')
    expect(Date.parse(shown.expires_at) - Date.parse(shown.created_at)).to.equal(90 * DAY)
    const { body: newer } = await create({}).expect(201)
    expect(await list()).to.deep.equal(
      [{ ...newer, token: undefined }, shown].map((each) => JSON.parse(JSON.stringify(each))),
    )
  })

  it('have each scope once, in a fixed order', async () => {
    const { body } = await create({ scopes: ['account', 'tasks:read', 'account'] }).expect(201)
    expect(body.scopes).to.deep.equal(['tasks:read', 'account'])
  })

  it('expire at the given time, and never if it is null', async () => {
    const never = await create({ expires_at: null }).expect(201)
    expect(never.body.expires_at).to.equal(null)
    const instant = await create({ expires_at: '2099-01-31T10:30:00.5+01:00' }).expect(201)
    expect(instant.body.expires_at).to.equal('2099-01-31T09:30:00.500Z')
    await create({ expires_at: '9999-12-31T23:59:59Z' }).expect(201)
  })

  it('act for their user within their scopes', async () => {
    const { id } = await jane.createTask()
    const reader = await jane.asScript('tasks:read')
    const writer = await jane.asScript('tasks:write')
    expect(await reader.getTask(id)).to.deep.equal(await writer.getTask(id))
    await writer.editTask(id, { completed: true })
    const refused = await reader.patch(`${TASKS}/${id}`).send({ completed: false }).expect(403)
    expect(codeOf(refused)).to.equal('insufficient_scope')
    expect(refused.headers['www-authenticate']).to.equal('Bearer error="insufficient_scope", scope="tasks:write"')
    const all = await jane.asScript(...SCOPES)
    expect(codeOf(await all.post(TOKENS).send({ name: 'x', scopes: SCOPES }).expect(403))).to.equal('session_required')
  })

  it('can be revoked: the next request gets 401', async () => {
    const script = await jane.asScript('account')
    for (let use = 0; use < 2; use++) await script.get(ME).expect(200)
    const [{ id }] = await list()
    await jane.delete(`${TOKENS}/${id}`).expect(204)
    expect(codeOf(await script.get(ME).expect(401))).to.equal('invalid_token')
    expect(await list()).to.deep.equal([])
    expect(codeOf(await jane.delete(`${TOKENS}/${id}`).expect(404))).to.equal('api_token_not_found')
  })

  it('of another user are indistinguishable from missing ones', async () => {
    const john = await api.signUp()
    const { body } = await john
      .post(TOKENS)
      .send({ name: 'script', scopes: ['account'] })
      .expect(201)
    const foreign = await jane.delete(`${TOKENS}/${body.id}`).expect(404)
    const missing = await jane.delete(`${TOKENS}/${body.id + 1_000}`).expect(404)
    expect({ ...foreign.body, instance: '' }).to.deep.equal({ ...missing.body, instance: '' })
    await new User(api, john.id, john.email, body.token).get(ME).expect(200)
  })

  it('with any character changed are refused', async () => {
    const { token } = await jane.asScript('account')
    const positions = [0, 3, 4, 10, 30, token.length - 7, token.length - 1]
    for (const at of positions) {
      const changed = token.slice(0, at) + (token[at] === 'a' ? 'b' : 'a') + token.slice(at + 1)
      await new User(api, jane.id, jane.email, changed).get(ME).expect(401)
    }
  })

  const refused: Readonly<Record<string, readonly [body: object, ...mistakes: string[]]>> = {
    'a blank name': [{ name: ' ' }, '/name: blank'],
    'an empty name': [{ name: '' }, '/name: too_short'],
    'a name of 101 characters': [{ name: '🙂'.repeat(101) }, '/name: too_long'],
    'a name with NUL': [{ name: 'a\0' }, '/name: malformed_text'],
    'an unknown scope': [{ scopes: ['tasks:read', 'admin'] }, '/scopes: unknown_value'],
    'no scope': [{ scopes: [] }, '/scopes: unknown_value'],
    'scopes that are a text': [{ scopes: 'tasks:read' }, '/scopes: not_a_list'],
    'an expiry in the past': [{ expires_at: '2020-01-31T00:00:00Z' }, '/expires_at: not_in_future'],
    'an expiry that is a date': [{ expires_at: '2099-01-31' }, '/expires_at: not_an_instant'],
    'an expiry without an offset': [{ expires_at: '2099-01-31T00:00:00' }, '/expires_at: not_an_instant'],
    'an expiry after the year 9999': [{ expires_at: '9999-12-31T23:59:59-12:00' }, '/expires_at: not_an_instant'],
    'an expiry that is a number': [{ expires_at: 4_000_000_000 }, '/expires_at: not_an_instant'],
    'an unknown member': [{ token: 'x' }, '/token: unknown'],
  }
  for (const [what, [body, ...expected]] of Object.entries(refused)) {
    it(`are refused with 422 for ${what}`, async () => {
      expect(mistakes(await create(body).expect(422))).to.deep.equal(expected)
    })
  }

  it('report each missing member', async () => {
    const answer = await jane.post(TOKENS).send({}).expect(422)
    expect(mistakes(answer)).to.deep.equal(['/name: required', '/scopes: required'])
  })

  it('are at most 100', async () => {
    for (let batch = 0; batch < 10; batch++) await Promise.all(Array.from({ length: 10 }, () => create({}).expect(201)))
    expect(codeOf(await create({}).expect(409))).to.equal('api_token_limit_reached')
    const [{ id }] = await list()
    await jane.delete(`${TOKENS}/${id}`).expect(204)
    await create({}).expect(201)
  })
})

for (const { name, databaseUrl } of adapterSets) {
  describe(`An API token in the course of time (${name})`, () => {
    const api = new Api()
    const clock = new FakeClock()
    before(async () => api.start({ DATABASE_URL: await databaseUrl() }, { clock: () => clock }))
    after(() => api.stop())

    it('is refused once it has expired, and records its last use', async () => {
      const jane = await api.signUp()
      const expires_at = new Date(clock.now().getTime() + 120_000).toISOString()
      const { body } = await jane
        .post(TOKENS)
        .send({ name: 'script', scopes: ['account'], expires_at })
        .expect(201)
      const script = new User(api, jane.id, jane.email, body.token)
      await script.get(ME).expect(200)
      const lastUse = async () => (await jane.get(TOKENS).expect(200)).body[0].last_used_at
      await waitUntil(async () => (await lastUse()) === clock.now().toISOString())
      clock.move(119)
      await script.get(ME).expect(200)
      clock.move(1)
      await script.get(ME).expect(401)
    })
  })
}
