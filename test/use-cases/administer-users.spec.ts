import { expect } from 'chai'
import { AdministerUsers } from '#src/domain/accounts/administer-users.ts'
import { LastAdmin, UserNotFound } from '#src/domain/errors.ts'
import { aRequester, aSessionDraft, aUserDraft } from '#test/builders.ts'
import { violationsOf } from '#test/domain/violations.ts'
import { fakePorts, policy } from './fakes.ts'
import { rejection } from './rejections.ts'

const client = aRequester()
const admin = { id: 1, clientNetwork: client.clientNetwork }

describe('Administering users', () => {
  let ports: ReturnType<typeof fakePorts>
  let users: AdministerUsers

  beforeEach(async () => {
    ports = fakePorts()
    users = new AdministerUsers(ports, policy)
    await ports.users.add(aUserDraft({ email: 'admin@example.com', role: 'admin' }))
    await ports.users.add(aUserDraft({ email: 'Jane@example.com' }))
    await ports.users.add(aUserDraft({ email: 'john@example.org' }))
  })

  const startSession = async (ownerId: number) => {
    const owner = await ports.users.findById(ownerId)
    await ports.sessions.start(aSessionDraft({ ownerId }), owner?.snapshot() ?? { hashedPassword: '' })
  }

  it('lists users in pages, newest first', async () => {
    const first = await users.list({ limit: 2 })
    expect(first.users.map(({ id }) => id)).to.deep.equal([3, 2])
    const second = await users.list({ limit: 2, before: first.next })
    expect(second.users.map(({ id }) => id)).to.deep.equal([1])
    expect(second.next).to.equal(undefined)
  })

  it('finds users by a part of the address, in any case', async () => {
    const found = await users.list({ containing: 'EXAMPLE.COM' })
    expect(found.users.map(({ id }) => id)).to.deep.equal([2, 1])
    expect((await users.list({ containing: '%' })).users).to.deep.equal([])
  })

  it('refuses a query that breaks a rule', async () => {
    expect(await violationsOf(users.list({ before: 0, containing: '', limit: 201 }))).to.deep.equal([
      'before: out_of_range',
      'containing: too_short',
      'limit: out_of_range',
    ])
  })

  it('grants and withdraws a role', async () => {
    expect((await users.change(admin, 2, { role: 'admin' })).snapshot().role).to.equal('admin')
    expect((await users.change({ ...admin, id: 2 }, 1, { role: 'user' })).snapshot().role).to.equal('user')
    const { clientNetwork } = client
    expect(ports.audit.events).to.deep.equal([
      { event: 'role_changed', userId: 2, adminId: 1, role: 'admin', clientNetwork },
      { event: 'role_changed', userId: 1, adminId: 2, role: 'user', clientNetwork },
    ])
  })

  it('disables a user and ends the sessions, and enables the user again', async () => {
    await startSession(2)
    expect((await users.change(admin, 2, { disabled: true })).snapshot().disabled).to.equal(true)
    expect(await ports.sessions.list(2)).to.deep.equal([])
    expect((await users.change(admin, 2, { disabled: false })).snapshot().disabled).to.equal(false)
    expect(ports.audit.events.map(({ event }) => event)).to.deep.equal(['disabled', 'enabled'])
    expect(ports.changeSignal.raised).to.deep.equal([2])
  })

  it('records no event if nothing changes', async () => {
    await users.change(admin, 1, { role: 'admin', disabled: false })
    await users.grant({}, 'admin@example.com')
    expect(ports.audit.events).to.deep.equal([])
  })

  it('removes a user', async () => {
    await users.remove(admin, 2)
    expect(await ports.users.findById(2)).to.equal(undefined)
    expect(ports.audit.events.map(({ event }) => event)).to.deep.equal(['removed'])
    expect(ports.changeSignal.raised).to.deep.equal([2])
  })

  it('ends all sessions of a user', async () => {
    await startSession(2)
    await startSession(2)
    await users.endSessions(admin, 2)
    expect(await ports.sessions.list(2)).to.deep.equal([])
    expect(ports.changeSignal.raised).to.deep.equal([2])
  })

  it('keeps the last admin', async () => {
    for (const attempt of [
      users.change(admin, 1, { role: 'user' }),
      users.change(admin, 1, { disabled: true }),
      users.remove(admin, 1),
    ])
      expect(await rejection(attempt)).to.be.instanceOf(LastAdmin)
  })

  it('keeps one of two admins who demote each other concurrently', async () => {
    await users.change(admin, 2, { role: 'admin' })
    const attempts = await Promise.allSettled([
      users.change(admin, 2, { role: 'user' }),
      users.change({ ...admin, id: 2 }, 1, { role: 'user' }),
    ])
    expect(attempts.map(({ status }) => status).sort()).to.deep.equal(['fulfilled', 'rejected'])
  })

  it('does not find a missing user', async () => {
    for (const attempt of [
      users.change(admin, 9, { disabled: true }),
      users.remove(admin, 9),
      users.endSessions(admin, 9),
      users.grant({}, 'unknown@example.com'),
      users.grant({}, 'a'.repeat(9_999)),
      users.setPassword({}, 'unknown@example.com', 'battery staple', client),
    ])
      expect(await rejection(attempt)).to.be.instanceOf(UserNotFound)
  })

  it('grants the role to an address in any spelling, for an operator', async () => {
    expect((await users.grant({}, ' JANE@example.com')).snapshot()).to.deep.include({ id: 2, role: 'admin' })
    expect(ports.audit.events).to.deep.equal([
      { event: 'role_changed', userId: 2, role: 'admin', clientNetwork: undefined },
    ])
  })

  it('sets a password that follows the rules, and ends all sessions', async () => {
    await startSession(2)
    const violations = violationsOf(users.setPassword({}, 'jane@example.com', 'password123', client))
    expect(await violations).to.deep.equal(['password: password_too_common'])
    await users.setPassword({}, 'jane@example.com', 'battery staple', client)
    expect((await ports.users.findById(2))?.snapshot().hashedPassword).to.equal('hash 1 of battery staple')
    expect(await ports.sessions.list(2)).to.deep.equal([])
  })
})
