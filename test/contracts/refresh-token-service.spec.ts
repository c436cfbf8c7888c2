import { createHash } from 'node:crypto'
import { expect } from 'chai'
import fc from 'fast-check'
import { HmacRefreshTokenService } from '#src/adapters/security/hmac-refresh-token-service.ts'
import type { RefreshTokenService } from '#src/domain/accounts/ports.ts'
import { InvalidGrant } from '#src/domain/errors.ts'
import { FakeRefreshTokenService } from '#test/use-cases/fakes.ts'

const secretKey = 'a secret that is known to these specs alone'
const previousSecretKey = 'the secret that these specs had before that'
const session = { ownerId: 7, id: 42 }

const implementations: Readonly<Record<string, () => RefreshTokenService>> = {
  HMAC: () => new HmacRefreshTokenService({ secretKey }),
  'the fake of the use-case specs': () => new FakeRefreshTokenService(),
}

for (const [name, build] of Object.entries(implementations)) {
  describe(`A refresh token service (${name})`, () => {
    const tokens = build()
    const first = (of = session) => {
      const secret = tokens.newSecret()
      return { token: tokens.issue(of, secret), hash: secret.hash }
    }

    it('returns the session, the counter and the hash of an issued token', () => {
      for (const id of [1, 42, Number.MAX_SAFE_INTEGER]) {
        for (const ownerId of [1, 7, Number.MAX_SAFE_INTEGER]) {
          const { token, hash } = first({ ownerId, id })
          expect(tokens.verify(token)).to.deep.include({ session: { ownerId, id }, counter: 0, hash })
        }
      }
    })

    it('makes a new secret each time', () => {
      const secrets = [tokens.newSecret(), tokens.newSecret()]
      for (const part of ['secret', 'hash'] as const)
        expect(new Set(secrets.map((each) => each[part]))).to.have.property('size', 2)
    })

    it('derives the successor, which is the next token of the session', () => {
      let token = first().token
      const hashes = new Set<string>()
      for (let counter = 0; counter < 5; counter++) {
        const presented = tokens.verify(token)
        expect(presented).to.deep.include({ session, counter })
        const next = tokens.verify(presented.successor.token)
        expect(next).to.deep.include({ session, counter: counter + 1, hash: presented.successor.hash })
        hashes.add(presented.hash)
        token = presented.successor.token
      }
      expect(hashes.size).to.equal(5)
    })

    it('derives the same successor each time, even in another instance', () => {
      const { token } = first()
      const successors = [tokens, tokens, build()].map((each) => each.verify(token).successor)
      for (const successor of successors) expect(successor).to.deep.equal(successors[0])
    })

    it('refuses texts that it did not issue', () => {
      const { token } = first()
      for (const wrong of ['', ' ', 'nonsense', `x${token}`, token.slice(1), `${token} ${token}`, 'é🙂\0'])
        expect(() => tokens.verify(wrong), wrong).to.throw(InvalidGrant)
    })
  })
}

