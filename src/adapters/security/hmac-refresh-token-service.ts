import { createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { PresentedRefreshToken, RefreshTokenService, Secret } from '../../domain/accounts/ports.ts'
import type { SessionKey } from '../../domain/accounts/session.ts'
import { InvalidGrant } from '../../domain/errors.ts'
import { deriveKey, keysOf, type SecretKeys } from './derived-key.ts'

/** Without a key for each purpose, a successor's secret could serve as the MAC of another text. */
interface Keys {
  readonly mac: Buffer
  readonly successor: Buffer
}

const SECRET_BYTES = 32
/** Owner, session, counter, secret and MAC: ids in plain decimal, 32 bytes in base64url. */
const TOKEN = /^(tmr_([1-9]\d{0,15})\.([1-9]\d{0,15})\.(0|[1-9]\d{0,15})\.([\w-]{43}))\.([\w-]{43})$/
const MAX_LENGTH = 'tmr_'.length + 3 * '9007199254740991.'.length + 43 + '.'.length + 43

/**
 * Refresh tokens `tmr_<owner>.<session>.<counter>.<secret>.<MAC>`. The MAC (HMAC with SHA-256) covers all text before it, so
 * a token with one changed character is invalid. The successor's secret is an HMAC over the same text with another key.
 *
 * The successor is derived from the SECRET_KEY that made the MAC of the presented token, so that instances agree on it during a
 * rolling change of the key. The MAC of the successor is made with the current key.
 */
export class HmacRefreshTokenService implements RefreshTokenService {
  /** Those of the current SECRET_KEY, which make new MACs, then those of the previous one. */
  readonly #keys: readonly [Keys, ...Keys[]]

  constructor(secretKeys: SecretKeys) {
    const [current, ...previous] = keysOf(secretKeys)
    this.#keys = [derivedFrom(current), ...previous.map(derivedFrom)]
  }

  newSecret(): Secret {
    return withHash(randomBytes(SECRET_BYTES).toString('base64url'))
  }

  issue(session: SessionKey, { secret }: Secret): string {
    return this.#token(session, 0, secret)
  }

  verify(token: string): PresentedRefreshToken {
    if (token.length > MAX_LENGTH) throw new InvalidGrant()
    const [, signed = '', ownerId, id, count, secret = '', mac = ''] = TOKEN.exec(token) ?? []
    const keys = this.#keys.find((keys) => isEqual(mac, hmac(keys.mac, signed)))
    if (!keys) throw new InvalidGrant()
    const session = { id: Number(id), ownerId: Number(ownerId) }
    const counter = Number(count)
    const successor = withHash(hmac(keys.successor, signed))
    return {
      session,
      counter,
      hash: withHash(secret).hash,
      successor: { token: this.#token(session, counter + 1, successor.secret), hash: successor.hash },
    }
  }

  #token({ ownerId, id }: SessionKey, counter: number, secret: string): string {
    const signed = `tmr_${ownerId}.${id}.${counter}.${secret}`
    return `${signed}.${hmac(this.#keys[0].mac, signed)}`
  }
}

const derivedFrom = (secretKey: string): Keys => ({
  mac: deriveKey(secretKey, 'refresh token: MAC'),
  successor: deriveKey(secretKey, 'refresh token: secret of the successor'),
})

/** The hash is 43 characters, like the secret. */
const withHash = (secret: string): Secret => ({ secret, hash: hash('sha256', secret, 'base64url') })

const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest('base64url')

/** Takes the same time wherever texts of the same length differ. */
function isEqual(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))
}
