import { createSecretKey, type KeyObject } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { LRUCache } from 'lru-cache'
import type { AccessToken, TokenService, VerifiedToken } from '../../domain/accounts/ports.ts'
import type { Clock } from '../../domain/clock.ts'
import { InvalidToken } from '../../domain/errors.ts'

const USER_ID = /^[1-9]\d{0,15}$/

interface CachedToken {
  readonly verified: VerifiedToken
  /** Seconds since 1970. */
  readonly exp: number
}

export interface JwtOptions {
  readonly secretKey: string
  readonly algorithm: 'HS256' | 'HS384' | 'HS512'
  /** Whole seconds, 1 or more. */
  readonly expiresIn: number
}

/** JSON Web Tokens (RFC 7519) with `sub`, `iat` and `exp`, signed with HMAC. The algorithm is pinned (RFC 8725, section 3.1). */
export class JwtTokenService implements TokenService {
  /** Maximum number of cached tokens, of a few hundred bytes each. */
  static readonly MAX_CACHED = 10_000

  readonly #options: JwtOptions
  readonly #clock: Clock
  /** Created once: jsonwebtoken would import a text key on each call, which costs more than the verification. */
  readonly #key: KeyObject
  /**
   * Tokens with a verified signature: the signature is checked once, the expiry each time. The use case checks that the user
   * exists.
   */
  readonly #cached = new LRUCache<string, CachedToken>({ max: JwtTokenService.MAX_CACHED })

  constructor(options: JwtOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.#key = createSecretKey(options.secretKey, 'utf8')
  }

  issue(userId: number): AccessToken {
    const { algorithm, expiresIn } = this.#options
    const iat = this.#now()
    const token = jwt.sign({ sub: String(userId), iat, exp: iat + expiresIn }, this.#key, { algorithm })
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
    const { sub, exp, iat } = this.#claims(token)
    if (exp === undefined || typeof sub !== 'string' || !USER_ID.test(sub)) throw new InvalidToken()
    if (iat !== undefined && typeof iat !== 'number') throw new InvalidToken()
    const userId = Number(sub)
    if (!Number.isSafeInteger(userId)) throw new InvalidToken()
    return { verified: { userId, issuedAt: iat === undefined ? iat : new Date(iat * 1_000) }, exp }
  }

  #claims(token: string): jwt.JwtPayload {
    try {
      const { header, payload } = jwt.verify(token, this.#key, {
        algorithms: [this.#options.algorithm],
        clockTimestamp: this.#now(),
        complete: true,
      })
      // This service supports no critical extension (RFC 7515, section 4.1.11).
      return typeof payload === 'string' || 'crit' in header ? {} : payload
    } catch {
      throw new InvalidToken()
    }
  }

  /** Whole seconds since 1970. */
  #now(): number {
    return Math.floor(this.#clock.now().getTime() / 1000)
  }
}
