import { mock } from 'node:test'
import { expect } from 'chai'
import { InMemoryUserRepository } from '#src/adapters/in-memory/in-memory-user-repository.ts'
import { ManageAccounts } from '#src/domain/accounts/manage-accounts.ts'
import {
  EmailAlreadyTaken,
  InvalidCredentials,
  InvalidToken,
  Overloaded,
  StoreUnavailable,
  TooManyRequests,
} from '#src/domain/errors.ts'
import { aRequester, aUserDraft } from '#test/builders.ts'
import { violationsOf } from '#test/domain/violations.ts'
import { FakeClock, FakeLoginThrottle, FakePasswordHasher, FakeTokenService } from './fakes.ts'
import { rejection } from './rejections.ts'

const client = aRequester()
const jane = { email: 'jane@example.com', password: 'correct horse' }

/** Values that a caller may send despite the types. */
const pair = (email: unknown, password: unknown) => ({ email: email as string, password: password as string })

describe('Managing accounts', () => {
  let users: InMemoryUserRepository
  let passwordHasher: FakePasswordHasher
  let loginThrottle: FakeLoginThrottle
  let clock: FakeClock
  let tokens: FakeTokenService
  let accounts: ManageAccounts

  beforeEach(() => {
    users = new InMemoryUserRepository()
    passwordHasher = new FakePasswordHasher()
    loginThrottle = new FakeLoginThrottle()
    clock = new FakeClock()
    tokens = new FakeTokenService(clock)
    accounts = new ManageAccounts({ users, passwordHasher, loginThrottle, clock, tokens })
  })

  describe('registering', () => {
    it('stores a user with the normalised address, the hash of the password and the time', async () => {
      const user = await accounts.register({ ...jane, email: ' Jane@EXAMPLE.com ' }, client)
      expect(user.snapshot()).to.deep.equal({
        id: 1,
        email: 'Jane@example.com',
        hashedPassword: 'hash 1 of correct horse',
        createdAt: clock.time,
      })
      expect((await users.findByEmail('Jane@example.com'))?.snapshot()).to.deep.equal(user.snapshot())
    })

    it('refuses a registered address in any spelling', async () => {
      await accounts.register(jane, client)
      for (const email of ['jane@example.com', ' jane@example.com', 'jane@EXAMPLE.com'])
        expect(await rejection(accounts.register({ ...jane, email }, client))).to.be.instanceOf(EmailAlreadyTaken)
    })

    it('treats another case of the local part as another address', async () => {
      await accounts.register(jane, client)
      expect((await accounts.register({ ...jane, email: 'Jane@example.com' }, client)).snapshot().id).to.equal(2)
    })

    it('registers an address once for concurrent requests', async () => {
      const attempts = await Promise.allSettled(Array.from({ length: 20 }, () => accounts.register(jane, client)))
      expect(attempts.filter(({ status }) => status === 'fulfilled')).to.have.length(1)
    })

    it('names every member that breaks its rule and stores no user', async () => {
      expect(await violationsOf(accounts.register(pair('nobody', 'short'), client))).to.deep.equal([
        'email: not_an_email',
        'password: too_short',
      ])
      expect(await violationsOf(accounts.register(pair(null, 7), client))).to.deep.equal([
        'email: not_text',
        'password: not_text',
      ])
      expect(await users.findById(1)).to.equal(undefined)
    })

    it('ignores an id from the caller', async () => {
      const sent = { ...jane, id: 99, createdAt: new Date(0), hashedPassword: 'mine' }
      const { id, createdAt, hashedPassword } = (await accounts.register(sent, client)).snapshot()
      expect({ id, createdAt, hashedPassword }).to.deep.equal({
        id: 1,
        createdAt: clock.time,
        hashedPassword: 'hash 1 of correct horse',
      })
    })
  })

  describe('logging in', () => {
    it('issues a token that names the user', async () => {
      await accounts.register({ ...jane, email: 'john@example.com' }, client)
      await accounts.register(jane, client)
      const { token, expiresIn } = await accounts.logIn(jane, client)
      expect(tokens.verify(token).userId).to.equal(2)
      expect(expiresIn).to.equal(3_600)
    })

    it('finds the address in any spelling', async () => {
      await accounts.register(jane, client)
      for (const email of ['\tjane@example.com ', 'jane@Example.COM'])
        expect(tokens.verify((await accounts.logIn({ ...jane, email }, client)).token).userId).to.equal(1)
    })

    it('refuses a wrong password and an unknown address with the same error', async () => {
      await accounts.register(jane, client)
      const wrong = await rejection(accounts.logIn({ ...jane, password: 'wrong horse' }, client))
      const unknown = await rejection(accounts.logIn({ ...jane, email: 'john@example.com' }, client))
      expect(wrong).to.be.instanceOf(InvalidCredentials)
      expect(unknown).to.be.instanceOf(InvalidCredentials)
      expect((wrong as Error).message).to.equal((unknown as Error).message)
    })

    it('verifies a password even if there is no such address, so that both take the same time', async () => {
      await accounts.register(jane, client)
      await rejection(accounts.logIn({ ...jane, password: 'wrong horse' }, client))
      await rejection(accounts.logIn({ ...jane, email: 'john@example.com' }, client))
      expect(passwordHasher.verified).to.deep.equal(['hash 1 of correct horse', undefined])
    })

    it('treats texts that no account can have as wrong credentials', async () => {
      for (const [email, password] of [
        ['', ''],
        ['no address', 'short'],
        ['a'.repeat(999), 'b'.repeat(999)],
      ])
        expect(await rejection(accounts.logIn(pair(email, password), client))).to.be.instanceOf(InvalidCredentials)
    })

    it('accepts an account stored under older rules', async () => {
      await users.add(aUserDraft({ email: 'root', hashedPassword: 'hash 1 of toor' }))
      const { token } = await accounts.logIn({ email: 'root', password: 'toor' }, client)
      expect(tokens.verify(token).userId).to.equal(1)
    })

    it('replaces an outdated hash only if the password is correct', async () => {
      await users.add(aUserDraft({ hashedPassword: 'weak hash 1 of correct horse' }))
      await rejection(accounts.logIn({ ...jane, password: 'wrong horse' }, client))
      expect((await users.findById(1))?.snapshot().hashedPassword).to.equal('weak hash 1 of correct horse')
      for (let logins = 0; logins < 2; logins++) {
        await accounts.logIn(jane, client)
        expect((await users.findById(1))?.snapshot().hashedPassword).to.equal('hash 1 of correct horse')
      }
    })

    it('replaces no hash if the throttle refuses the login afterwards', async () => {
      await users.add(aUserDraft({ hashedPassword: 'weak hash 1 of correct horse' }))
      loginThrottle.lateRefusal = new TooManyRequests(60)
      expect(await rejection(accounts.logIn(jane, client))).to.equal(loginThrottle.lateRefusal)
      expect((await users.findById(1))?.snapshot().hashedPassword).to.equal('weak hash 1 of correct horse')
    })

    it('succeeds even if an outdated hash cannot be replaced', async () => {
      await users.add(aUserDraft({ hashedPassword: 'weak hash 1 of correct horse' }))
      for (const failing of [
        () => mock.method(passwordHasher, 'hash', () => Promise.reject(new Overloaded())),
        () => mock.method(users, 'replaceHash', () => Promise.reject(new StoreUnavailable(new Error('read-only')))),
      ]) {
        const failure = failing()
        expect(tokens.verify((await accounts.logIn(jane, client)).token).userId).to.equal(1)
        expect(failure.mock.callCount()).to.equal(1)
        failure.mock.restore()
      }
    })

    it('fails if replacing an outdated hash throws an unexpected error', async () => {
      await users.add(aUserDraft({ hashedPassword: 'weak hash 1 of correct horse' }))
      const bug = new TypeError('a bug')
      mock.method(users, 'replaceHash', () => Promise.reject(bug))
      expect(await rejection(accounts.logIn(jane, client))).to.equal(bug)
    })

    it('refuses values that are not text before any lookup or hashing', async () => {
      expect(await violationsOf(accounts.logIn(pair(undefined, '\0'), client))).to.deep.equal([
        'email: not_text',
        'password: malformed_text',
      ])
      expect(passwordHasher.verified).to.deep.equal([])
    })
  })

  describe('throttling logins', () => {
    it('counts a login for the normalised address and the client network', async () => {
      await accounts.register(jane, client)
      await accounts.logIn({ ...jane, email: ' jane@EXAMPLE.com ' }, client)
      await rejection(
        accounts.logIn({ ...jane, password: 'wrong horse' }, aRequester({ clientNetwork: '198.51.100.7' })),
      )
      expect(loginThrottle.attempts).to.deep.equal([
        { email: 'jane@example.com', clientNetwork: client.clientNetwork },
        { email: 'jane@example.com', clientNetwork: '198.51.100.7' },
      ])
    })

    it('counts an address longer than any account’s under the empty address, and still verifies the password', async () => {
      await accounts.register(jane, client)
      for (const email of ['\u0301\u0323'.repeat(100_000), ` ${'a'.repeat(5_000)}@example.com`])
        expect(await rejection(accounts.logIn({ ...jane, email }, client))).to.be.instanceOf(InvalidCredentials)
      expect(loginThrottle.attempts).to.deep.equal([
        { email: '', clientNetwork: client.clientNetwork },
        { email: '', clientNetwork: client.clientNetwork },
      ])
      expect(passwordHasher.verified).to.deep.equal([undefined, undefined])
    })

    it('counts a password longer than any account’s as a failed login to the account', async () => {
      await accounts.register(jane, client)
      const password = jane.password.padEnd(1_000)
      expect(await rejection(accounts.logIn({ ...jane, password }, client))).to.be.instanceOf(InvalidCredentials)
      expect(loginThrottle.attempts).to.deep.equal([{ email: jane.email, clientNetwork: client.clientNetwork }])
      expect(passwordHasher.verified).to.deep.equal(['hash 1 of correct horse'])
    })

    it('looks up no user and verifies no password for a refused login', async () => {
      await accounts.register(jane, client)
      loginThrottle.refusal = new TooManyRequests(60)
      expect(await rejection(accounts.logIn(jane, client))).to.equal(loginThrottle.refusal)
      expect(passwordHasher.verified).to.deep.equal([])
    })

    it('does not count values that are not text', async () => {
      await violationsOf(accounts.logIn(pair(undefined, '\0'), client))
      expect(loginThrottle.attempts).to.deep.equal([])
    })
  })

  describe('authenticating', () => {
    it('finds the user of the token', async () => {
      const user = await accounts.register(jane, client)
      const { token } = await accounts.logIn(jane, client)
      expect((await accounts.authenticate(token)).snapshot()).to.deep.equal(user.snapshot())
    })

    it('refuses a token that was issued more than 10 s before its user was created', async () => {
      const issued = new Date('2026-01-31T09:30:00.900Z')
      const created = { [jane.email]: '2026-01-31T09:30:10.999Z', 'john@example.com': '2026-01-31T09:30:11.000Z' }
      for (const [email, time] of Object.entries(created)) {
        clock.time = new Date(time)
        await accounts.register({ ...jane, email }, client)
      }
      clock.time = issued
      expect((await accounts.authenticate(tokens.issue(1).token)).snapshot().id).to.equal(1)
      expect(await rejection(accounts.authenticate(tokens.issue(2).token))).to.be.instanceOf(InvalidToken)
    })

    it('accepts a token without its time of issue', async () => {
      await accounts.register(jane, client)
      expect((await accounts.authenticate(tokens.undated(1))).snapshot().id).to.equal(1)
    })

    it('throws InvalidToken for an invalid token and for a token of a missing user', async () => {
      for (const token of ['', 'nonsense', tokens.issue(99).token])
        expect(await rejection(accounts.authenticate(token))).to.be.instanceOf(InvalidToken)
    })
  })
})
