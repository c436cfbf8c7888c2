import { mock } from 'node:test'
import { expect } from 'chai'
import jwt from 'jsonwebtoken'
import { type JwtOptions, JwtTokenService } from '#src/adapters/security/jwt-token-service.ts'
import type { TokenService } from '#src/domain/accounts/ports.ts'
import type { SessionKey } from '#src/domain/accounts/session.ts'
import type { Clock } from '#src/domain/clock.ts'
import { InvalidToken } from '#src/domain/errors.ts'
import { invalidTokens, signed } from '#test/http/tokens.ts'
import { FakeClock, FakeTokenService } from '#test/use-cases/fakes.ts'

const secretKey = 'a secret that is known to these specs alone'
const previousSecretKey = 'the secret that these specs had before that'
const expiresIn = 3_600

const session: SessionKey = { ownerId: 7, id: 42 }

const implementations: Readonly<Record<string, (clock: Clock) => TokenService>> = {
  'JSON Web Tokens, HS256': (clock) => new JwtTokenService({ secretKey, algorithm: 'HS256', expiresIn }, clock),
  'JSON Web Tokens, HS384': (clock) => new JwtTokenService({ secretKey, algorithm: 'HS384', expiresIn }, clock),
  'JSON Web Tokens, HS512': (clock) => new JwtTokenService({ secretKey, algorithm: 'HS512', expiresIn }, clock),
  'the fake of the use-case specs': (clock) => new FakeTokenService(clock),
}

for (const [name, build] of Object.entries(implementations)) {
  describe(`A token service (${name})`, () => {
    let clock: FakeClock
    let tokens: TokenService

    beforeEach(() => {
      clock = new FakeClock()
      tokens = build(clock)
    })

    it('returns the user and the session of an issued token', () => {
      const ids = [1, 42, 2_147_483_647, Number.MAX_SAFE_INTEGER]
      for (const ownerId of ids) {
        for (const id of ids)
          expect(tokens.verify(tokens.issue({ ownerId, id }).token)).to.include({ userId: ownerId, sessionId: id })
      }
    })

    it('returns the second in which the token was issued', () => {
      clock.time = new Date('2026-01-31T09:30:00.999Z')
      const { token } = tokens.issue(session)
      clock.move(60)
      const issuedAt = new Date('2026-01-31T09:30:00.000Z')
      for (let use = 0; use < 2; use++)
        expect(tokens.verify(token)).to.deep.equal({ userId: 7, sessionId: 42, issuedAt })
    })

    it('accepts a token from another instance', () => {
      expect(build(clock).verify(tokens.issue(session).token).userId).to.equal(7)
    })

    it('accepts a token until the second in which it expires', () => {
      const { token, expiresIn } = tokens.issue(session)
      expect(expiresIn).to.equal(3_600)
      clock.move(expiresIn - 1)
      expect(tokens.verify(token).userId).to.equal(7)
      clock.move(1)
      expect(() => tokens.verify(token)).to.throw(InvalidToken)
      clock.move(1_000_000)
      expect(() => tokens.verify(token)).to.throw(InvalidToken)
    })

    it('refuses texts that it did not issue', () => {
      const { token } = tokens.issue(session)
      for (const wrong of ['', ' ', 'nonsense', `${token}x`, `x${token}`, token.slice(1), `${token} ${token}`, 'é🙂\0'])
        expect(() => tokens.verify(wrong), wrong).to.throw(InvalidToken)
    })
  })
}

const read = (part = ''): Record<string, unknown> => JSON.parse(Buffer.from(part, 'base64url').toString())
const headerOf = (token: string) => read(token.split('.')[0])

