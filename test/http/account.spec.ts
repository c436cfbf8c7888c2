import { expect } from 'chai'
import { Api, codeOf, describeApi, LOGIN, ME, mistakes, PASSWORD, REGISTER, TASKS, type User } from './api.ts'

const NEW_PASSWORD = 'a password that is new'

describeApi('PATCH /auth/me', (api) => {
  let jane: User
  beforeEach(async () => {
    jane = await api.signUp()
  })
  const change = (body: object) => jane.patch(ME).send(body)
  const logIn = (username: string, password = PASSWORD) => api.post(LOGIN).send({ username, password })

  it('changes the time zone, even with an API token', async () => {
    const { body } = await change({ time_zone: 'Europe/Berlin' }).expect(200)
    expect(body).to.deep.equal({ ...(await jane.get(ME).expect(200)).body, time_zone: 'Europe/Berlin' })
    const script = await jane.asScript('account')
    await script.patch(ME).send({ time_zone: 'Asia/Tokyo' }).expect(200)
    expect((await jane.get(ME)).body.time_zone).to.equal('Asia/Tokyo')
  })

  it('changes the address: the new one logs in, and the old one is free', async () => {
    const email = `new-${jane.email}`
    const { body } = await change({
      email: ` ${email.replace('example.com', 'EXAMPLE.com')}`,
      current_password: PASSWORD,
    }).expect(200)
    expect(body.email).to.equal(email)
    await logIn(jane.email).expect(401)
    await logIn(email.toUpperCase()).expect(200)
    await jane.get(ME).expect(200)
    await api.post(REGISTER).send({ email: jane.email, password: PASSWORD }).expect(201)
  })

  it('changes the password, and ends all other sessions, but no API token', async () => {
    const [other, script] = [await api.logIn(jane), await jane.asScript('account')]
    await change({ password: NEW_PASSWORD, current_password: PASSWORD }).expect(200)
    await other.get(ME).expect(401)
    for (const client of [jane, script]) await client.get(ME).expect(200)
    await logIn(jane.email).expect(401)
    await logIn(jane.email, NEW_PASSWORD).expect(200)
  })

  it('accepts JSON Merge Patch, and the account as GET and the export return it', async () => {
    const { body } = await jane.get(ME).expect(200)
    const patch = jane.patch(ME).type('application/merge-patch+json')
    expect((await patch.send(JSON.stringify({ ...body, time_zone: 'Asia/Tokyo' })).expect(200)).body).to.deep.equal({
      ...body,
      time_zone: 'Asia/Tokyo',
    })
    expect((await change({}).expect(200)).body.time_zone).to.equal('Asia/Tokyo')
    await (await jane.asScript('account')).patch(ME).send(body).expect(200)
    const { user } = (await jane.get(`${ME}/export`).expect(200)).body
    expect(
      (
        await jane
          .patch(ME)
          .send({ ...user, role: 'admin' })
          .expect(200)
      ).body,
    ).to.deep.equal((await jane.get(ME)).body)
    expect((await jane.get(`${ME}/export`).expect(200)).body.user).to.deep.equal(user)
  })

  it('needs the current password for the address and the password', async () => {
    for (const body of [{ email: 'new@example.com' }, { password: NEW_PASSWORD }]) {
      expect(mistakes(await change(body).expect(422))).to.deep.equal(['/current_password: required'])
      const wrong = await change({ ...body, current_password: 'wrong password' }).expect(403)
      expect(codeOf(wrong)).to.equal('wrong_password')
    }
    await logIn(jane.email).expect(200)
  })

  it('needs a session for the address and the password', async () => {
    const script = await jane.asScript('account', 'tasks:write')
    for (const body of [{ email: 'new@example.com' }, { password: NEW_PASSWORD, time_zone: 'Asia/Tokyo' }]) {
      const answer = await script
        .patch(ME)
        .send({ ...body, current_password: PASSWORD })
        .expect(403)
      expect(codeOf(answer)).to.equal('session_required')
    }
    expect((await jane.get(ME)).body.time_zone).to.equal('UTC')
  })

  it('returns 409 for the address of another account, in any spelling', async () => {
    const { email } = await api.signUp()
    for (const spelling of [email, email.toUpperCase()]) {
      const answer = await change({ email: spelling, current_password: PASSWORD }).expect(409)
      expect(codeOf(answer)).to.equal('email_taken')
    }
    await change({ email: jane.email.toUpperCase(), current_password: PASSWORD }).expect(200)
  })

  const refused: Readonly<Record<string, readonly [body: object, ...mistakes: string[]]>> = {
    'members that are null': [
      { email: null, password: null, time_zone: null, current_password: null },
      ...['/email: not_text', '/password: not_text', '/time_zone: unknown_time_zone', '/current_password: not_text'],
    ],
    'an invalid address': [{ email: 'jane.example.com', current_password: PASSWORD }, '/email: not_an_email'],
    'a short password': [{ password: 'x', current_password: PASSWORD }, '/password: too_short'],
    'an unknown time zone': [{ time_zone: 'Mars/Phobos' }, '/time_zone: unknown_time_zone'],
    'an unknown member': [{ disabled: true }, '/disabled: unknown'],
  }
  for (const [what, [body, ...expected]] of Object.entries(refused)) {
    it(`returns 422 for ${what}`, async () => {
      expect(mistakes(await change(body).expect(422))).to.have.members(expected)
    })
  }

  it('returns 422 for a password that is the new address, and for an address that is the password', async () => {
    const email = `${jane.email}.example`
    const both = { email, password: email, current_password: PASSWORD }
    expect(mistakes(await change(both).expect(422))).to.deep.equal(['/password: password_is_email'])
  })

  it('sets the zone of days in lists, unless a request names another', async () => {
    // Kiritimati is 25 hours ahead of Niue, so at least one of them has another date than UTC.
    const due = new Date().toISOString().slice(0, 10)
    const count = async (query: string) => (await jane.get(`${TASKS}?${query}`).expect(200)).body.length
    const next = (days: number) => new Date(Date.parse(due) + days * 86_400_000).toISOString().slice(0, 10)
    await Promise.all([-1, 0, 1].map((days) => jane.createTask({ due: next(days) })))
    const queries = ['view=today', 'overdue=true', `due_before=${due}`, 'view=upcoming']
    for (const zone of ['Pacific/Kiritimati', 'Pacific/Niue', 'UTC']) {
      await change({ time_zone: zone }).expect(200)
      for (const query of queries)
        expect(await count(query), `${query} in ${zone}`).to.equal(await count(`${query}&time_zone=${zone}`))
    }
  })

  it('changes the ETag of a list that depends on the zone', async () => {
    await jane.createTask()
    const tagOf = async (path: string) => String((await jane.get(path).expect(200)).headers.etag)
    const [today, all] = [await tagOf(`${TASKS}?view=today`), await tagOf(TASKS)]
    await jane.get(`${TASKS}?view=today`).set('If-None-Match', today).expect(304)
    await change({ time_zone: 'Pacific/Kiritimati' }).expect(200)
    await jane.get(`${TASKS}?view=today`).set('If-None-Match', today).expect(200)
    await jane.get(TASKS).set('If-None-Match', all).expect(304)
  })
})

