import { expect } from 'chai'
import { commonPasswords } from '#src/adapters/security/common-passwords.ts'
import type { CommonPasswords } from '#src/domain/accounts/ports.ts'

const COMMON = ['123456', 'password', 'password1', 'password123', 'qwertyuiop', '1q2w3e4r', 'iloveyou', 'trustno1']

describe('The commonest passwords', () => {
  let common: CommonPasswords
  before(async () => {
    common = await commonPasswords(true)
  })

  it('include those that an attacker tries first, in any case', () => {
    for (const password of COMMON) {
      const capitalized = password.charAt(0).toUpperCase() + password.slice(1)
      for (const spelling of [password, password.toUpperCase(), capitalized])
        expect(common.includes(spelling), spelling).to.equal(true)
    }
  })

  it('include no other password', () => {
    const others = ['', ' ', 'correct horse battery staple', 'password123 ', ' password', 'пароль🙂', '__proto__', '0']
    for (const password of others) expect(common.includes(password), password).to.equal(false)
    expect(common.includes('a'.repeat(128))).to.equal(false)
  })

  it('are empty if they are not refused', async () => {
    const none = await commonPasswords(false)
    for (const password of COMMON) expect(none.includes(password)).to.equal(false)
  })
})
