import { expect } from 'chai'
import { InMemoryUserRepository } from '#src/adapters/in-memory/in-memory-user-repository.ts'
import { EmailAlreadyTaken, InvalidCredentials, InvalidToken, TooManyRequests } from '#src/domain/errors.ts'
import { ManageAccounts } from '#src/domain/use-cases/manage-accounts.ts'
import { aUserDraft } from '#test/builders.ts'
import { violationsOf } from '#test/domain/violations.ts'
import { FakeClock, FakeLoginThrottle, FakePasswordHasher, FakeTokenService } from './fakes.ts'
import { rejection } from './rejections.ts'

const ORIGIN = '192.0.2.1'
const jane = { email: 'jane@example.com', password: 'correct horse' }

/** What a caller may send in spite of the types. */
const pair = (email: unknown, password: unknown) => ({ email: email as string, password: password as string })

describe('Managing accounts', () => {
  let users: InMemoryUserRepository
  let passwords: FakePasswordHasher
  let logins: FakeLoginThrottle
  let clock: FakeClock
  let tokens: FakeTokenService
  let accounts: ManageAccounts

  beforeEach(() => {
    users = new InMemoryUserRepository()
    passwords = new FakePasswordHasher()
    logins = new FakeLoginThrottle()
    clock = new FakeClock()
    tokens = new FakeTokenService(clock)
    accounts = new ManageAccounts({ users, passwords, logins, clock, tokens })
  })

  describe('registering', () => {
    it('stores a user with the normalised address, the hash of the password and the time', async () => {
      const user = await accounts.register({ ...jane, email: ' Jane@EXAMPLE.com ' })
      expect(user.snapshot()).to.deep.equal({
        id: 1,
        email: 'Jane@example.com',
        hashedPassword: 'hash 1 of correct horse',
        createdAt: clock.time,
      })
      expect((await users.findByEmail('Jane@example.com'))?.snapshot()).to.deep.equal(user.snapshot())
    })

    it('refuses an address that is taken, however it is spelled', async () => {
      await accounts.register(jane)
      for (const email of ['jane@example.com', ' jane@example.com', 'jane@EXAMPLE.com'])
        expect(await rejection(accounts.register({ ...jane, email }))).to.be.instanceOf(EmailAlreadyTaken)
    })

    it('takes a local part in other letters for another address', async () => {
      await accounts.register(jane)
      expect((await accounts.register({ ...jane, email: 'Jane@example.com' })).snapshot().id).to.equal(2)
    })

    it('gives an address to one of many who ask for it at once', async () => {
      const attempts = await Promise.allSettled(Array.from({ length: 20 }, () => accounts.register(jane)))
      expect(attempts.filter(({ status }) => status === 'fulfilled')).to.have.length(1)
    })

    it('names every member that breaks its rule and stores nobody', async () => {
      expect(await violationsOf(accounts.register(pair('nobody', 'short')))).to.deep.equal([
        'email: not_an_email',
        'password: too_short',
      ])
      expect(await violationsOf(accounts.register(pair(null, 7)))).to.deep.equal([
        'email: not_text',
        'password: not_text',
      ])
      expect(await users.findById(1)).to.equal(undefined)
    })

    it('takes no id from whoever sends one', async () => {
      const sent = { ...jane, id: 99, createdAt: new Date(0), hashedPassword: 'mine' }
      const { id, createdAt, hashedPassword } = (await accounts.register(sent)).snapshot()
      expect({ id, createdAt, hashedPassword }).to.deep.equal({
        id: 1,
        createdAt: clock.time,
        hashedPassword: 'hash 1 of correct horse',
      })
    })
  })

  describe('logging in', () => {
    it('issues a token that names the user', async () => {
      await accounts.register({ ...jane, email: 'john@example.com' })
      await accounts.register(jane)
      const { token, expiresIn } = await accounts.logIn(jane, ORIGIN)
      expect(tokens.verify(token).userId).to.equal(2)
      expect(expiresIn).to.equal(3_600)
    })

    it('finds the address however it is spelled', async () => {
      await accounts.register(jane)
      for (const email of ['\tjane@example.com ', 'jane@Example.COM'])
        expect(tokens.verify((await accounts.logIn({ ...jane, email }, ORIGIN)).token).userId).to.equal(1)
    })

    it('refuses a wrong password and an unknown address in the same words', async () => {
      await accounts.register(jane)
      const wrong = await rejection(accounts.logIn({ ...jane, password: 'wrong horse' }, ORIGIN))
      const unknown = await rejection(accounts.logIn({ ...jane, email: 'john@example.com' }, ORIGIN))
      expect(wrong).to.be.instanceOf(InvalidCredentials)
      expect(unknown).to.be.instanceOf(InvalidCredentials)
      expect((wrong as Error).message).to.equal((unknown as Error).message)
    })

    it('verifies a password also when there is no such address, so that both take the same time', async () => {
      await accounts.register(jane)
      await rejection(accounts.logIn({ ...jane, password: 'wrong horse' }, ORIGIN))
      await rejection(accounts.logIn({ ...jane, email: 'john@example.com' }, ORIGIN))
      expect(passwords.verified).to.deep.equal(['hash 1 of correct horse', undefined])
    })

    it('takes two texts that nobody could have registered for a wrong pair', async () => {
      for (const [email, password] of [
        ['', ''],
        ['no address', 'short'],
        ['a'.repeat(999), 'b'.repeat(999)],
      ])
        expect(await rejection(accounts.logIn(pair(email, password), ORIGIN))).to.be.instanceOf(InvalidCredentials)
    })

    it('works for what was stored under an older rule', async () => {
      await users.add(aUserDraft({ email: 'root', hashedPassword: 'hash 1 of toor' }))
      const { token } = await accounts.logIn({ email: 'root', password: 'toor' }, ORIGIN)
      expect(tokens.verify(token).userId).to.equal(1)
    })

    it('refuses what is no text before it looks or hashes', async () => {
      expect(await violationsOf(accounts.logIn(pair(undefined, '\0'), ORIGIN))).to.deep.equal([
        'email: not_text',
        'password: malformed_text',
      ])
      expect(passwords.verified).to.deep.equal([])
    })
  })

  describe('a login that is throttled', () => {
    it('is counted for the normalised address and whence it comes', async () => {
      await accounts.register(jane)
      await accounts.logIn({ ...jane, email: ' jane@EXAMPLE.com ' }, ORIGIN)
      await rejection(accounts.logIn({ ...jane, password: 'wrong horse' }, '198.51.100.7'))
      expect(logins.attempts).to.deep.equal([
        { email: 'jane@example.com', origin: ORIGIN },
        { email: 'jane@example.com', origin: '198.51.100.7' },
      ])
    })

    it('looks nobody up and verifies nothing', async () => {
      await accounts.register(jane)
      logins.refusal = new TooManyRequests(60)
      expect(await rejection(accounts.logIn(jane, ORIGIN))).to.equal(logins.refusal)
      expect(passwords.verified).to.deep.equal([])
    })

    it('is not counted where what was sent is no text', async () => {
      await violationsOf(accounts.logIn(pair(undefined, '\0'), ORIGIN))
      expect(logins.attempts).to.deep.equal([])
    })
  })

  describe('authenticating', () => {
    it('finds the user whom the token names', async () => {
      const user = await accounts.register(jane)
      const { token } = await accounts.logIn(jane, ORIGIN)
      expect((await accounts.authenticate(token)).snapshot()).to.deep.equal(user.snapshot())
    })

    it('refuses a token that was issued more than 10 s before its user was created', async () => {
      const issued = new Date('2026-01-31T09:30:00.900Z')
      const created = { [jane.email]: '2026-01-31T09:30:10.999Z', 'john@example.com': '2026-01-31T09:30:11.000Z' }
      for (const [email, time] of Object.entries(created)) {
        clock.time = new Date(time)
        await accounts.register({ ...jane, email })
      }
      clock.time = issued
      expect((await accounts.authenticate(tokens.issue(1).token)).snapshot().id).to.equal(1)
      expect(await rejection(accounts.authenticate(tokens.issue(2).token))).to.be.instanceOf(InvalidToken)
    })

    it('accepts a token that does not say when it was issued', async () => {
      await accounts.register(jane)
      expect((await accounts.authenticate(tokens.undated(1))).snapshot().id).to.equal(1)
    })

    it('refuses a token that is not valid and one of a user who is gone alike', async () => {
      for (const token of ['', 'nonsense', tokens.issue(99).token])
        expect(await rejection(accounts.authenticate(token))).to.be.instanceOf(InvalidToken)
    })
  })
})
