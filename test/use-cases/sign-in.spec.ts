import { mock } from 'node:test'
import { expect } from 'chai'
import { SignIn, type TokenPair } from '#src/domain/accounts/sign-in.ts'
import {
  EmailAlreadyTaken,
  InvalidCredentials,
  InvalidGrant,
  InvalidToken,
  Overloaded,
  RegistrationDisabled,
  StoreUnavailable,
  TooManyRequests,
} from '#src/domain/errors.ts'
import { anApiTokenDraft, aRequester, aSession, aUserDraft } from '#test/builders.ts'
import { violationsOf } from '#test/domain/violations.ts'
import { fakePorts, policy } from './fakes.ts'
import { rejection } from './rejections.ts'

const client = aRequester()
const jane = { email: 'jane@example.com', password: 'correct horse' }

/** Values that a caller may send despite the types. */
const pair = (email: unknown, password: unknown) => ({ email: email as string, password: password as string })

describe('Signing in', () => {
  let ports: ReturnType<typeof fakePorts>
  let signIn: SignIn

  beforeEach(() => {
    ports = fakePorts()
    signIn = new SignIn(ports, policy)
  })

  describe('registering', () => {
    it('stores a user with the normalised address, the hash of the password and the time', async () => {
      const user = await signIn.register({ ...jane, email: ' Jane@EXAMPLE.com ' }, client)
      expect(user.snapshot()).to.deep.equal({
        id: 1,
        email: 'Jane@example.com',
        emailKey: 'jane@example.com',
        hashedPassword: 'hash 1 of correct horse',
        role: 'user',
        disabled: false,
        timeZone: 'UTC',
        createdAt: ports.clock.time,
      })
      expect((await ports.users.findById(1))?.snapshot()).to.deep.equal(user.snapshot())
      expect(ports.audit.events).to.deep.equal([
        { event: 'registered', userId: 1, clientNetwork: client.clientNetwork },
      ])
    })

    it('refuses a registered address in any spelling', async () => {
      await signIn.register(jane, client)
      for (const email of ['jane@example.com', ' jane@example.com', 'jane@EXAMPLE.com', 'Jane@example.com'])
        expect(await rejection(signIn.register({ ...jane, email }, client))).to.be.instanceOf(EmailAlreadyTaken)
    })

    it('refuses the address and common passwords as a password, and every password while it is closed', async () => {
      for (const [password, violation] of [
        ['JANE@example.com', 'password: password_is_email'],
        ['password123', 'password: password_too_common'],
      ] as const)
        expect(await violationsOf(signIn.register({ ...jane, password }, client))).to.deep.equal([violation])
      const closed = new SignIn(ports, { ...policy, registrationEnabled: false })
      expect(await rejection(closed.register(pair(null, null), client))).to.be.instanceOf(RegistrationDisabled)
    })

    it('refuses a password shorter than the minimum of the operator', async () => {
      const strict = new SignIn(ports, { ...policy, passwordMinLength: 15 })
      expect(await violationsOf(strict.register(jane, client))).to.deep.equal(['password: too_short'])
    })

    it('registers an address once for concurrent requests', async () => {
      const attempts = await Promise.allSettled(Array.from({ length: 20 }, () => signIn.register(jane, client)))
      expect(attempts.filter(({ status }) => status === 'fulfilled')).to.have.length(1)
    })

    it('names every member that breaks its rule and stores no user', async () => {
      expect(await violationsOf(signIn.register(pair('no address', 'short'), client))).to.deep.equal([
        'email: not_an_email',
        'password: too_short',
      ])
      expect(await violationsOf(signIn.register(pair(null, 7), client))).to.deep.equal([
        'email: not_text',
        'password: not_text',
      ])
      expect(await ports.users.findById(1)).to.equal(undefined)
    })

    it('ignores an id from the caller', async () => {
      const sent = { ...jane, id: 99, createdAt: new Date(0), hashedPassword: 'mine' }
      const { id, createdAt, hashedPassword } = (await signIn.register(sent, client)).snapshot()
      expect({ id, createdAt, hashedPassword }).to.deep.equal({
        id: 1,
        createdAt: ports.clock.time,
        hashedPassword: 'hash 1 of correct horse',
      })
    })
  })

  describe('logging in', () => {
    it('issues a token that names the user', async () => {
      await signIn.register({ ...jane, email: 'john@example.com' }, client)
      await signIn.register(jane, client)
      const { access, refreshExpiresIn } = await signIn.logIn(jane, client)
      expect(ports.tokens.verify(access.token)).to.deep.include({ userId: 2, sessionId: 1 })
      expect(access.expiresIn).to.equal(3_600)
      expect(refreshExpiresIn).to.equal(30 * 24 * 3_600)
    })

    it('rounds the rest of the session up to whole seconds', async () => {
      await signIn.register(jane, client)
      const { sessions, clock } = ports
      const start = mock.method(sessions, 'start', async (...given: Parameters<typeof sessions.start>) => {
        start.mock.restore()
        const session = await sessions.start(...given)
        clock.move(0.002)
        return session
      })
      expect((await signIn.logIn(jane, client)).refreshExpiresIn).to.equal(30 * 24 * 3_600)
    })

    it('starts a session each time, with the user agent of the client', async () => {
      await signIn.register(jane, client)
      for (const userAgent of ['curl/8', undefined]) await signIn.logIn(jane, aRequester({ userAgent }))
      const sessions = (await ports.sessions.list(1)).map((session) => session.snapshot())
      expect(sessions.map(({ id, userAgent, counter }) => ({ id, userAgent, counter }))).to.deep.equal([
        { id: 2, userAgent: null, counter: 0 },
        { id: 1, userAgent: 'curl/8', counter: 0 },
      ])
    })

    it('finds the exact spelling of an address before another account with its key', async () => {
      await ports.users.add(aUserDraft({ email: 'jane@example.com', hashedPassword: 'hash 1 of first' }))
      await ports.users.add(
        aUserDraft({ email: 'Jane@example.com', emailKey: null, hashedPassword: 'hash 1 of second' }),
      )
      const userOf = async (email: string, password: string) =>
        ports.tokens.verify((await signIn.logIn({ email, password }, client)).access.token).userId
      expect(await userOf('jane@example.com', 'first')).to.equal(1)
      expect(await userOf('JANE@example.com', 'first')).to.equal(1)
      expect(await userOf('Jane@example.com', 'second')).to.equal(2)
    })

    it('refuses a disabled user like a wrong password', async () => {
      await ports.users.add(aUserDraft({ disabled: true, hashedPassword: 'hash 1 of correct horse' }))
      expect(await rejection(signIn.logIn(jane, client))).to.be.instanceOf(InvalidCredentials)
      expect(ports.passwordHasher.verified).to.deep.equal(['hash 1 of correct horse'])
      expect(await ports.sessions.list(1)).to.deep.equal([])
    })

    it('starts no session with a password that is changed after it was verified', async () => {
      await signIn.register(jane, client)
      const { sessions, users } = ports
      const start = mock.method(sessions, 'start', async (...given: Parameters<typeof sessions.start>) => {
        start.mock.restore()
        await users.write(1, (user) => ({ save: user.withPassword('hash 2 of other horse') }))
        return sessions.start(...given)
      })
      expect(await rejection(signIn.logIn(jane, client))).to.be.instanceOf(InvalidCredentials)
      expect(await sessions.list(1)).to.deep.equal([])
    })

    it('records who logged in and which login was refused, without an address', async () => {
      await signIn.register(jane, client)
      await signIn.logIn(jane, client)
      await rejection(signIn.logIn({ ...jane, password: 'wrong horse' }, client))
      await rejection(signIn.logIn({ ...jane, email: 'john@example.com' }, client))
      const { clientNetwork } = client
      expect(ports.audit.events.slice(1)).to.deep.equal([
        { event: 'logged_in', userId: 1, sessionId: 1, clientNetwork },
        { event: 'login_refused', userId: 1, clientNetwork },
        { event: 'login_refused', userId: undefined, clientNetwork },
      ])
    })

    it('finds the address in any spelling', async () => {
      await signIn.register(jane, client)
      for (const email of ['\tjane@example.com ', 'jane@Example.COM', 'JANE@example.com'])
        expect(ports.tokens.verify((await signIn.logIn({ ...jane, email }, client)).access.token).userId).to.equal(1)
    })

    it('refuses a wrong password and an unknown address with the same error', async () => {
      await signIn.register(jane, client)
      const wrong = await rejection(signIn.logIn({ ...jane, password: 'wrong horse' }, client))
      const unknown = await rejection(signIn.logIn({ ...jane, email: 'john@example.com' }, client))
      expect(wrong).to.be.instanceOf(InvalidCredentials)
      expect(unknown).to.be.instanceOf(InvalidCredentials)
      expect((wrong as Error).message).to.equal((unknown as Error).message)
    })

    it('verifies a password even if there is no such address, so that both take the same time', async () => {
      await signIn.register(jane, client)
      await rejection(signIn.logIn({ ...jane, password: 'wrong horse' }, client))
      await rejection(signIn.logIn({ ...jane, email: 'john@example.com' }, client))
      expect(ports.passwordHasher.verified).to.deep.equal(['hash 1 of correct horse', undefined])
    })

    it('treats texts that no account can have as wrong credentials', async () => {
      for (const [email, password] of [
        ['', ''],
        ['no address', 'short'],
        ['a'.repeat(999), 'b'.repeat(999)],
      ])
        expect(await rejection(signIn.logIn(pair(email, password), client))).to.be.instanceOf(InvalidCredentials)
    })

    it('accepts an account stored under older rules', async () => {
      await ports.users.add(aUserDraft({ email: 'root', hashedPassword: 'hash 1 of toor' }))
      const { access } = await signIn.logIn({ email: 'root', password: 'toor' }, client)
      expect(ports.tokens.verify(access.token).userId).to.equal(1)
    })

    it('replaces an outdated hash only if the password is correct', async () => {
      await ports.users.add(aUserDraft({ hashedPassword: 'weak hash 1 of correct horse' }))
      await rejection(signIn.logIn({ ...jane, password: 'wrong horse' }, client))
      expect((await ports.users.findById(1))?.snapshot().hashedPassword).to.equal('weak hash 1 of correct horse')
      for (let logins = 0; logins < 2; logins++) {
        await signIn.logIn(jane, client)
        expect((await ports.users.findById(1))?.snapshot().hashedPassword).to.equal('hash 1 of correct horse')
      }
    })

    it('replaces no hash if the throttle refuses the login afterwards', async () => {
      await ports.users.add(aUserDraft({ hashedPassword: 'weak hash 1 of correct horse' }))
      ports.loginThrottle.lateRefusal = new TooManyRequests(60)
      expect(await rejection(signIn.logIn(jane, client))).to.equal(ports.loginThrottle.lateRefusal)
      expect((await ports.users.findById(1))?.snapshot().hashedPassword).to.equal('weak hash 1 of correct horse')
    })

    it('succeeds even if an outdated hash cannot be replaced', async () => {
      await ports.users.add(aUserDraft({ hashedPassword: 'weak hash 1 of correct horse' }))
      for (const failing of [
        () => mock.method(ports.passwordHasher, 'hash', () => Promise.reject(new Overloaded())),
        () =>
          mock.method(ports.users, 'replaceHash', () => Promise.reject(new StoreUnavailable(new Error('read-only')))),
      ]) {
        const failure = failing()
        expect(ports.tokens.verify((await signIn.logIn(jane, client)).access.token).userId).to.equal(1)
        expect(failure.mock.callCount()).to.equal(1)
        failure.mock.restore()
      }
    })

    it('fails if replacing an outdated hash throws an unexpected error', async () => {
      await ports.users.add(aUserDraft({ hashedPassword: 'weak hash 1 of correct horse' }))
      const bug = new TypeError('a bug')
      mock.method(ports.users, 'replaceHash', () => Promise.reject(bug))
      expect(await rejection(signIn.logIn(jane, client))).to.equal(bug)
    })

    it('refuses values that are not text before any lookup or hashing', async () => {
      expect(await violationsOf(signIn.logIn(pair(undefined, '\0'), client))).to.deep.equal([
        'email: not_text',
        'password: malformed_text',
      ])
      expect(ports.passwordHasher.verified).to.deep.equal([])
    })
  })

  describe('throttling logins', () => {
    it('counts a login for the normalised address and the client network', async () => {
      await signIn.register(jane, client)
      await signIn.logIn({ ...jane, email: ' jane@EXAMPLE.com ' }, client)
      await rejection(signIn.logIn({ ...jane, password: 'wrong horse' }, aRequester({ clientNetwork: '198.51.100.7' })))
      expect(ports.loginThrottle.attempts).to.deep.equal([
        { email: jane.email, clientNetwork: client.clientNetwork },
        { email: jane.email, clientNetwork: '198.51.100.7' },
      ])
    })

    it('clears no failures of the account that owns the key when another account with it logs in', async () => {
      await ports.users.add(aUserDraft({ email: 'jane@example.com', hashedPassword: 'hash 1 of first' }))
      await ports.users.add(
        aUserDraft({ email: 'Jane@example.com', emailKey: null, hashedPassword: 'hash 1 of second' }),
      )
      await signIn.logIn({ email: 'Jane@example.com', password: 'second' }, client)
      expect(ports.loginThrottle.cleared).to.deep.equal([])
      await signIn.logIn({ email: 'jane@example.com', password: 'first' }, client)
      expect(ports.loginThrottle.cleared).to.deep.equal(['jane@example.com'])
      expect(ports.loginThrottle.attempts.map(({ email }) => email)).to.deep.equal(Array(2).fill('jane@example.com'))
    })

    it('counts an address longer than any account’s under the empty address, and still verifies the password', async () => {
      await signIn.register(jane, client)
      for (const email of ['\u0301\u0323'.repeat(100_000), ` ${'a'.repeat(5_000)}@example.com`])
        expect(await rejection(signIn.logIn({ ...jane, email }, client))).to.be.instanceOf(InvalidCredentials)
      expect(ports.loginThrottle.attempts).to.deep.equal([
        { email: '', clientNetwork: client.clientNetwork },
        { email: '', clientNetwork: client.clientNetwork },
      ])
      expect(ports.passwordHasher.verified).to.deep.equal([undefined, undefined])
    })

    it('counts a password longer than any account’s as a failed login to the account', async () => {
      await signIn.register(jane, client)
      const password = jane.password.padEnd(1_000)
      expect(await rejection(signIn.logIn({ ...jane, password }, client))).to.be.instanceOf(InvalidCredentials)
      expect(ports.loginThrottle.attempts).to.deep.equal([{ email: jane.email, clientNetwork: client.clientNetwork }])
      expect(ports.passwordHasher.verified).to.deep.equal(['hash 1 of correct horse'])
    })

    it('looks up no user and verifies no password for a refused login', async () => {
      await signIn.register(jane, client)
      ports.loginThrottle.refusal = new TooManyRequests(60)
      expect(await rejection(signIn.logIn(jane, client))).to.equal(ports.loginThrottle.refusal)
      expect(ports.passwordHasher.verified).to.deep.equal([])
    })

    it('does not count values that are not text', async () => {
      await violationsOf(signIn.logIn(pair(undefined, '\0'), client))
      expect(ports.loginThrottle.attempts).to.deep.equal([])
    })
  })

  describe('refreshing', () => {
    const refreshed = (token: string) => signIn.refresh(token, client)

    beforeEach(async () => {
      await signIn.register(jane, client)
    })

    it('exchanges the token for a new pair of the same session', async () => {
      const first = await signIn.logIn(jane, client)
      ports.clock.move(60)
      const second = await refreshed(first.refreshToken)
      expect(second.refreshToken).to.not.equal(first.refreshToken)
      expect(ports.tokens.verify(second.access.token)).to.deep.include({ userId: 1, sessionId: 1 })
      expect(second.refreshExpiresIn).to.equal(30 * 24 * 3_600)
      const third = await refreshed(second.refreshToken)
      expect(third.refreshToken).to.not.equal(second.refreshToken)
    })

    it('yields the same successor to concurrent requests', async () => {
      const { refreshToken } = await signIn.logIn(jane, client)
      const [one, two] = await Promise.all([refreshed(refreshToken), refreshed(refreshToken)])
      expect(one.refreshToken).to.equal(two.refreshToken)
      await refreshed(one.refreshToken)
    })

    it('yields the same successor within the grace time', async () => {
      const { refreshToken } = await signIn.logIn(jane, client)
      const first = await refreshed(refreshToken)
      ports.clock.move(10)
      expect((await refreshed(refreshToken)).refreshToken).to.equal(first.refreshToken)
    })

    it('ends the session when a stolen token is replayed later', async () => {
      const { refreshToken, access } = await signIn.logIn(jane, client)
      const { refreshToken: successor } = await refreshed(refreshToken)
      ports.clock.move(11)
      expect(await rejection(refreshed(refreshToken))).to.be.instanceOf(InvalidGrant)
      expect(await rejection(refreshed(successor))).to.be.instanceOf(InvalidGrant)
      expect(await rejection(signIn.authenticate(access.token))).to.be.instanceOf(InvalidToken)
      expect(ports.changeSignal.raised).to.deep.equal([1])
      expect(ports.audit.events.at(-1)).to.deep.equal({
        event: 'refresh_reused',
        userId: 1,
        sessionId: 1,
        clientNetwork: client.clientNetwork,
      })
    })

    it('changes nothing for a token that was not issued', async () => {
      const { refreshToken } = await signIn.logIn(jane, client)
      for (const token of ['', 'nonsense', 'refresh 1/2 0 secret 1', 'refresh 2/1 0 secret 1'])
        expect(await rejection(refreshed(token))).to.be.instanceOf(InvalidGrant)
      await refreshed(refreshToken)
    })

    it('is refused to a disabled user, and once the session has expired or ended', async () => {
      const { refreshToken } = await signIn.logIn(jane, client)
      await ports.users.write(1, (user) => ({ save: user.administer({ disabled: true }, 0) }))
      expect(await rejection(refreshed(refreshToken))).to.be.instanceOf(InvalidGrant)
      await ports.users.write(1, (user) => ({ save: user.administer({ disabled: false }, 0) }))
      await signIn.revoke((await refreshed(refreshToken)).refreshToken, client)
      expect(await rejection(refreshed(refreshToken))).to.be.instanceOf(InvalidGrant)
      const another = await signIn.logIn(jane, client)
      ports.clock.move(30 * 24 * 3_600)
      expect(await rejection(refreshed(another.refreshToken))).to.be.instanceOf(InvalidGrant)
    })
  })

  describe('revoking', () => {
    beforeEach(async () => {
      await signIn.register(jane, client)
    })

    it('ends the session of a refresh token or an access token, and no other one', async () => {
      const other = await signIn.logIn(jane, client)
      for (const tokenOf of [({ refreshToken }: TokenPair) => refreshToken, ({ access }: TokenPair) => access.token]) {
        const pair = await signIn.logIn(jane, client)
        await signIn.revoke(tokenOf(pair), client)
        expect(await rejection(signIn.authenticate(pair.access.token))).to.be.instanceOf(InvalidToken)
        expect(await rejection(signIn.refresh(pair.refreshToken, client))).to.be.instanceOf(InvalidGrant)
      }
      await signIn.authenticate(other.access.token)
      expect(ports.changeSignal.raised).to.deep.equal([1, 1])
    })

    it('ends the session of a token that has been rotated', async () => {
      const { refreshToken } = await signIn.logIn(jane, client)
      const successor = await signIn.refresh(refreshToken, client)
      await signIn.revoke(refreshToken, client)
      expect(await rejection(signIn.authenticate(successor.access.token))).to.be.instanceOf(InvalidToken)
    })

    it('removes an API token if its secret is right', async () => {
      const { apiTokens, apiTokenService } = ports
      const secret = apiTokenService.newSecret()
      const apiToken = await apiTokens.add(anApiTokenDraft({ tokenHash: secret.hash }))
      const token = apiTokenService.issue(apiToken, secret)
      await signIn.revoke(apiTokenService.issue(apiToken, apiTokenService.newSecret()), client)
      await signIn.authenticate(token)
      await signIn.revoke(token, client)
      expect(await rejection(signIn.authenticate(token))).to.be.instanceOf(InvalidToken)
      expect(ports.audit.events.at(-1)).to.deep.include({ event: 'api_token_revoked', userId: 1, apiTokenId: 1 })
    })

    it('does nothing for any other text', async () => {
      const { access } = await signIn.logIn(jane, client)
      for (const token of [
        '',
        'nonsense',
        'tma 1/9 secret 1',
        'refresh 1/9 0 secret 1',
        ports.tokens.withoutSession(1),
      ])
        await signIn.revoke(token, client)
      await signIn.authenticate(access.token)
      expect(ports.changeSignal.raised).to.deep.equal([])
    })
  })

  describe('authenticating', () => {
    it('finds the user and the session of an access token', async () => {
      const user = await signIn.register(jane, client)
      const { access } = await signIn.logIn(jane, client)
      expect(await signIn.authenticate(access.token)).to.deep.equal({
        user: user.snapshot(),
        credential: { kind: 'session', sessionId: 1 },
      })
    })

    it('accepts a token that was issued before there were sessions, and one without its time of issue', async () => {
      const user = await signIn.register(jane, client)
      for (const token of [ports.tokens.withoutSession(1), ports.tokens.withoutIssue(1)])
        expect(await signIn.authenticate(token)).to.deep.equal({
          user: user.snapshot(),
          credential: { kind: 'session', sessionId: undefined },
        })
    })

    it('finds the user and the scopes of an API token', async () => {
      const user = await signIn.register(jane, client)
      const secret = ports.apiTokenService.newSecret()
      const apiToken = await ports.apiTokens.add(anApiTokenDraft({ tokenHash: secret.hash }))
      expect(await signIn.authenticate(ports.apiTokenService.issue(apiToken, secret))).to.deep.equal({
        user: user.snapshot(),
        credential: { kind: 'api-token', tokenId: 1, scopes: ['tasks:read'] },
      })
    })

    it('refuses a token that was issued more than 10 s before its user was created', async () => {
      const issued = new Date('2026-01-31T09:30:00.900Z')
      const created = { [jane.email]: '2026-01-31T09:30:10.999Z', 'john@example.com': '2026-01-31T09:30:11.000Z' }
      for (const [email, time] of Object.entries(created)) {
        ports.clock.time = new Date(time)
        await signIn.register({ ...jane, email }, client)
      }
      ports.clock.time = issued
      expect((await signIn.authenticate(ports.tokens.withoutSession(1))).user.id).to.equal(1)
      expect(await rejection(signIn.authenticate(ports.tokens.withoutSession(2)))).to.be.instanceOf(InvalidToken)
    })

    it('refuses an invalid token, and one of a missing user or session', async () => {
      await signIn.register(jane, client)
      await signIn.register({ ...jane, email: 'john@example.com' }, client)
      await signIn.logIn(jane, client)
      const { tokens } = ports
      const missing = [
        tokens.withoutSession(99),
        tokens.issue(aSession({ id: 9 })),
        tokens.issue(aSession({ ownerId: 2 })),
      ]
      for (const token of ['', 'nonsense', ...missing.map((each) => (typeof each === 'string' ? each : each.token))])
        expect(await rejection(signIn.authenticate(token))).to.be.instanceOf(InvalidToken)
    })

    it('refuses each token of a disabled user', async () => {
      await signIn.register(jane, client)
      const { access } = await signIn.logIn(jane, client)
      const secret = ports.apiTokenService.newSecret()
      const apiToken = await ports.apiTokens.add(anApiTokenDraft({ tokenHash: secret.hash }))
      await ports.users.write(1, (user) => ({ save: user.administer({ disabled: true }, 0) }))
      const tokens = [access.token, ports.tokens.withoutSession(1), ports.apiTokenService.issue(apiToken, secret)]
      for (const token of tokens) expect(await rejection(signIn.authenticate(token))).to.be.instanceOf(InvalidToken)
    })

    it('refuses a token of an expired session', async () => {
      await signIn.register(jane, client)
      await signIn.logIn(jane, client)
      ports.clock.move(30 * 24 * 3_600)
      const { token } = ports.tokens.issue(aSession())
      expect(await rejection(signIn.authenticate(token))).to.be.instanceOf(InvalidToken)
    })

    it('refuses an API token that has expired or has a wrong secret', async () => {
      await signIn.register(jane, client)
      const { apiTokenService, apiTokens, clock } = ports
      const secret = apiTokenService.newSecret()
      const expiresAt = new Date(clock.time.getTime() + 1_000)
      const apiToken = await apiTokens.add(anApiTokenDraft({ tokenHash: secret.hash, expiresAt }))
      const other = apiTokenService.issue(apiToken, apiTokenService.newSecret())
      expect(await rejection(signIn.authenticate(other))).to.be.instanceOf(InvalidToken)
      const token = apiTokenService.issue(apiToken, secret)
      await signIn.authenticate(token)
      clock.move(1)
      expect(await rejection(signIn.authenticate(token))).to.be.instanceOf(InvalidToken)
    })

    it('records the use of a session at most once a minute, and not twice concurrently', async () => {
      await signIn.register(jane, client)
      await signIn.logIn(jane, client)
      const use = mock.method(ports.sessions, 'use')
      const authenticate = () => signIn.authenticate(ports.tokens.issue(aSession()).token)
      await authenticate()
      ports.clock.move(60)
      await Promise.all([authenticate(), authenticate()])
      await authenticate()
      expect(use.mock.callCount()).to.equal(1)
      const [session] = await ports.sessions.list(1)
      expect(session?.snapshot().lastUsedAt).to.deep.equal(ports.clock.time)
    })

    it('records the first use of an API token, and then at most one a minute', async () => {
      await signIn.register(jane, client)
      const { apiTokenService, apiTokens, clock } = ports
      const secret = apiTokenService.newSecret()
      const apiToken = await apiTokens.add(anApiTokenDraft({ tokenHash: secret.hash }))
      const use = mock.method(apiTokens, 'use')
      for (const seconds of [0, 59, 1]) {
        clock.move(seconds)
        await signIn.authenticate(apiTokenService.issue(apiToken, secret))
      }
      expect(use.mock.callCount()).to.equal(2)
    })

    it('succeeds even if the use cannot be recorded', async () => {
      await signIn.register(jane, client)
      const { access } = await signIn.logIn(jane, client)
      ports.clock.move(60)
      mock.method(ports.sessions, 'use', () => Promise.reject(new StoreUnavailable(new Error('read-only'))))
      expect((await signIn.authenticate(access.token)).user.id).to.equal(1)
    })
  })
})