describeApi(`DELETE ${ME} without a body`, (api) => {
  it('reports that the current password is missing', async () => {
    const jane = await api.signUp()
    for (const request of [jane.delete(ME), jane.delete(ME).type('json'), jane.delete(ME).set('Content-Length', '0')])
      expect(mistakes(await request.expect(422))).to.deep.equal(['/current_password: required'])
    await jane.get(ME).expect(200)
  })
})

for (const [method, path] of [
  ['delete', ME],
  ['post', `${ME}/delete`],
] as const) {
  describeApi(`${method.toUpperCase()} ${path}`, (api) => {
    it('deletes the account and everything that belongs to it, and frees the address', async () => {
      const jane = await api.signUp()
      const [other, script] = [await api.logIn(jane), await jane.asScript('account', 'tasks:write')]
      await jane.createTask()
      await jane[method](path).send({ current_password: PASSWORD }).expect(204)
      for (const client of [jane, other, script])
        expect(codeOf(await client.get(ME).expect(401))).to.equal('invalid_token')
      await api.post('/api/v1/auth/refresh').send({ refresh_token: other.refreshToken }).expect(400)
      await api.post(LOGIN).send({ username: jane.email, password: PASSWORD }).expect(401)
      const { body } = await api.post(REGISTER).send({ email: jane.email, password: PASSWORD }).expect(201)
      expect(body.id).to.be.greaterThan(jane.id)
      const again = await api.logIn({ id: body.id, email: jane.email })
      expect(await again.listTasks()).to.deep.equal([])
    })

    it('needs the current password', async () => {
      const jane = await api.signUp()
      expect(mistakes(await jane[method](path).send({}).expect(422))).to.deep.equal(['/current_password: required'])
      const wrong = await jane[method](path).send({ current_password: 'wrong password' }).expect(403)
      expect(codeOf(wrong)).to.equal('wrong_password')
      expect(mistakes(await jane[method](path).send({ current_password: 1 }).expect(422))).to.deep.equal([
        '/current_password: not_text',
      ])
      await jane.get(ME).expect(200)
    })
  })
}

