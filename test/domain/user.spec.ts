import { inspect } from 'node:util'
import { expect } from 'chai'
import { loginRules, normalizeLogin, toAddress, User } from '#src/domain/accounts/user.ts'
import { LastAdmin } from '#src/domain/errors.ts'
import { enforce } from '#src/domain/rules.ts'
import { aUser } from '#test/builders.ts'
import { violations } from './violations.ts'

/** Converts one domain only. */
const idna = { toAscii: (domain: string) => domain.replace('bücher', 'xn--bcher-kva') }

describe('A new user', () => {
  it('has a normalised address, the given hash and the time of registration', () => {
    const now = new Date()
    expect(User.create(' Jane@Example.COM', 'a hash', now, idna)).to.deep.equal({
      email: 'Jane@example.com',
      emailKey: 'jane@example.com',
      hashedPassword: 'a hash',
      role: 'user',
      disabled: false,
      timeZone: 'UTC',
      createdAt: now,
    })
  })
})

describe('A restored user', () => {
  it('is read as stored, even if a rule was tightened later', () => {
    const stored = { ...aUser().snapshot(), email: 'no address', emailKey: null, timeZone: 'Nowhere' }
    expect(User.restore(stored).snapshot()).to.equal(stored)
  })
})

describe('A user', () => {
  const { id, email, createdAt, hashedPassword } = aUser().snapshot()
  const shown = { id, email, createdAt }

  it('shows its identity in JSON, but not the hash', () => {
    expect(JSON.parse(JSON.stringify(aUser()))).to.deep.equal(JSON.parse(JSON.stringify(shown)))
  })

  it('shows its identity to console.log, but not the hash', () => {
    expect(inspect(aUser(), { showHidden: true }))
      .to.match(/^User \{/)
      .and.include(shown.email)
      .and.not.include(hashedPassword)
  })

  it('equals a user with the same id, address and time of registration, and no other', () => {
    expect(aUser()).to.deep.equal(aUser())
    for (const other of [{ id: 2 }, { email: 'john@example.com' }, { createdAt: new Date() }])
      expect(aUser(other)).to.not.deep.equal(aUser())
  })
})

describe('The key of an address', () => {
  const key = (email: string) => toAddress(email, idna).emailKey

  it('is in lower case, with the domain in ASCII', () => {
    expect(key('Jane@example.com')).to.equal('jane@example.com')
    expect(key('J@bücher.example')).to.equal('j@xn--bcher-kva.example')
    expect(key('O\u0308@example.com')).to.equal('\u00f6@example.com')
  })

  it('has the domain as it is where there is no ASCII form', () => {
    const without = { toAscii: () => undefined }
    expect(toAddress('J@Bücher.example', without).emailKey).to.equal('j@bücher.example')
  })

  it('of a text without @ is the text', () => {
    expect(key('')).to.equal('')
    expect(key('Root')).to.equal('root')
  })
})

describe('Administering a user', () => {
  const admin = aUser({ role: 'admin' })

  it('changes the role and the state, and nothing else', () => {
    const changed = aUser().administer({ role: 'admin', disabled: true }, 0).snapshot()
    expect(changed).to.deep.equal({ ...aUser().snapshot(), role: 'admin', disabled: true })
  })

  it('does not demote, disable or delete the last admin', () => {
    for (const change of [{ role: 'user' }, { disabled: true }] as const) {
      expect(() => admin.administer(change, 0)).to.throw(LastAdmin)
      expect(admin.administer(change, 1).isActiveAdmin).to.equal(false)
    }
    expect(() => admin.checkDispensable(0)).to.throw(LastAdmin)
  })

  it('may leave the last admin unchanged', () => {
    expect(admin.administer({ role: 'admin', disabled: false }, 0).isActiveAdmin).to.equal(true)
  })

  it('may delete a user, and demote an admin who is disabled', () => {
    aUser().checkDispensable(0)
    aUser({ role: 'admin', disabled: true }).administer({ role: 'user' }, 0)
  })
})

describe('The credentials of a login', () => {
  const broken = (email: unknown, password: unknown) => violations(() => enforce(loginRules, { email, password }))

  it('are valid if both are well-formed text', () => {
    for (const [name, password] of [
      ['', ''],
      ['no address', 'a'],
      ['a'.repeat(9999), 'b'.repeat(9999)],
    ])
      expect(broken(name, password)).to.deep.equal([])
  })

  it('are refused if either is not well-formed text', () => {
    expect(broken(1, null)).to.deep.equal(['email: not_text', 'password: not_text'])
    expect(broken('\0', '\ud800')).to.deep.equal(['email: malformed_text', 'password: malformed_text'])
  })

  it('are emptied where they are longer than any that can be registered', () => {
    const longest = { email: 'a'.repeat(640), password: 'a'.repeat(768) }
    expect(normalizeLogin(longest)).to.deep.equal(longest)
    for (const email of ['a'.repeat(641), longest.email.padStart(2_049)])
      expect(normalizeLogin({ ...longest, email })).to.deep.equal({ ...longest, email: '' })
    expect(normalizeLogin({ ...longest, email: longest.email.padStart(2_048) })).to.deep.equal(longest)
    expect(normalizeLogin({ ...longest, password: `${longest.password}a` })).to.deep.equal({ ...longest, password: '' })
  })
})
