import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { expect } from 'chai'
import fc from 'fast-check'
import { CheckedApiTokenService } from '#src/adapters/security/checked-api-token-service.ts'
import type { ApiTokenService } from '#src/domain/accounts/ports.ts'
import { FakeApiTokenService } from '#test/use-cases/fakes.ts'

const key = { ownerId: 7, id: 42 }

const implementations: Readonly<Record<string, () => ApiTokenService>> = {
  'with a checksum': () => new CheckedApiTokenService(),
  'the fake of the use-case specs': () => new FakeApiTokenService(),
}

for (const [name, build] of Object.entries(implementations)) {
  describe(`An API token service (${name})`, () => {
    const tokens = build()

    it('returns the key and the hash of an issued token, even in another instance', () => {
      for (const id of [1, 42, Number.MAX_SAFE_INTEGER]) {
        for (const ownerId of [1, 7, Number.MAX_SAFE_INTEGER]) {
          const secret = tokens.newSecret()
          const token = tokens.issue({ ownerId, id }, secret)
          for (const each of [tokens, build()])
            expect(each.parse(token)).to.deep.equal({ key: { ownerId, id }, hash: secret.hash })
        }
      }
    })

    it('makes a new secret each time', () => {
      const secrets = [tokens.newSecret(), tokens.newSecret()]
      for (const part of ['secret', 'hash'] as const)
        expect(new Set(secrets.map((each) => each[part]))).to.have.property('size', 2)
    })

    it('returns undefined for any other text', () => {
      const token = tokens.issue(key, tokens.newSecret())
      const others = [
        '',
        ' ',
        'nonsense',
        'tma_',
        `x${token}`,
        token.slice(1),
        ` ${token}`,
        `${token} ${token}`,
        'é🙂\0',
      ]
      for (const other of others) expect(tokens.parse(other), other).to.equal(undefined)
    })
  })
}

describe('An API token with a checksum', () => {
  const tokens = new CheckedApiTokenService()
  const ids = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
  const keys = fc.record({ ownerId: ids, id: ids })
  const characters = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  const aToken = () => tokens.issue(key, tokens.newSecret())

  /** Completes any parts to a token with the right checksum. */
  function withChecksum(parts: string): string {
    let checksum = ''
    for (let rest = crc32(parts); checksum.length < 6; rest = Math.floor(rest / 62))
      checksum = characters.charAt(rest % 62) + checksum
    return parts + checksum
  }

  it('matches the pattern for secret scanners, whatever its ids (property-based)', () => {
    fc.assert(
      fc.property(keys, (key) => {
        expect(tokens.issue(key, tokens.newSecret())).to.match(/^tma_[0-9A-Za-z]{54}$/)
      }),
    )
  })

  it('ends with the CRC-32 of the text before it, in base 62', () => {
    const token = aToken()
    expect(withChecksum(token.slice(0, -6))).to.equal(token)
    expect(tokens.parse(withChecksum(`tma_000000007000000000G${'a'.repeat(29)}`))).to.equal(undefined)
    expect(tokens.parse(withChecksum(`tma_00000000700000000g${'a'.repeat(30)}`))).to.deep.include({ key })
  })

  it('is parsed into the parts that it was issued with (property-based)', () => {
    fc.assert(
      fc.property(keys, (key) => {
        const secret = tokens.newSecret()
        expect(tokens.parse(tokens.issue(key, secret))).to.deep.equal({ key, hash: secret.hash })
      }),
    )
  })

  it('is refused after any change of one character', () => {
    const token = aToken()
    for (let at = 0; at < token.length; at++) {
      for (const character of [...characters, '_', '-', ' ', 'é', '\0'].filter((each) => each !== token.charAt(at)))
        expect(tokens.parse(token.slice(0, at) + character + token.slice(at + 1))).to.equal(undefined)
      expect(tokens.parse(token.slice(0, at) + token.slice(at + 1))).to.equal(undefined)
    }
  })

  it('is refused despite a correct checksum if its parts are not ids or digits', () => {
    const secret = 'a'.repeat(30)
    const [one, zero, beyond] = ['000000001', '000000000', 'zzzzzzzzz']
    expect(tokens.parse(withChecksum(`tma_${one}${one}${secret}`))).to.deep.include({ key: { ownerId: 1, id: 1 } })
    for (const parts of [zero + one, one + zero, beyond + one, one + beyond, `-${one.slice(1)}${one}`])
      expect(tokens.parse(withChecksum(`tma_${parts}${secret}`)), parts).to.equal(undefined)
    for (const other of [`${'a'.repeat(29)}-`, `${'a'.repeat(29)}\n`, `${'a'.repeat(29)}é`])
      expect(tokens.parse(withChecksum(`tma_${one}${one}${other}`)), other).to.equal(undefined)
    expect(tokens.parse(withChecksum(`tmb_${one}${one}${secret}`))).to.equal(undefined)
  })

  it('has a secret of which every digit is random, and is stored as its SHA-256', () => {
    const secrets = Array.from({ length: 300 }, () => tokens.newSecret())
    for (const { secret, hash } of secrets) {
      expect(secret).to.match(/^[0-9A-Za-z]{30}$/)
      expect(hash).to.equal(createHash('sha256').update(secret).digest('base64url'))
    }
    // Each digit is missing from 9,000 with a probability below 10^-63.
    expect(new Set(secrets.flatMap(({ secret }) => [...secret]))).to.have.property('size', 62)
    for (let at = 0; at < 30; at++) expect(new Set(secrets.map(({ secret }) => secret.charAt(at))).size).to.be.above(30)
  })

  it('is refused at once if it is long', () => {
    expect(tokens.parse(`tma_${'a'.repeat(10_000_000)}`)).to.equal(undefined)
  })
})