describe('A refresh token with a MAC', () => {
  const tokens = new HmacRefreshTokenService({ secretKey })
  const ids = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
  const sessions = fc.record({ ownerId: ids, id: ids })
  const aToken = () => tokens.issue(session, tokens.newSecret())

  it('is parsed into the parts that it was issued with (property-based)', () => {
    fc.assert(
      fc.property(sessions, fc.integer({ min: 0, max: 3 }), (of, rotations) => {
        const secret = tokens.newSecret()
        let [token, hash] = [tokens.issue(of, secret), secret.hash]
        for (let counter = 0; counter <= rotations; counter++) {
          const presented = tokens.verify(token)
          expect(presented).to.deep.include({ session: of, counter, hash })
          token = presented.successor.token
          hash = presented.successor.hash
        }
      }),
    )
  })

  it('is refused after any change of one character (property-based)', () => {
    const characters = [...'0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.=+/ é🙂\0']
    const changes = fc.record({
      at: fc.nat({ max: 200 }),
      removed: fc.constantFrom(0, 1),
      added: fc.constantFrom('', ...characters),
    })
    fc.assert(
      fc.property(sessions, changes, (of, { at, removed, added }) => {
        const token = tokens.issue(of, tokens.newSecret())
        const place = at % (token.length + 1)
        const changed = token.slice(0, place) + added + token.slice(place + removed)
        fc.pre(changed !== token)
        expect(() => tokens.verify(changed), changed).to.throw(InvalidGrant)
      }),
      { numRuns: 1_000 },
    )
    const token = aToken()
    for (let at = 0; at < token.length; at++) {
      for (const character of characters.filter((each) => each !== token.charAt(at)))
        expect(() => tokens.verify(token.slice(0, at) + character + token.slice(at + 1))).to.throw(InvalidGrant)
    }
  })

  it('has a recognisable prefix and at most 142 characters, all valid in forms and URLs', () => {
    for (const { ownerId, id } of [session, { ownerId: Number.MAX_SAFE_INTEGER, id: Number.MAX_SAFE_INTEGER }]) {
      const token = tokens.issue({ ownerId, id }, tokens.newSecret())
      expect(token).to.match(new RegExp(`^tmr_${ownerId}\\.${id}\\.0\\.[\\w-]{43}\\.[\\w-]{43}$`))
      expect(encodeURIComponent(token)).to.equal(token)
      expect(token.length).to.be.at.most(142)
    }
  })

  it('does not carry the hash, which is the SHA-256 of its secret', () => {
    const { secret, hash } = tokens.newSecret()
    expect(Buffer.from(secret, 'base64url')).to.have.length(32)
    expect(hash).to.equal(createHash('sha256').update(secret).digest('base64url'))
    expect(tokens.issue(session, { secret, hash })).to.include(secret).and.not.include(hash)
  })

  it('cannot be made from parts of others', () => {
    const [one, other] = [session, { ownerId: 8, id: 43 }].map((each) =>
      tokens.issue(each, tokens.newSecret()).split('.'),
    )
    for (const part of [0, 1, 3, 4]) {
      const mixed = one?.with(part, other?.[part] ?? '').join('.') ?? ''
      expect(() => tokens.verify(mixed), mixed).to.throw(InvalidGrant)
    }
  })

  it('is refused at once if it is long, whatever it is made of', () => {
    for (const part of ['a', '1', '.', 'tmr_1.1.0.', '🙂'])
      expect(() => tokens.verify(part.repeat(10_000_000 / part.length))).to.throw(InvalidGrant)
  })

  it('is refused by a service with another key', () => {
    expect(() => new HmacRefreshTokenService({ secretKey: previousSecretKey }).verify(aToken())).to.throw(InvalidGrant)
  })
})

describe('A refresh token while the key is changed', () => {
  const before = new HmacRefreshTokenService({ secretKey: previousSecretKey })
  const changed = new HmacRefreshTokenService({ secretKey, previousSecretKey })
  const after = new HmacRefreshTokenService({ secretKey })
  const old = () => before.issue(session, before.newSecret())

  it('is accepted if it was made with the previous key', () => {
    const token = old()
    expect(changed.verify(token)).to.deep.include({ session, counter: 0, hash: before.verify(token).hash })
  })

  it('has one successor, whichever instance derives it', () => {
    const token = old()
    const [one, other] = [before.verify(token), changed.verify(token)]
    expect(one.successor.hash).to.equal(other.successor.hash)
    for (const { successor } of [one, other])
      expect(changed.verify(successor.token)).to.include({ counter: 1, hash: successor.hash })
  })

  it('stays valid in instances that make MACs with either key and accept both', () => {
    const notYet = new HmacRefreshTokenService({ secretKey: previousSecretKey, previousSecretKey: secretKey })
    let token = old()
    for (const [counter, each] of [changed, notYet, notYet, changed, changed].entries()) {
      const [one, other] = [changed.verify(token), notYet.verify(token)]
      expect(one).to.include({ counter, hash: other.hash })
      expect(one.successor.hash).to.equal(other.successor.hash)
      token = each.verify(token).successor.token
    }
  })

  it('has a successor with a MAC by the new key', () => {
    const { successor } = changed.verify(old())
    expect(after.verify(successor.token)).to.include({ counter: 1, hash: successor.hash })
    expect(() => before.verify(successor.token)).to.throw(InvalidGrant)
    expect(() => before.verify(changed.issue(session, changed.newSecret()))).to.throw(InvalidGrant)
  })

  it('is refused once the previous key is removed', () => {
    expect(() => after.verify(old())).to.throw(InvalidGrant)
  })
})
