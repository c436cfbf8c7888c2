import { createSecretKey, type KeyObject } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { LRUCache } from 'lru-cache'
import type { AccessToken, TokenService, VerifiedToken } from '../../domain/accounts/ports.ts'
import type { SessionKey } from '../../domain/accounts/session.ts'
import type { Clock } from '../../domain/clock.ts'
import { InvalidToken } from '../../domain/errors.ts'
import { deriveKey, keysOf, type SecretKeys } from './derived-key.ts'

const ID = /^[1-9]\d{0,15}$/

/** The media type of access tokens (RFC 9068, section 2.1). */
const TYPE = 'at+jwt'
/** Includes the type of earlier releases; `application/` is optional, and case is ignored (RFC 7515, section 4.1.9). */
const ACCEPTED_TYPE = /^(?:application\/)?(?:at\+)?jwt$/i

interface CachedToken {
  readonly verified: VerifiedToken
  /** Seconds since 1970. */
  readonly exp: number
}

interface Key {
  /** A short hash, which distinguishes keys and reveals nothing about them. */
  readonly kid: string
  /** Created once: jsonwebtoken would import a text key on each call, which costs more than the verification. */
  readonly key: KeyObject
}

export interface JwtOptions extends SecretKeys {
  readonly algorithm: 'HS256' | 'HS384' | 'HS512'
  /** Whole seconds, 1 or more. */
  readonly expiresIn: number
}

/**
 * JSON Web Tokens (RFC 7519) with `sub`, `sid`, `iat` and `exp`, signed with HMAC. The algorithm is pinned, no key is chosen
 * by an unverified header, and the type distinguishes them from other tokens (RFC 8725, sections 3.1, 3.10 and 3.11).
 */
export class JwtTokenService implements TokenService {
  /** Maximum number of cached tokens, of a few hundred bytes each. */
  static readonly MAX_CACHED = 10_000

  readonly #options: JwtOptions
  readonly #clock: Clock
  /** The current key, which signs, then the previous one. */
  readonly #keys: readonly [Key, ...Key[]]
  /**
   * Tokens with a verified signature: the signature is checked once, the expiry each time. The use case checks that the user
   * and the session exist.
   */
  readonly #cached = new LRUCache<string, CachedToken>({ max: JwtTokenService.MAX_CACHED })

  constructor(options: JwtOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    const [current, ...previous] = keysOf(options)
    this.#keys = [keyOf(current), ...previous.map(keyOf)]
  }

  issue({ ownerId, id }: SessionKey): AccessToken {
    const { algorithm, expiresIn } = this.#options
    const [{ kid, key }] = this.#keys
    const iat = this.#now()
    const claims = { sub: String(ownerId), sid: String(id), iat, exp: iat + expiresIn }
    const token = jwt.sign(claims, key, { algorithm, header: { alg: algorithm, typ: TYPE, kid } })
    return { token, expiresIn }
  }

  verify(token: string): VerifiedToken {
    const cached = this.#cached.get(token)
    const { verified, exp } = cached ?? this.#check(token)
    if (exp <= this.#now()) throw new InvalidToken()
    if (!cached) this.#cached.set(token, { verified, exp })
    return verified
  }

  #check(token: string): CachedToken {
    const { sub, sid, exp, iat } = this.#claims(token)
    if (exp === undefined) throw new InvalidToken()
    if (iat !== undefined && typeof iat !== 'number') throw new InvalidToken()
    return {
      verified: {
        userId: idIn(sub),
        sessionId: sid === undefined ? undefined : idIn(sid),
        issuedAt: iat === undefined ? undefined : new Date(iat * 1_000),
      },
      exp,
    }
  }

  #claims(token: string): jwt.JwtPayload {
    for (const key of this.#keys) {
      const claims = this.#claimsSignedWith(key, token)
      if (claims) return claims
    }
    throw new InvalidToken()
  }

  #claimsSignedWith({ kid, key }: Key, token: string): jwt.JwtPayload | undefined {
    try {
      const { header, payload } = jwt.verify(token, key, {
        algorithms: [this.#options.algorithm],
        clockTimestamp: this.#now(),
        complete: true,
      })
      return typeof payload === 'string' || !isAcceptable(header, kid) ? undefined : payload
    } catch {
      return undefined
    }
  }

  /** Whole seconds since 1970. */
  #now(): number {
    return Math.floor(this.#clock.now().getTime() / 1000)
  }
}

const keyOf = (secretKey: string): Key => ({
  // 6 bytes are 8 characters.
  kid: deriveKey(secretKey, 'access token: key id', 6).toString('base64url'),
  key: createSecretKey(secretKey, 'utf8'),
})

/** Accepts a header without a key id or type, because tokens of earlier releases have none. */
function isAcceptable(header: jwt.JwtHeader, kid: string): boolean {
  // This service supports no critical extension (RFC 7515, section 4.1.11).
  if ('crit' in header) return false
  if ('kid' in header && header.kid !== kid) return false
  return !('typ' in header) || (typeof header.typ === 'string' && ACCEPTED_TYPE.test(header.typ))
}

/** @throws InvalidToken unless the claim is an id in plain decimal, as text */
function idIn(claim: unknown): number {
  const id = typeof claim === 'string' && ID.test(claim) ? Number(claim) : Number.NaN
  if (!Number.isSafeInteger(id)) throw new InvalidToken()
  return id
}
