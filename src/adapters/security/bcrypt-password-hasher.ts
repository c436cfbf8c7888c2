import { createHash } from 'node:crypto'
import bcrypt from 'bcrypt'
import type { PasswordHasher, PasswordMatch } from '../../domain/accounts/ports.ts'

/** The hashes that bcrypt accepts. For any other text, bcrypt returns false at once. */
const HASH = /^\$2[ab]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/

/** The base-2 logarithm of the iterations; `undefined` if the text is not a bcrypt hash. */
function roundsOf(hash: string): number | undefined {
  const [, rounds] = HASH.exec(hash) ?? []
  return rounds === undefined ? undefined : Number(rounds)
}

export class BcryptPasswordHasher implements PasswordHasher {
  readonly #rounds: number
  /**
   * The cost of every verification. It exceeds `#rounds` after a hash with more rounds was seen, from before BCRYPT_ROUNDS
   * was lowered or from an instance with a higher value.
   */
  #highestRounds: number

  /** @param rounds base-2 logarithm of the iterations, 4 to 15 */
  constructor(rounds: number) {
    this.#rounds = rounds
    this.#highestRounds = rounds
  }

  async hash(password: string): Promise<string> {
    return bcrypt.hash(digest(password.normalize('NFC')), this.#rounds)
  }

  async verify(password: string, hash = ''): Promise<PasswordMatch> {
    const rounds = roundsOf(hash)
    const normalized = password.normalize('NFC')
    const matches = await this.#compare(normalized, hash)
    // Earlier releases hashed the password as sent. Compare it even after a match, so that the work is always the same.
    const matchesAsSpelled = normalized !== password && (await this.#compare(password, hash))
    // A hash with more rounds is not outdated: two instances with different settings would otherwise keep replacing it.
    if (matches) return (rounds ?? this.#rounds) < this.#rounds ? 'outdated' : 'current'
    return matchesAsSpelled ? 'outdated' : 'none'
  }

  async #compare(password: string, hash: string): Promise<boolean> {
    const rounds = roundsOf(hash)
    this.#highestRounds = Math.max(this.#highestRounds, rounds ?? 0)
    const text = digest(password)
    const matches = await bcrypt.compare(text, rounds === undefined ? dummyHash(this.#highestRounds) : hash)
    // 2^n + 2^n + 2^(n+1) + … + 2^(m-1) = 2^m, so every comparison does the same work.
    for (let missing = rounds ?? this.#highestRounds; missing < this.#highestRounds; missing++) {
      await bcrypt.compare(text, dummyHash(missing))
    }
    return matches && rounds !== undefined
  }
}

/** A well-formed hash that no password matches; comparing against it takes all rounds. */
const dummyHash = (rounds: number) => `$2b$${String(rounds).padStart(2, '0')}$${'.'.repeat(53)}`

/** bcrypt reads 72 bytes and stops at NUL, so it gets the 64 base64 characters of a SHA-384 digest instead. */
function digest(password: string): string {
  return createHash('sha384').update(password, 'utf8').digest('base64')
}
