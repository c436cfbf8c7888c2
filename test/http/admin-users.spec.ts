import { expect } from 'chai'
import { encodeCursor } from '#src/adapters/http/routes/cursor.ts'
import { adapterSets, persistentSets } from '#test/adapter-sets.ts'
import {
  Api,
  codeOf,
  LOGIN,
  linksOf,
  ME,
  mistakes,
  PASSWORD,
  REGISTER,
  SESSIONS,
  TASKS,
  TOKENS,
  USERS,
  type User,
} from './api.ts'

for (const { name, databaseUrl } of adapterSets) {
  describe(`Administration (${name})`, () => {
    const api = new Api()
    let admin: User
    before(async () => {
      await api.start({ DATABASE_URL: await databaseUrl() })
      admin = await api.signUpAdmin()
    })
    after(() => api.stop())
    const administer = ({ id }: Pick<User, 'id'>, body: object) => admin.patch(`${USERS}/${id}`).send(body)

    it('lists users, newest first, with a link to the next page', async () => {
      const users: User[] = []
      while (users.length < 5) users.push(await api.signUp())
      const { body, headers } = await admin.get(`${USERS}?limit=2`).expect(200)
      const newest = users.toReversed().map(({ id }) => id)
      expect(body[0]).to.have.all.keys('id', 'email', 'role', 'disabled', 'created_at')
      expect(body[0]).to.deep.include({ email: users.at(-1)?.email, role: 'user', disabled: false })
      const seen = body.map(({ id }: User) => id)
      let next: string | undefined = linksOf({ headers }).next
      while (next) {
        const page = await admin.get(next).expect(200)
        seen.push(...page.body.map(({ id }: User) => id))
        next = linksOf(page).next
      }
      expect(seen.slice(0, 5)).to.deep.equal(newest)
      expect(seen).to.deep.equal([...new Set(seen)])
      expect(seen).to.include(admin.id)
    })

    it('finds users by a part of their address, in any case', async () => {
      for (const local of ['findme-1', 'findme-2', 'findme-3', '50%_x'])
        await api
          .post(REGISTER)
          .send({ email: `${local}@example.org`, password: PASSWORD })
          .expect(201)
      const emails = async (query: string) => {
        const { body } = await admin.get(`${USERS}?${query}`).expect(200)
        return body.map(({ email }: User) => email)
      }
      expect(await emails('q=FINDME')).to.deep.equal([3, 2, 1].map((number) => `findme-${number}@example.org`))
      expect(await emails('q=%25_')).to.deep.equal(['50%_x@example.org'])
      expect(await emails('q=no-such-user')).to.deep.equal([])
      expect(await emails('q=')).to.include(admin.email)
      const first = await admin.get(`${USERS}?q=findme&limit=2`).expect(200)
      const { next = '' } = linksOf(first)
      expect(next).to.include('q=findme')
      const second = await admin.get(next).expect(200)
      expect(second.body.map(({ email }: User) => email)).to.deep.equal(['findme-1@example.org'])
      expect(linksOf(second)).to.deep.equal({})
      expect(mistakes(await admin.get(next.replace('findme', 'other')).expect(422))).to.deep.equal([
        '?cursor: conflicting',
      ])
    })

    it('returns 422 for parameters that break their rule', async () => {
      const refused = {
        'limit=0': 'limit: out_of_range',
        'limit=201': 'limit: out_of_range',
        'cursor=x': 'cursor: not_a_cursor',
        [`cursor=${encodeCursor({ after: [0] }, '')}`]: 'cursor: conflicting',
        [`q=${'a'.repeat(321)}`]: 'q: too_long',
        'q=a%00': 'q: malformed_text',
        'skip=1': 'skip: unknown',
      }
      for (const [query, mistake] of Object.entries(refused))
        expect(mistakes(await admin.get(`${USERS}?${query}`).expect(422)), query).to.deep.equal([`?${mistake}`])
    })

    it('disables a user at once, and enables one', async () => {
      const jane = await api.signUp()
      const script = await jane.asScript('account')
      for (const client of [jane, script]) await client.get(ME).expect(200)
      const { body } = await administer(jane, { disabled: true }).expect(200)
      expect(body).to.deep.include({ id: jane.id, email: jane.email, role: 'user', disabled: true })
      for (const client of [jane, script]) expect(codeOf(await client.get(ME).expect(401))).to.equal('invalid_token')
      const login = () => api.post(LOGIN).send({ username: jane.email, password: PASSWORD })
      const disabled = await login().expect(401)
      const unknown = await api.post(LOGIN).send({ username: 'unknown@example.com', password: PASSWORD }).expect(401)
      expect(disabled.body).to.deep.equal(unknown.body)
      await api.post('/api/v1/auth/refresh').send({ refresh_token: jane.refreshToken }).expect(400)
      await administer(jane, { disabled: false }).expect(200)
      await login().expect(200)
      await script.get(ME).expect(200)
      // Its session has ended.
      await jane.get(ME).expect(401)
    })

    it('accepts a user as the list returned it, and ignores the read-only members', async () => {
      const jane = await api.signUp()
      const { body } = await admin.get(`${USERS}?q=${encodeURIComponent(jane.email)}`).expect(200)
      const [row] = body as readonly object[]
      const { body: changed } = await administer(jane, { ...row, disabled: true }).expect(200)
      expect(changed).to.deep.equal({ ...row, disabled: true })
      await administer(jane, { email: 'other@example.com' }).expect(200)
      expect((await admin.get(`${USERS}?q=${encodeURIComponent(jane.email)}`).expect(200)).body).to.have.lengthOf(1)
    })

    it('grants and withdraws the role', async () => {
      const jane = await api.signUp()
      await jane.get(USERS).expect(404)
      await administer(jane, { role: 'admin' }).expect(200)
      await jane.get(USERS).expect(200)
      await administer(jane, { role: 'user' }).expect(200)
      expect(codeOf(await jane.get(USERS).expect(404))).to.equal('route_not_found')
      expect((await administer(jane, {}).expect(200)).body.role).to.equal('user')
    })

    it('ends the sessions of a user', async () => {
      const jane = await api.signUp()
      const script = await jane.asScript('account')
      await admin.delete(`${USERS}/${jane.id}/sessions`).expect(204)
      await jane.get(ME).expect(401)
      await script.get(ME).expect(200)
    })

    it('deletes a user with everything that belongs to it', async () => {
      const jane = await api.signUp()
      const script = await jane.asScript('account')
      await jane.createTask()
      await admin.delete(`${USERS}/${jane.id}`).expect(204)
      for (const client of [jane, script]) await client.get(ME).expect(401)
      await api.post(REGISTER).send({ email: jane.email, password: PASSWORD }).expect(201)
      expect(codeOf(await admin.delete(`${USERS}/${jane.id}`).expect(404))).to.equal('user_not_found')
    })

    it('shows no admin the tasks, sessions or tokens of another user', async () => {
      const jane = await api.signUp()
      const { id } = await jane.createTask()
      await admin.get(`${TASKS}/${id}`).expect(404)
      expect((await admin.get(TASKS)).body).to.deep.equal([])
      const [session] = (await jane.get(SESSIONS)).body
      await admin.delete(`${SESSIONS}/${session.id}`).expect(404)
      await jane.asScript('account')
      expect((await admin.get(TOKENS)).body).to.deep.equal([])
    })

    it('returns 404 for unknown users, and 422 for members that break their rule', async () => {
      for (const id of [999_999, 2_147_483_648, Number.MAX_SAFE_INTEGER]) {
        expect(codeOf(await administer({ id }, { disabled: true }).expect(404))).to.equal('user_not_found')
        await admin.delete(`${USERS}/${id}`).expect(404)
        await admin.delete(`${USERS}/${id}/sessions`).expect(404)
      }
      const { id } = await api.signUp()
      expect(mistakes(await administer({ id }, { role: 'root', disabled: 1 }).expect(422))).to.deep.equal([
        '/role: unknown_value',
        '/disabled: not_boolean',
      ])
      expect(mistakes(await administer({ id }, { role: null }).expect(422))).to.deep.equal(['/role: unknown_value'])
      expect(mistakes(await administer({ id }, { password: PASSWORD }).expect(422))).to.deep.equal([
        '/password: unknown',
      ])
      await admin.patch(`${USERS}/x`).send({}).expect(422)
      await administer({ id }, { id: 7, created_at: 'x' }).expect(200)
    })
  })

  describe(`The last admin (${name})`, () => {
    const api = new Api()
    let admin: User
    beforeEach(async () => {
      await api.start({ DATABASE_URL: await databaseUrl() })
      admin = await api.signUpAdmin()
    })
    afterEach(() => api.stop())

    it('cannot leave, be demoted, disabled or deleted', async () => {
      const path = `${USERS}/${admin.id}`
      for (const request of [
        admin.patch(path).send({ role: 'user' }),
        admin.patch(path).send({ disabled: true }),
        admin.delete(path),
        admin.delete(ME).send({ current_password: PASSWORD }),
        admin.post(`${ME}/delete`).send({ current_password: PASSWORD }),
      ])
        expect(codeOf(await request.expect(409))).to.equal('last_admin')
      const other = await api.signUp()
      await admin.patch(`${USERS}/${other.id}`).send({ role: 'admin', disabled: true }).expect(200)
      expect(codeOf(await admin.patch(path).send({ role: 'user' }).expect(409))).to.equal('last_admin')
    })

    it('remains when two admins demote, disable or delete each other, or leave, concurrently', async () => {
      const attempts: Readonly<Record<string, (by: User, user: User) => ReturnType<User['get']>>> = {
        demote: (by, { id }) => by.patch(`${USERS}/${id}`).send({ role: 'user' }),
        disable: (by, { id }) => by.patch(`${USERS}/${id}`).send({ disabled: true }),
        delete: (by, { id }) => by.delete(`${USERS}/${id}`),
        leave: (by) => by.delete(ME).send({ current_password: PASSWORD }),
      }
      for (const [what, attempt] of Object.entries(attempts)) {
        const other = await api.signUp()
        await admin.patch(`${USERS}/${other.id}`).send({ role: 'admin' }).expect(200)
        const answers = await Promise.all([attempt(admin, other), attempt(other, admin)])
        const statuses = answers.map(({ status }) => status)
        // The second request fails: its sender has lost access, or is the last admin.
        expect(
          statuses.filter((status) => status < 300),
          `${what}: ${statuses}`,
        ).to.have.lengthOf(1)
        for (const { status } of answers) expect(status, what).to.be.oneOf([200, 204, 401, 404, 409])
        const admins = await Promise.all([admin, other].map((user) => user.get(USERS)))
        expect(admins.map(({ status }) => status === 200).filter(Boolean), what).to.have.lengthOf(1)
        admin = admins[0]?.status === 200 ? admin : other
      }
    })
  })
}

