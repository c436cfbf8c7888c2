import { inspect } from 'node:util'
import { expect } from 'chai'
import { credentialRules, loginRules, normalizeLogin, User } from '#src/domain/accounts/user.ts'
import { enforce } from '#src/domain/rules.ts'
import { aUser } from '#test/builders.ts'
import { violations } from './violations.ts'

const ASTRAL = '🙂'
const email = 'jane@example.com'

describe('A new user', () => {
  it('has a normalised address, the given hash and the time of registration', () => {
    const now = new Date()
    expect(User.create(' Jane@Example.COM', 'a hash', now)).to.deep.equal({
      email: 'Jane@example.com',
      hashedPassword: 'a hash',
      createdAt: now,
    })
  })
})

describe('A restored user', () => {
  it('is read as stored, even if a rule was tightened later', () => {
    const stored = { id: 1, email: 'no address', hashedPassword: '', createdAt: new Date(0) }
    expect(User.restore(stored).snapshot()).to.equal(stored)
  })
})

describe('A user', () => {
  const { hashedPassword, ...shown } = aUser().snapshot()

  it('shows its state in JSON, without the hash', () => {
    expect(JSON.parse(JSON.stringify(aUser()))).to.deep.equal(JSON.parse(JSON.stringify(shown)))
  })

  it('shows its state to console.log, without the hash', () => {
    expect(inspect(aUser(), { showHidden: true }))
      .to.match(/^User \{/)
      .and.include(shown.email)
      .and.not.include(hashedPassword)
  })

  it('equals a user of the same state and no other', () => {
    expect(aUser()).to.deep.equal(aUser())
    for (const other of [{ id: 2 }, { email: 'john@example.com' }, { createdAt: new Date() }])
      expect(aUser(other)).to.not.deep.equal(aUser())
  })
})

describe('The password of a registration', () => {
  const broken = (password: unknown) => violations(() => enforce(credentialRules, { email, password }))

  const refused = {
    'of 7 characters': ['a'.repeat(7), 'too_short'],
    'of 7 astral characters': [ASTRAL.repeat(7), 'too_short'],
    'of 129 characters': ['a'.repeat(129), 'too_long'],
    'of 129 astral characters': [ASTRAL.repeat(129), 'too_long'],
    'with NUL': ['password\0', 'malformed_text'],
    'with a lone surrogate': ['password\ud800', 'malformed_text'],
    'that is null': [null, 'not_text'],
    'that is a number': [12_345_678, 'not_text'],
    'that is absent': [undefined, 'not_text'],
  } as const
  for (const [form, [password, code]] of Object.entries(refused)) {
    it(`is refused ${form}`, () => expect(broken(password)).to.deep.equal([`password: ${code}`]))
  }

  const accepted = {
    'of 8 characters': 'a'.repeat(8),
    'of 8 astral characters': ASTRAL.repeat(8),
    'of 128 characters': 'a'.repeat(128),
    'of 128 astral characters, 512 bytes': ASTRAL.repeat(128),
    'of blanks': ' '.repeat(8),
  }
  for (const [form, password] of Object.entries(accepted)) {
    it(`is accepted ${form}`, () => expect(broken(password)).to.deep.equal([]))
  }
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
    const longest = { email: 'a'.repeat(2_048), password: 'a'.repeat(768) }
    expect(normalizeLogin(longest)).to.deep.equal(longest)
    expect(normalizeLogin({ ...longest, email: `${longest.email}a` })).to.deep.equal({ ...longest, email: '' })
    expect(normalizeLogin({ ...longest, password: `${longest.password}a` })).to.deep.equal({ ...longest, password: '' })
  })
})
