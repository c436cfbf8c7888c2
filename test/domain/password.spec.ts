import { expect } from 'chai'
import { checkNewPassword, passwordRule } from '#src/domain/accounts/password.ts'
import { enforce } from '#src/domain/rules.ts'
import { violations } from './violations.ts'

const ASTRAL = '🙂'
const DECOMPOSED = 'o\u0308'
const email = 'Jane@example.com'
const common = { includes: (password: string) => password === 'p\u00e4ssword' }

describe('A new password', () => {
  const broken = (password: unknown, min?: number) =>
    violations(() => enforce({ password: passwordRule(min) }, { password }))

  const refused = {
    'of 7 characters': ['a'.repeat(7), 'too_short'],
    'of 7 astral characters': [ASTRAL.repeat(7), 'too_short'],
    'of 7 characters that NFC composes from 14': [DECOMPOSED.repeat(7), 'too_short'],
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
    'of 128 characters that NFC composes from 256': DECOMPOSED.repeat(128),
    'of blanks': ' '.repeat(8),
  }
  for (const [form, password] of Object.entries(accepted)) {
    it(`is accepted ${form}`, () => expect(broken(password)).to.deep.equal([]))
  }

  it('is refused below a minimum that was raised', () => {
    expect(broken('a'.repeat(14), 15)).to.deep.equal(['password: too_short'])
    expect(broken('a'.repeat(15), 15)).to.deep.equal([])
  })

  const codeOf = (password: string) => violations(() => checkNewPassword(password, email, { minLength: 8, common }))

  it('is refused if it is the address in any case', () => {
    for (const password of ['jane@example.com', ' JANE@EXAMPLE.COM'])
      expect(codeOf(password)).to.deep.equal(['password: password_is_email'])
    expect(codeOf('jane@example.co')).to.deep.equal([])
  })

  it('is refused if its NFC form is common', () => {
    expect(codeOf('pa\u0308ssword')).to.deep.equal(['password: password_too_common'])
    expect(codeOf('pa\u0308ssworts')).to.deep.equal([])
  })
})