for (const { name, databaseUrl } of persistentSets) {
  describe(`Two instances (${name})`, () => {
    const [one, other] = [new Api(), new Api()]
    before(async () => {
      const url = await databaseUrl()
      await one.start({ DATABASE_URL: url })
      await other.start({ DATABASE_URL: url })
    })
    after(() => Promise.all([one.stop(), other.stop()]))

    it('keep one admin when two demote each other concurrently', async () => {
      const first = await one.signUpAdmin()
      for (let round = 0; round < 5; round++) {
        const second = await one.signUp()
        await first.patch(`${USERS}/${second.id}`).send({ role: 'admin' }).expect(200)
        const demote = (api: Api, { token }: User, { id }: User) =>
          api.patch(`${USERS}/${id}`).set('Authorization', `Bearer ${token}`).send({ role: 'user' })
        const answers = await Promise.all([demote(one, first, second), demote(other, second, first)])
        const statuses = answers.map(({ status }) => status)
        expect(
          statuses.filter((status) => status === 200),
          String(statuses),
        ).to.have.lengthOf(1)
        if (statuses[0] !== 200) await demoteBack(second, first)
      }
    })

    /** Makes `first` the only admin again. */
    async function demoteBack(admin: User, first: User): Promise<void> {
      await admin.patch(`${USERS}/${first.id}`).send({ role: 'admin' }).expect(200)
      await first.patch(`${USERS}/${admin.id}`).send({ role: 'user' }).expect(200)
    }

    it('return the same successor for one refresh token', async () => {
      const jane = await one.signUp()
      const body = { refresh_token: jane.refreshToken }
      const answers = await Promise.all(
        [one, other, one, other].map((api) => api.post('/api/v1/auth/refresh').send(body).expect(200)),
      )
      expect(new Set(answers.map((answer) => answer.body.refresh_token)).size).to.equal(1)
    })

    it('end a session that the other one has ended', async () => {
      const jane = await one.signUp()
      const request = () => other.get(ME).set('Authorization', `Bearer ${jane.token}`)
      for (let use = 0; use < 2; use++) await request().expect(200)
      await jane.delete(`${SESSIONS}/${(await jane.get(SESSIONS)).body[0].id}`).expect(204)
      await request().expect(401)
    })
  })
}
