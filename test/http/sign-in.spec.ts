import { expect } from 'chai'
import { toAddress } from '#src/domain/accounts/user.ts'
import { persistentSets, sqlite } from '#test/adapter-sets.ts'
import { noIdna } from '#test/builders.ts'
import { openRepositories } from '#test/contracts/repositories.ts'
import { Api, codeOf, describeApi, LOGIN, ME, mistakes, PASSWORD, REGISTER } from './api.ts'

const ASTRAL = '🙂'

describeApi('Accounts', (api) => {
  describe('Registration', () => {
    let last = 0
    const unusedEmail = () => `unused-${++last}@example.com`

    it('returns the user without the password', async () => {
      const email = unusedEmail()
      const { body } = await api.post(REGISTER).send({ email, password: PASSWORD }).expect(201)
      expect(body).to.have.all.keys('id', 'email', 'created_at', 'time_zone')
      expect(body).to.include({ email, time_zone: 'UTC' })
      expect(body.id).to.be.greaterThan(0)
      expect(body.created_at).to.match(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    })

    it('assigns ascending ids', async () => {
      const ids: number[] = []
      for (let count = 0; count < 3; count++) ids.push((await api.signUp()).id)
      expect(ids).to.deep.equal([...new Set(ids)].sort((a, b) => a - b))
    })

    it('normalises the address', async () => {
      const { body } = await api
        .post(REGISTER)
        .send({ email: ' \tJos\u0065\u0301.X@CAFE\u0301.Example\n', password: PASSWORD })
      expect(body.email).to.equal('Jos\u00e9.X@caf\u00e9.example')
    })

    it('returns 409 for a taken address in any equivalent spelling', async () => {
      const email = unusedEmail()
      await api.post(REGISTER).send({ email, password: PASSWORD }).expect(201)
      for (const spelling of [email, ` ${email}\n`, email.replace('example', 'EXAMPLE')]) {
        const answer = await api.post(REGISTER).send({ email: spelling, password: 'another password' }).expect(409)
        expect(codeOf(answer)).to.equal('email_taken')
      }
    })

    it('treats spellings that differ in case or in the form of the domain as one address', async () => {
      const spellings = [
        'Jane.Doe@b\u00fccher.example',
        'jane.doe@B\u00dcCHER.example',
        'JANE.DOE@xn--bcher-kva.example',
      ]
      const [first = '', ...others] = spellings
      const { body } = await api.post(REGISTER).send({ email: first, password: PASSWORD }).expect(201)
      expect(body.email).to.equal(first)
      for (const email of others) {
        const answer = await api.post(REGISTER).send({ email, password: PASSWORD }).expect(409)
        expect(codeOf(answer)).to.equal('email_taken')
        await api.post(LOGIN).send({ username: email, password: PASSWORD }).expect(200)
      }
    })

    it('returns 422 for a password that is the address, in any case', async () => {
      const email = unusedEmail()
      for (const password of [email, ` ${email.toUpperCase()} `]) {
        const answer = await api.post(REGISTER).send({ email, password }).expect(422)
        expect(mistakes(answer)).to.deep.equal(['/password: password_is_email'])
      }
    })

    const accepted = {
      'an apostrophe and a tag': "o'neil+tag@example.com",
      'Cyrillic letters': 'иван@пример.рф',
      'astral letters': '𝒳@𐐨.example',
      '320 characters': `${'a'.repeat(308)}@example.com`,
      '320 astral characters': `${'𐐀'.repeat(308)}@example.com`,
    }
    for (const [what, email] of Object.entries(accepted)) {
      it(`accepts an address with ${what}`, async () => {
        const { body } = await api.post(REGISTER).send({ email, password: PASSWORD }).expect(201)
        expect(body.email).to.equal(email)
        await api.post(LOGIN).send({ username: email, password: PASSWORD }).expect(200)
      })
    }

    const refused: Readonly<Record<string, readonly [body: object, ...mistakes: string[]]>> = {
      'an address without @': [{ email: 'jane.example.com' }, '/email: not_an_email'],
      'an address with a domain of one label': [{ email: 'jane@localhost' }, '/email: not_an_email'],
      'a label that begins with a hyphen': [{ email: 'jane@-a.example' }, '/email: not_an_email'],
      'a label that ends with a hyphen': [{ email: 'jane@a-.example' }, '/email: not_an_email'],
      'an address of 321 characters': [{ email: `${'a'.repeat(309)}@example.com` }, '/email: too_long'],
      'an address with NUL': [{ email: 'jane\0@example.com' }, '/email: malformed_text'],
      'an address with a lone surrogate': [{ email: 'jane\ud800@example.com' }, '/email: malformed_text'],
      'an address that is null': [{ email: null }, '/email: not_text'],
      'an address that is a list': [{ email: ['jane@example.com'] }, '/email: not_text'],
      'a password of 7 characters': [{ password: 'a'.repeat(7) }, '/password: too_short'],
      'a password of 7 astral characters': [{ password: ASTRAL.repeat(7) }, '/password: too_short'],
      'a password of 129 characters': [{ password: 'a'.repeat(129) }, '/password: too_long'],
      'a password with NUL': [{ password: 'password\0' }, '/password: malformed_text'],
      'a password with a lone surrogate': [{ password: 'password\udfff' }, '/password: malformed_text'],
      'a password that is a number': [{ password: 12345678 }, '/password: not_text'],
      'a password that is null': [{ password: null }, '/password: not_text'],
      'an invalid address and an invalid password': [
        { email: 1, password: 'a' },
        '/email: not_text',
        '/password: too_short',
      ],
      'an unknown member': [{ hashed_password: 'x' }, '/hashed_password: unknown'],
      'a member in another case': [{ Email: 'jane@example.com' }, '/Email: unknown'],
      'a member of the login request': [{ username: 'jane@example.com' }, '/username: unknown'],
    }
    for (const [what, [body, ...expected]] of Object.entries(refused)) {
      it(`returns 422 for ${what}`, async () => {
        const answer = await api
          .post(REGISTER)
          .send({ email: unusedEmail(), password: PASSWORD, ...body })
          .expect(422)
        expect(mistakes(answer)).to.have.members(expected)
      })
    }

    it('reports each missing member', async () => {
      expect(mistakes(await api.post(REGISTER).send({}).expect(422))).to.deep.equal([
        '/email: required',
        '/password: required',
      ])
    })

    it('ignores read-only members', async () => {
      const sent = {
        email: unusedEmail(),
        password: PASSWORD,
        id: 999_999,
        created_at: 'x',
        updated_at: null,
        owner_id: {},
      }
      const { body } = await api.post(REGISTER).send(sent).expect(201)
      expect(body.id).to.not.equal(999_999)
      expect(body.created_at).to.not.equal('x')
    })

    it('returns 422 for a query parameter', async () => {
      const answer = await api.post(`${REGISTER}?x=1`).send({ email: unusedEmail(), password: PASSWORD }).expect(422)
      expect(mistakes(answer)).to.deep.equal(['?x: unknown'])
    })
  })

  describe('Login', () => {
    it('returns a bearer token and its lifetime with Cache-Control: no-store', async () => {
      const { email } = await api.signUp()
      const answer = await api.post(LOGIN).send({ username: email, password: PASSWORD }).expect(200)
      expect(answer.body).to.have.all.keys(
        ...['access_token', 'token_type', 'expires_in', 'refresh_token', 'refresh_expires_in'],
      )
      expect(answer.body).to.include({ token_type: 'bearer', expires_in: 3_600 })
      expect(answer.body.refresh_expires_in).to.be.within(30 * 86_400 - 9, 30 * 86_400)
      expect(answer.headers['cache-control']).to.equal('no-store')
    })

    it('issues a token whose only claims are sub, sid, iat and exp', async () => {
      const { id, email } = await api.signUp()
      const { body } = await api.post(LOGIN).send({ username: email, password: PASSWORD })
      const claims = JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url').toString())
      expect(claims).to.have.all.keys('sub', 'sid', 'iat', 'exp')
      expect(claims.sub).to.equal(String(id))
      expect(claims.sid).to.match(/^[1-9]\d*$/)
      expect(claims.exp - claims.iat).to.equal(3_600)
    })

    it('accepts the password grant of OAuth 2.0 as a form, with its optional fields', async () => {
      const { email } = await api.signUp()
      const oauth = { grant_type: 'password', scope: 'a b', client_id: 'x', client_secret: 'y' }
      await api.post(LOGIN).type('form').send({ username: email, password: PASSWORD }).expect(200)
      await api
        .post(LOGIN)
        .type('form')
        .send({ username: email, password: PASSWORD, ...oauth })
        .expect(200)
    })

    it('accepts JSON, with any values in the OAuth members it ignores', async () => {
      const { email } = await api.signUp()
      const oauth = { grant_type: 'other', scope: ['a'], client_id: null, client_secret: { a: 1 } }
      await api
        .post(LOGIN)
        .send({ username: email, password: PASSWORD, ...oauth })
        .expect(200)
    })

    it('decodes + and percent-encoding in a form', async () => {
      const email = 'form+tag@example.com'
      const password = 'a + b & c = 100% 🙂'
      await api.post(REGISTER).send({ email, password }).expect(201)
      await api.post(LOGIN).type('form').send({ username: email, password }).expect(200)
      const body = 'username=form%2Btag%40example.com&password=a+%2B+b+%26+c+%3D+100%25+%F0%9F%99%82'
      const answer = await api.raw({
        method: 'POST',
        path: LOGIN,
        headers: { 'content-type': 'application/x-www-form-urlencoded; charset=UTF-8' },
        body,
      })
      expect(answer.status).to.equal(200)
    })

    it('normalises the address', async () => {
      const { email } = await api.signUp()
      for (const username of [` ${email} `, email.replace('example.com', 'Example.COM')])
        await api.post(LOGIN).send({ username, password: PASSWORD }).expect(200)
    })

    it('returns the same 401 for a wrong password and for an unknown address', async () => {
      const { email } = await api.signUp()
      const wrong = await api.post(LOGIN).send({ username: email, password: 'wrong password' }).expect(401)
      const unknown = await api.post(LOGIN).send({ username: 'unknown@example.com', password: PASSWORD }).expect(401)
      expect(codeOf(wrong)).to.equal('invalid_credentials')
      expect(wrong.body).to.deep.equal(unknown.body)
      expect(wrong.headers['www-authenticate']).to.equal(unknown.headers['www-authenticate'])
      expect(wrong.headers['www-authenticate']).to.match(/^Bearer\b/)
    })

    it('returns 401, not 422, for texts that cannot be registered', async () => {
      const pairs = [
        ['', ''],
        ['unknown', 'x'],
        ['a'.repeat(400), 'b'.repeat(400)],
        ['a@b@c', ASTRAL.repeat(500)],
        ['\u202e', '\t'],
      ]
      for (const [username, password] of pairs) {
        await api.post(LOGIN).send({ username, password }).expect(401)
        await api.post(LOGIN).type('form').send({ username, password }).expect(401)
      }
    })

    it('distinguishes passwords that differ only after byte 72', async () => {
      const email = 'long@example.com'
      const start = 'a'.repeat(72)
      await api
        .post(REGISTER)
        .send({ email, password: `${start}x` })
        .expect(201)
      await api
        .post(LOGIN)
        .send({ username: email, password: `${start}x` })
        .expect(200)
      for (const password of [`${start}y`, start, `${start}xx`])
        await api.post(LOGIN).send({ username: email, password }).expect(401)
    })

    it('distinguishes passwords that differ in case or blanks, but not in Unicode composition', async () => {
      const email = 'exact@example.com'
      await api.post(REGISTER).send({ email, password: ' Caf\u00e9 Caf\u00e9 ' }).expect(201)
      for (const password of ['Caf\u00e9 Caf\u00e9', ' caf\u00e9 caf\u00e9 '])
        await api.post(LOGIN).send({ username: email, password }).expect(401)
      await api.post(LOGIN).send({ username: email, password: ' Cafe\u0301 Cafe\u0301 ' }).expect(200)
    })

    it('accepts a password of 128 astral characters', async () => {
      const email = 'astral@example.com'
      const password = ASTRAL.repeat(128)
      await api.post(REGISTER).send({ email, password }).expect(201)
      await api.post(LOGIN).send({ username: email, password }).expect(200)
      await api.post(LOGIN).type('form').send({ username: email, password }).expect(200)
      await api
        .post(LOGIN)
        .send({ username: email, password: ASTRAL.repeat(127) })
        .expect(401)
    })

    it('ignores an Authorization header, as registration does', async () => {
      const jane = await api.signUp()
      for (const authorization of ['Bearer nonsense', 'Basic amFuZTpzZWNyZXQ=', `Bearer ${jane.token}`, 'x']) {
        const login = api.post(LOGIN).set('Authorization', authorization)
        await login.send({ username: jane.email, password: PASSWORD }).expect(200)
        const register = api.post(REGISTER).set('Authorization', authorization)
        await register.send({ email: jane.email, password: PASSWORD }).expect(409)
      }
    })

    it('returns 422 for an unknown JSON member', async () => {
      const answer = await api.post(LOGIN).send({ username: 'a', password: 'b', remember: true }).expect(422)
      expect(mistakes(answer)).to.deep.equal(['/remember: unknown'])
    })

    const refused: Readonly<Record<string, readonly [body: object, ...mistakes: string[]]>> = {
      'missing members': [{}, '/username: required', '/password: required'],
      'a missing password': [{ username: 'a' }, '/password: required'],
      NUL: [{ username: 'a\0', password: '\0' }, '/username: malformed_text', '/password: malformed_text'],
    }
    for (const [what, [body, ...expected]] of Object.entries(refused)) {
      it(`returns 422 for ${what}, in JSON and in a form`, async () => {
        expect(mistakes(await api.post(LOGIN).send(body).expect(422))).to.have.members(expected)
        const form = new URLSearchParams(body as Record<string, string>).toString()
        const answer = await api.raw({
          method: 'POST',
          path: LOGIN,
          headers: { 'content-type': 'application/x-www-form-urlencoded' },
          body: form,
        })
        expect(answer.status).to.equal(422)
        expect(mistakes(answer)).to.have.members(expected)
      })
    }

    it('returns 422 for members that are not strings and for lone surrogates', async () => {
      const pairs = [
        [1, null],
        [['a'], { a: 1 }],
        [true, false],
      ]
      for (const [username, password] of pairs) {
        const answer = await api.post(LOGIN).send({ username, password }).expect(422)
        expect(mistakes(answer)).to.have.members(['/username: not_text', '/password: not_text'])
      }
      const answer = await api.post(LOGIN).send({ username: '\ud800', password: 'a\udfff' }).expect(422)
      expect(mistakes(answer)).to.have.members(['/username: malformed_text', '/password: malformed_text'])
    })

    it('returns 422 for a repeated form field', async () => {
      const answer = await api.post(LOGIN).type('form').send('username=a&password=b&username=c').expect(422)
      expect(mistakes(answer)).to.deep.equal(['/username: repeated'])
    })
  })

  describe('GET /auth/me', () => {
    it('returns the user named by the token', async () => {
      const jane = await api.signUp()
      const { body } = await jane.get(ME).expect(200)
      expect(body).to.have.all.keys('id', 'email', 'created_at', 'time_zone')
      expect(body).to.include({ id: jane.id, email: jane.email })
    })

    it('returns the right user to each of eight concurrent requests', async () => {
      const users = await Promise.all(Array.from({ length: 8 }, () => api.signUp()))
      const answers = await Promise.all(users.map((user) => user.get(ME).expect(200)))
      expect(answers.map(({ body }) => body.email)).to.deep.equal(users.map(({ email }) => email))
    })

    it('returns 422 for a query parameter', async () => {
      const jane = await api.signUp()
      expect(mistakes(await jane.get(`${ME}?full=1`).expect(422))).to.deep.equal(['?full: unknown'])
    })
  })
})

describe('A login after BCRYPT_ROUNDS was raised', () => {
  for (const { name, databaseUrl } of persistentSets) {
    it(`rehashes the password once (${name})`, async () => {
      const url = await databaseUrl()
      const start = async (BCRYPT_ROUNDS: string) => {
        const api = new Api()
        await api.start({ DATABASE_URL: url, BCRYPT_ROUNDS })
        return api
      }
      const before = await start('4')
      const { email } = await before.signUp().finally(() => before.stop())
      const repositories = await openRepositories(url)
      const after = await start('5')
      const storedHash = async () =>
        (await repositories.users.findByEmail(toAddress(email, noIdna)))?.snapshot().hashedPassword
      const logIn = (password: string) => after.post(LOGIN).send({ username: email, password })
      try {
        await logIn('wrong').expect(401)
        expect(await storedHash()).to.match(/^\$2b\$04\$/)
        await logIn(PASSWORD).expect(200)
        const renewed = await storedHash()
        expect(renewed).to.match(/^\$2b\$05\$/)
        await logIn(PASSWORD).expect(200)
        expect(await storedHash()).to.equal(renewed)
      } finally {
        await repositories.close()
        await after.stop()
      }
    })
  }
})

describe('A setting of the operator', () => {
  const api = new Api()
  afterEach(() => api.stop())

  it('closes registration, which returns 403, while existing users can log in', async () => {
    const url = await sqlite.databaseUrl()
    await api.start({ DATABASE_URL: url })
    const jane = await api.signUp()
    await api.stop()
    await api.start({ DATABASE_URL: url, REGISTRATION_ENABLED: 'false' })
    const body = { email: 'john@example.com', password: PASSWORD }
    expect(codeOf(await api.post(REGISTER).send(body).expect(403))).to.equal('registration_disabled')
    expect(
      codeOf(
        await api
          .post(REGISTER)
          .send({ ...body, email: jane.email })
          .expect(403),
      ),
    ).to.equal('registration_disabled')
    await api.logIn(jane)
  })

  it('refuses common and short passwords with 422, at registration and at a change', async () => {
    await api.start({ DATABASE_URL: 'memory:', REFUSE_COMMON_PASSWORDS: 'true', PASSWORD_MIN_LENGTH: '10' })
    const jane = await api.signUp()
    const refused = { password123: 'password_too_common', '123456789': 'too_short' }
    for (const [password, code] of Object.entries(refused)) {
      const body = { email: 'john@example.com', password }
      expect(mistakes(await api.post(REGISTER).send(body).expect(422))).to.deep.equal([`/password: ${code}`])
      const change = { password, current_password: PASSWORD }
      expect(mistakes(await jane.patch(ME).send(change).expect(422))).to.deep.equal([`/password: ${code}`])
    }
    const { NewUser, AccountChanges } = api.document.components.schemas
    for (const schema of [NewUser, AccountChanges])
      expect(schema).to.have.nested.property('properties.password.minLength', 10)
  })
})