describe('A JSON Web Token', () => {
  const clock = new FakeClock()
  const tokens = new JwtTokenService({ secretKey, algorithm: 'HS256', expiresIn }, clock)
  const seconds = clock.time.getTime() / 1_000
  const claims = { sub: '7', iat: seconds, exp: seconds + 600 }

  it('has no claims but the ids as text, the time of issue and the expiry', () => {
    const [, payload] = tokens.issue(session).token.split('.')
    expect(read(payload)).to.deep.equal({ sub: '7', sid: '42', iat: seconds, exp: seconds + expiresIn })
  })

  it('names its algorithm, its type (RFC 9068, section 2.1) and its key', () => {
    const header = headerOf(tokens.issue(session).token)
    expect(header).to.have.all.keys('alg', 'typ', 'kid')
    expect(header).to.include({ alg: 'HS256', typ: 'at+jwt' })
    expect(header.kid).to.match(/^[\w-]{8}$/)
    expect(secretKey).to.not.include(header.kid as string)
  })

  it('is accepted from any issuer that has the key', () => {
    expect(tokens.verify(signed(claims, secretKey)).userId).to.equal(7)
  })

  it('may lack its session and its time of issue', () => {
    const { iat: _, ...withoutIat } = claims
    expect(tokens.verify(signed(withoutIat, secretKey))).to.deep.equal({
      userId: 7,
      sessionId: undefined,
      issuedAt: undefined,
    })
  })

  it('may lack its type, or be of type JWT in any case (RFC 7515, section 4.1.9)', () => {
    const types = ['JWT', 'jwt', 'Jwt', 'at+jwt', 'AT+JWT', 'At+Jwt', 'application/at+jwt', 'Application/JWT']
    for (const typ of types)
      expect(tokens.verify(signed(claims, secretKey, { alg: 'HS256', typ })).userId, typ).to.equal(7)
    expect(tokens.verify(signed(claims, secretKey, { alg: 'HS256' })).userId).to.equal(7)
  })

  for (const [what, token] of Object.entries(invalidTokens(7, secretKey, clock.time))) {
    it(`is refused ${what}`, () => expect(() => tokens.verify(token)).to.throw(InvalidToken))
  }

  it('is refused by a service with another algorithm', () => {
    const stronger = new JwtTokenService({ secretKey, algorithm: 'HS512', expiresIn }, clock)
    expect(() => stronger.verify(tokens.issue(session).token)).to.throw(InvalidToken)
    expect(() => tokens.verify(stronger.issue(session).token)).to.throw(InvalidToken)
  })

  for (const claim of ['sub', 'sid']) {
    it(`is refused if its ${claim} is not an id in plain decimal`, () => {
      const member = claim === 'sub' ? 'userId' : 'sessionId'
      for (let code = 0; code < 128; code++) {
        const character = String.fromCharCode(code)
        const token = signed({ ...claims, [claim]: `1${character}` }, secretKey)
        if (/\d/.test(character)) expect(tokens.verify(token)).to.include({ [member]: Number(`1${character}`) })
        else expect(() => tokens.verify(token), JSON.stringify(character)).to.throw(InvalidToken)
      }
    })
  }
})

