import { mock } from 'node:test'
import bcrypt from 'bcrypt'
import { expect } from 'chai'
import { BcryptPasswordHasher } from '#src/adapters/security/bcrypt-password-hasher.ts'
import type { PasswordHasher } from '#src/domain/ports.ts'
import { FakePasswordHasher } from '#test/use-cases/fakes.ts'

const ROUNDS = 4

const implementations: Readonly<Record<string, () => PasswordHasher>> = {
  bcrypt: () => new BcryptPasswordHasher(ROUNDS),
  'the fake of the use-case specs': () => new FakePasswordHasher(),
}

for (const [name, build] of Object.entries(implementations)) {
  describe(`A password hasher (${name})`, () => {
    const passwords = build()

    it('verifies a password against its own hash', async () => {
      for (const password of ['correct horse', ' ', 'пароль🙂', 'e\u0301', 'a'.repeat(128), '🙂'.repeat(128)])
        expect(await passwords.verify(password, await passwords.hash(password)), password).to.equal(true)
    })

    it('verifies against a hash that another instance of it made', async () => {
      expect(await build().verify('correct horse', await passwords.hash('correct horse'))).to.equal(true)
    })

    it('does not verify another password', async () => {
      const hash = await passwords.hash('correct horse')
      for (const wrong of ['', 'Correct horse', 'correct horse ', 'correct hors', hash])
        expect(await passwords.verify(wrong, hash), wrong).to.equal(false)
    })

    it('counts every character: passwords that differ in the last one only, after 72 bytes too, are two', async () => {
      for (const start of ['a'.repeat(71), 'a'.repeat(72), 'a'.repeat(127), '🙂'.repeat(18), '🙂'.repeat(127)]) {
        const hash = await passwords.hash(`${start}x`)
        expect(await passwords.verify(`${start}x`, hash)).to.equal(true)
        expect(await passwords.verify(`${start}y`, hash)).to.equal(false)
        expect(await passwords.verify(start, hash)).to.equal(false)
      }
    })

    it('makes another hash each time, of at most 255 characters', async () => {
      const password = '🙂'.repeat(128)
      const hashes = await Promise.all([passwords.hash(password), passwords.hash(password)])
      expect(new Set(hashes)).to.have.property('size', 2)
      for (const hash of hashes) expect(Array.from(hash).length).to.be.at.most(255)
    })

    it('answers false where there is no hash, whatever the password', async () => {
      for (const password of ['', 'correct horse', '🙂'.repeat(128), 'undefined'])
        expect(await passwords.verify(password, undefined)).to.equal(false)
    })
  })
}

describe('A bcrypt hash', () => {
  const passwords = new BcryptPasswordHasher(ROUNDS)

  it('is made with the rounds that are configured', async () => {
    expect(await passwords.hash('correct horse')).to.match(/^\$2b\$04\$/)
    expect(await new BcryptPasswordHasher(5).hash('correct horse')).to.match(/^\$2b\$05\$/)
  })

  it('verifies with the rounds that it was made with, after others are configured', async () => {
    const hash = await new BcryptPasswordHasher(5).hash('correct horse')
    expect(await passwords.verify('correct horse', hash)).to.equal(true)
  })

  it('does not hold the password', async () => {
    expect(await passwords.hash('correct horse')).to.not.include('correct')
  })

  it('costs the same work where there is none: one comparison with a whole hash of as many rounds', async () => {
    const hash = await passwords.hash('correct horse')
    const compare = mock.method(bcrypt, 'compare')
    try {
      await passwords.verify('wrong horse', hash)
      await passwords.verify('wrong horse', undefined)
      const compared = compare.mock.calls.map(({ arguments: [, against] }) => String(against))
      expect(compared).to.have.length(2)
      // bcrypt answers at once, without any work, where a hash is not of this form.
      for (const against of compared) expect(against).to.match(/^\$2b\$04\$[./A-Za-z0-9]{53}$/)
    } finally {
      compare.mock.restore()
    }
  })
})
