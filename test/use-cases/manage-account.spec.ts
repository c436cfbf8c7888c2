import { expect } from 'chai'
import type { Caller } from '#src/domain/accounts/caller.ts'
import { ManageAccount } from '#src/domain/accounts/manage-account.ts'
import {
  EmailAlreadyTaken,
  InvalidToken,
  LastAdmin,
  SessionNotFound,
  SessionRequired,
  TooManyRequests,
  WrongPassword,
} from '#src/domain/errors.ts'
import { aRequester, aSessionDraft, aUserDraft } from '#test/builders.ts'
import { violationsOf } from '#test/domain/violations.ts'
import { fakePorts, policy } from './fakes.ts'
import { rejection } from './rejections.ts'

const client = aRequester()
const { clientNetwork } = client
const currentPassword = 'correct horse'

describe('Managing an account', () => {
  let ports: ReturnType<typeof fakePorts>
  let accounts: ManageAccount
  let jane: Caller

  const stored = async () => (await ports.users.findById(1))?.snapshot()
  const startSession = () => ports.sessions.start(aSessionDraft(), jane.user)
  const sessionIds = async () => (await ports.sessions.list(1)).map(({ id }) => id)

  beforeEach(async () => {
    ports = fakePorts()
    accounts = new ManageAccount(ports, policy)
    const user = await ports.users.add(aUserDraft({ hashedPassword: `hash 1 of ${currentPassword}` }))
    jane = { user: user.snapshot(), credential: { kind: 'session', sessionId: 1 } }
  })

  describe('changing it', () => {
    it('moves it to another time zone without a password', async () => {
      await accounts.change(jane, { timeZone: 'Europe/Berlin' }, client)
      expect(await stored()).to.deep.equal({ ...jane.user, timeZone: 'Europe/Berlin' })
      expect(ports.audit.events).to.deep.equal([])
    })

    it('changes nothing without a change', async () => {
      expect((await accounts.change(jane, {}, client)).snapshot()).to.deep.equal(jane.user)
    })

    it('gives it another address, with the password', async () => {
      const user = await accounts.change(jane, { email: ' Jane@EXAMPLE.org', currentPassword }, client)
      expect(user.snapshot()).to.deep.equal({
        ...jane.user,
        email: 'Jane@example.org',
        emailKey: 'jane@example.org',
      })
      expect(ports.audit.events).to.deep.equal([{ event: 'email_changed', userId: 1, clientNetwork }])
    })

    it('gives it another spelling of its own address, but not the address of another account', async () => {
      await ports.users.add(aUserDraft({ email: 'john@example.com' }))
      await accounts.change(jane, { email: 'JANE@example.com', currentPassword }, client)
      const taken = accounts.change(jane, { email: 'John@example.com', currentPassword }, client)
      expect(await rejection(taken)).to.be.instanceOf(EmailAlreadyTaken)
    })

    it('gives it another password and ends the other sessions', async () => {
      for (let sessions = 0; sessions < 3; sessions++) await startSession()
      await accounts.change(jane, { password: 'battery staple', currentPassword }, client)
      expect((await stored())?.hashedPassword).to.equal('hash 1 of battery staple')
      expect(await sessionIds()).to.deep.equal([1])
      expect(ports.changeSignal.raised).to.deep.equal([1])
      expect(ports.audit.events).to.deep.equal([{ event: 'password_changed', userId: 1, clientNetwork }])
    })

    it('needs the password for a new address or a new password', async () => {
      for (const change of [{ email: 'jane@example.org' }, { password: 'battery staple' }]) {
        expect(await violationsOf(accounts.change(jane, change, client))).to.deep.equal(['current_password: required'])
        const wrong = accounts.change(jane, { ...change, currentPassword: 'wrong horse' }, client)
        expect(await rejection(wrong)).to.be.instanceOf(WrongPassword)
      }
      expect(await stored()).to.deep.equal(jane.user)
      expect(ports.audit.events).to.deep.equal([
        { event: 'password_refused', userId: 1, clientNetwork },
        { event: 'password_refused', userId: 1, clientNetwork },
      ])
    })

    it('counts a wrong password under the key of the address, and verifies none after too many', async () => {
      const change = { password: 'battery staple', currentPassword: 'wrong horse' }
      await rejection(accounts.change(jane, change, client))
      expect(ports.loginThrottle.attempts).to.deep.equal([{ email: 'jane@example.com', clientNetwork }])
      ports.loginThrottle.refusal = new TooManyRequests(60)
      expect(await rejection(accounts.change(jane, change, client))).to.equal(ports.loginThrottle.refusal)
      expect(ports.passwordHasher.verified).to.have.length(1)
    })

    it('verifies no password longer than any account’s', async () => {
      const change = { password: 'battery staple', currentPassword: currentPassword.padEnd(1_000) }
      expect(await rejection(accounts.change(jane, change, client))).to.be.instanceOf(WrongPassword)
    })

    it('refuses values that break a rule before it asks for the password', async () => {
      for (const [change, violation] of [
        [{ email: 'no address' }, 'email: not_an_email'],
        [{ password: 'short' }, 'password: too_short'],
        [{ password: 'password123' }, 'password: password_too_common'],
        [{ password: 'Jane@example.com' }, 'password: password_is_email'],
        [{ email: 'j@example.org', password: 'j@example.org' }, 'password: password_is_email'],
        [{ timeZone: 'Mars/Olympus' }, 'time_zone: unknown_time_zone'],
        [{ password: 'battery staple', currentPassword: '\0' }, 'current_password: malformed_text'],
      ] as const)
        expect(await violationsOf(accounts.change(jane, change, client))).to.deep.equal([violation])
      expect(ports.passwordHasher.verified).to.deep.equal([])
    })

    it('refuses an address that is the password', async () => {
      await ports.users.write(1, (user) => ({ save: user.withPassword('hash 1 of jane@example.org') }))
      const caller = { ...jane, user: (await stored()) as Caller['user'] }
      const change = { email: 'Jane@example.org', currentPassword: 'jane@example.org' }
      expect(await violationsOf(accounts.change(caller, change, client))).to.deep.equal(['email: password_is_email'])
    })

    it('lets an API token change the time zone only', async () => {
      const script: Caller = { ...jane, credential: { kind: 'api-token', tokenId: 1, scopes: ['account'] } }
      for (const change of [{ email: 'jane@example.org' }, { password: 'battery staple' }])
        expect(await rejection(accounts.change(script, { ...change, currentPassword }, client))).to.be.instanceOf(
          SessionRequired,
        )
      expect((await accounts.change(script, { timeZone: 'UTC' }, client)).id).to.equal(1)
    })

    it('refuses a password that was changed by another request meanwhile', async () => {
      await ports.users.write(1, (user) => ({ save: user.withPassword('hash 2 of other horse') }))
      const change = { password: 'battery staple', currentPassword }
      expect(await rejection(accounts.change(jane, change, client))).to.be.instanceOf(WrongPassword)
      expect((await stored())?.hashedPassword).to.equal('hash 2 of other horse')
    })
  })

  describe('leaving', () => {
    it('removes the user with the password', async () => {
      await startSession()
      await accounts.leave(jane, currentPassword, client)
      expect(await stored()).to.equal(undefined)
      expect(await sessionIds()).to.deep.equal([])
      expect(ports.changeSignal.raised).to.deep.equal([1])
      expect(ports.audit.events).to.deep.equal([{ event: 'left', userId: 1, clientNetwork }])
    })

    it('needs the password', async () => {
      expect(await violationsOf(accounts.leave(jane, undefined, client))).to.deep.equal(['current_password: required'])
      expect(await rejection(accounts.leave(jane, 'wrong horse', client))).to.be.instanceOf(WrongPassword)
      expect(await stored()).to.deep.equal(jane.user)
    })

    it('is refused to the last admin', async () => {
      await ports.users.write(1, (user) => ({ save: user.administer({ role: 'admin' }, 0) }))
      expect(await rejection(accounts.leave(jane, currentPassword, client))).to.be.instanceOf(LastAdmin)
      await ports.users.add(aUserDraft({ email: 'john@example.com', role: 'admin' }))
      await accounts.leave(jane, currentPassword, client)
    })
  })

  describe('its sessions', () => {
    beforeEach(async () => {
      for (let sessions = 0; sessions < 3; sessions++) await startSession()
    })

    it('are listed, newest first, without expired ones', async () => {
      expect((await accounts.sessions(jane)).map(({ id }) => id)).to.deep.equal([3, 2, 1])
      ports.clock.move(30 * 24 * 3_600 - 1)
      await ports.sessions.use({ id: 2, ownerId: 1 }, ports.clock.time)
      ports.clock.move(1)
      expect((await accounts.sessions(jane)).map(({ id }) => id)).to.deep.equal([2])
    })

    it('end one at a time, even the current one', async () => {
      await accounts.endSession(jane, 2, client)
      await accounts.endSession(jane, 1, client)
      expect(await sessionIds()).to.deep.equal([3])
      expect(ports.changeSignal.raised).to.deep.equal([1, 1])
    })

    it('of another user do not exist', async () => {
      const other = await ports.users.add(aUserDraft({ email: 'john@example.com' }))
      await ports.sessions.start(aSessionDraft({ ownerId: 2 }), other.snapshot())
      expect(await rejection(accounts.endSession(jane, 4, client))).to.be.instanceOf(SessionNotFound)
      expect(await ports.sessions.list(2)).to.have.length(1)
    })

    it('end together, except the current one', async () => {
      await accounts.endOtherSessions(jane, client)
      expect(await sessionIds()).to.deep.equal([1])
      expect(ports.audit.events).to.deep.equal([{ event: 'session_ended', userId: 1, clientNetwork }])
    })

    it('all end for a token that was issued before there were sessions', async () => {
      await accounts.endOtherSessions({ ...jane, credential: { kind: 'session', sessionId: undefined } }, client)
      expect(await sessionIds()).to.deep.equal([])
    })
  })

  it('refuses the token of an account that is deleted meanwhile', async () => {
    await ports.users.write(1, (user) => ({ remove: user }))
    for (const attempt of [
      accounts.change(jane, { timeZone: 'Asia/Tokyo' }, client),
      accounts.change(jane, { password: 'battery staple', currentPassword }, client),
      accounts.leave(jane, currentPassword, client),
    ])
      expect(await rejection(attempt)).to.be.instanceOf(InvalidToken)
    expect(ports.audit.events).to.deep.equal([])
  })
})