describe('A JSON Web Token after the key was changed', () => {
  const clock = new FakeClock()
  const build = (keys: Pick<JwtOptions, 'secretKey' | 'previousSecretKey'>) =>
    new JwtTokenService({ ...keys, algorithm: 'HS256', expiresIn }, clock)
  const before = build({ secretKey: previousSecretKey })
  const changed = build({ secretKey, previousSecretKey })
  const after = build({ secretKey })
  const seconds = clock.time.getTime() / 1_000
  const claims = { sub: '7', exp: seconds + 600 }

  it('is accepted although the previous key signed it', () => {
    expect(changed.verify(before.issue(session).token)).to.include({ userId: 7, sessionId: 42 })
    expect(changed.verify(signed(claims, previousSecretKey)).userId).to.equal(7)
    expect(changed.verify(signed(claims, secretKey)).userId).to.equal(7)
  })

  it('is signed with the new key only', () => {
    const { token } = changed.issue(session)
    expect(after.verify(token).userId).to.equal(7)
    expect(() => before.verify(token)).to.throw(InvalidToken)
  })

  it('is accepted by instances that sign with either key and verify with both', () => {
    const notYet = build({ secretKey: previousSecretKey, previousSecretKey: secretKey })
    for (const [one, other] of [
      [notYet, changed],
      [changed, notYet],
    ] as const)
      expect(other.verify(one.issue(session).token)).to.include({ userId: 7, sessionId: 42 })
  })

  it('names the key that signed it', () => {
    const [old, current] = [before, changed].map((service) => headerOf(service.issue(session).token).kid)
    expect(old).to.not.equal(current)
    expect(headerOf(after.issue(session).token).kid).to.equal(current)
    for (const [kid, key] of [
      [old, secretKey],
      [current, previousSecretKey],
    ] as const)
      expect(() => changed.verify(signed(claims, key, { alg: 'HS256', kid }))).to.throw(InvalidToken)
  })

  it('is refused once the previous key is removed', () => {
    expect(() => after.verify(before.issue(session).token)).to.throw(InvalidToken)
  })

  for (const [what, token] of Object.entries(invalidTokens(7, previousSecretKey, clock.time))) {
    it(`is refused ${what}, with the previous key too`, () =>
      expect(() => changed.verify(token)).to.throw(InvalidToken))
  }
})

describe('A JSON Web Token that was already verified', () => {
  let clock: FakeClock
  let tokens: JwtTokenService
  let check: ReturnType<typeof mock.method>

  beforeEach(() => {
    clock = new FakeClock()
    tokens = new JwtTokenService({ secretKey, algorithm: 'HS256', expiresIn }, clock)
    check = mock.method(jwt, 'verify')
  })
  afterEach(() => mock.restoreAll())

  it('does not have its signature verified again', () => {
    const { token } = tokens.issue(session)
    for (let use = 0; use < 3; use++) expect(tokens.verify(token)).to.include({ userId: 7, sessionId: 42 })
    expect(check.mock.callCount()).to.equal(1)
  })

  it('is refused from the second of its expiry', () => {
    const { token } = tokens.issue(session)
    expect(tokens.verify(token).userId).to.equal(7)
    clock.move(expiresIn - 1)
    expect(tokens.verify(token).userId).to.equal(7)
    clock.move(1)
    for (let use = 0; use < 2; use++) expect(() => tokens.verify(token)).to.throw(InvalidToken)
    expect(check.mock.callCount()).to.equal(1)
  })

  it('does not make another token trusted', () => {
    const { token } = tokens.issue(session)
    expect(tokens.verify(token).userId).to.equal(7)
    const [header, , signature] = token.split('.')
    const claims = Buffer.from(JSON.stringify({ sub: '8', exp: 9_999_999_999 })).toString('base64url')
    for (const other of [`${header}.${claims}.${signature}`, `${token}A`, token.slice(0, -1)])
      expect(() => tokens.verify(other)).to.throw(InvalidToken)
  })

  it('is not cached if it was invalid', () => {
    const token = signed({ sub: '7', exp: 9_999_999_999 }, 'another key')
    for (let use = 0; use < 2; use++) expect(() => tokens.verify(token)).to.throw(InvalidToken)
    expect(check.mock.callCount()).to.equal(2)
  })

  it('is evicted by many newer ones', () => {
    // Signing and verifying this many tokens would take seconds.
    check.mock.mockImplementation(() => ({ header: {}, payload: { sub: '7', exp: 9_999_999_999 } }))
    const tokenOf = (id: number) => `token ${id}`
    const last = JwtTokenService.MAX_CACHED + 1
    for (let id = 1; id <= last; id++) tokens.verify(tokenOf(id))
    check.mock.resetCalls()
    tokens.verify(tokenOf(last))
    expect(check.mock.callCount()).to.equal(0)
    tokens.verify(tokenOf(1))
    expect(check.mock.callCount()).to.equal(1)
  })
})
