import { createSecretKey, type KeyObject } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { InvalidToken } from '../../domain/errors.ts'
import type { AccessToken, Clock, TokenService } from '../../domain/ports.ts'

const USER_ID = /^[1-9]\d{0,15}$/

export interface JwtOptions {
  readonly secretKey: string
  readonly algorithm: 'HS256' | 'HS384' | 'HS512'
  /** Whole seconds, 1 or more. */
  readonly expiresIn: number
}

/** JSON Web Tokens (RFC 7519) with `sub`, `iat` and `exp`, signed by HMAC; the algorithm is pinned (RFC 8725, section 3.1). */
export class JwtTokenService implements TokenService {
  readonly #options: JwtOptions
  readonly #clock: Clock
  /** Made once: jsonwebtoken would otherwise import the key at each call, which costs more than the check itself. */
  readonly #key: KeyObject

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

  verify(token: string): number {
    const { sub, exp } = this.#claims(token)
    if (exp === undefined || typeof sub !== 'string' || !USER_ID.test(sub)) throw new InvalidToken()
    const id = Number(sub)
    if (!Number.isSafeInteger(id)) throw new InvalidToken()
    return id
  }

  #claims(token: string): jwt.JwtPayload {
    try {
      const options = { algorithms: [this.#options.algorithm], clockTimestamp: this.#now() }
      const payload = jwt.verify(token, this.#key, options)
      return typeof payload === 'string' ? {} : payload
    } catch {
      throw new InvalidToken()
    }
  }

  /** Whole seconds since 1970. */
  #now(): number {
    return Math.floor(this.#clock.now().getTime() / 1000)
  }
}