describeApi('An account that is deleted in the middle of its own requests', (api) => {
  it('gets the usual response or a refusal for each of them', async () => {
    for (let round = 0; round < 3; round++) {
      const jane = await api.signUp()
      const script = await jane.asScript('tasks:write', 'account')
      const { id } = await jane.createTask()
      const task = `${TASKS}/${id}`
      const requests = () => [
        jane.get(ME),
        script.get(TASKS),
        jane.post(TASKS).send({ title: 'Ship' }),
        script.post(TASKS).set('Idempotency-Key', `key ${round}`).send({ title: 'Ship' }),
        jane.patch(task).send({ completed: true }),
        jane.patch(ME).send({ time_zone: 'Asia/Tokyo' }),
        jane.patch(ME).send({ password: NEW_PASSWORD, current_password: PASSWORD }),
        script.patch(ME).send({ time_zone: 'Europe/Berlin' }),
        jane.post('/api/v1/auth/tokens').send({ name: 'script', scopes: ['account'] }),
        jane.delete(ME).send({ current_password: PASSWORD }),
        api.post('/api/v1/auth/refresh').send({ refresh_token: jane.refreshToken }),
      ]
      const answers = await Promise.all([
        ...requests(),
        jane
          .delete(ME)
          .send({ current_password: PASSWORD })
          .then((answer) => answer),
        ...requests(),
      ])
      for (const { status, request, body } of answers) {
        const what = `${request.method} ${request.url}: ${JSON.stringify(body)}`
        // The new password may be stored first, which makes PASSWORD wrong.
        expect(status, what).to.be.oneOf([200, 201, 204, 400, 401, 403])
        if (status === 403) expect(body.code, what).to.equal('wrong_password')
        if (status === 400) expect(body.code, what).to.equal('invalid_grant')
      }
    }
  })
})

describe('Wrong current passwords', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:', RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_FAILED_LOGINS: '3' }))
  after(() => api.stop())

  it('count like failed logins', async () => {
    const jane = await api.signUp()
    const leave = (current_password: string) => jane.delete(ME).send({ current_password })
    await leave('wrong 1').expect(403)
    await jane.patch(ME).send({ password: NEW_PASSWORD, current_password: 'wrong 2' }).expect(403)
    await api.post(LOGIN).send({ username: jane.email, password: 'wrong 3' }).expect(401)
    for (const request of [leave(PASSWORD), api.post(LOGIN).send({ username: jane.email, password: PASSWORD })])
      expect(codeOf(await request.expect(429))).to.equal('too_many_requests')
    await jane.get(ME).expect(200)
  })
})
