import { hash, randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { ApiTokenKey } from '../../domain/accounts/api-token.ts'
import type { ApiTokenService, PresentedApiToken, Secret } from '../../domain/accounts/ports.ts'

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const PREFIX = 'tma_'
/** Digits of an id below 2^53. */
const ID_LENGTH = 9
/** 178 bits. */
const SECRET_LENGTH = 30
/** Digits of 32 bits. */
const CHECKSUM_LENGTH = 6

const TOKEN = new RegExp(
  `^${PREFIX}([0-9A-Za-z]{${ID_LENGTH}})([0-9A-Za-z]{${ID_LENGTH}})([0-9A-Za-z]{${SECRET_LENGTH}})$`,
)
const CHECKED_LENGTH = PREFIX.length + 2 * ID_LENGTH + SECRET_LENGTH
const LENGTH = CHECKED_LENGTH + CHECKSUM_LENGTH

/**
 * API tokens, which match `tma_[0-9A-Za-z]{54}`: the owner's id (9 digits in base 62), the token's id (9), a secret (30) and the
 * CRC-32 of all text before it (6). With the checksum, secret scanners recognise a token without the service, and most
 * other texts are refused without reading the store.
 */
export class CheckedApiTokenService implements ApiTokenService {
  newSecret(): Secret {
    let secret = ''
    while (secret.length < SECRET_LENGTH) secret += DIGITS[randomInt(DIGITS.length)]
    return { secret, hash: hashOf(secret) }
  }

  issue({ ownerId, id }: ApiTokenKey, { secret }: Secret): string {
    const checked = PREFIX + toBase62(ownerId, ID_LENGTH) + toBase62(id, ID_LENGTH) + secret
    return checked + checksumOf(checked)
  }

  parse(token: string): PresentedApiToken | undefined {
    if (token.length !== LENGTH || !token.startsWith(PREFIX)) return undefined
    const checked = token.slice(0, CHECKED_LENGTH)
    if (checksumOf(checked) !== token.slice(CHECKED_LENGTH)) return undefined
    const [, owner = '', id = '', secret = ''] = TOKEN.exec(checked) ?? []
    const key = { ownerId: fromBase62(owner), id: fromBase62(id) }
    return isId(key.ownerId) && isId(key.id) ? { key, hash: hashOf(secret) } : undefined
  }
}

/** 43 characters. */
const hashOf = (secret: string) => hash('sha256', secret, 'base64url')

const checksumOf = (text: string) => toBase62(crc32(text), CHECKSUM_LENGTH)

const isId = (number: number) => Number.isSafeInteger(number) && number > 0

/** @param number below 2^53 */
function toBase62(number: number, length: number): string {
  let digits = ''
  for (let rest = number; digits.length < length; rest = Math.floor(rest / DIGITS.length)) {
    digits = DIGITS.charAt(rest % DIGITS.length) + digits
  }
  return digits
}

/** @returns an unsafe integer if the digits stand for 2^53 or more */
function fromBase62(digits: string): number {
  let number = 0
  for (const digit of digits) number = number * DIGITS.length + DIGITS.indexOf(digit)
  return number
}
