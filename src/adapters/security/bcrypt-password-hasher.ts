import { createHash } from 'node:crypto'
import bcrypt from 'bcrypt'
import type { PasswordHasher } from '../../domain/accounts/ports.ts'

/** A hash that bcrypt reads; it answers false for any other, without work. */
const HASH = /^\$2[ab]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/

/** Base-2 logarithm of the iterations that verifying takes; nothing for what is no hash of bcrypt. */
function roundsOf(hash: string): number | undefined {
  const [, rounds] = HASH.exec(hash) ?? []
  return rounds === undefined ? undefined : Number(rounds)
}

export class BcryptPasswordHasher implements PasswordHasher {
  readonly #rounds: number
  /**
   * The work of every verification. It is more than `#rounds` once there was a hash from before BCRYPT_ROUNDS was
   * lowered, or from an instance with a higher one.
   */
  #highestRounds: number

  /** @param rounds base-2 logarithm of the iterations, 4 to 15 */
  constructor(rounds: number) {
    this.#rounds = rounds
    this.#highestRounds = rounds
  }

  async hash(password: string): Promise<string> {
    return bcrypt.hash(digest(password), this.#rounds)
  }

  async verify(password: string, hash = ''): Promise<boolean> {
    const rounds = roundsOf(hash)
    this.#highestRounds = Math.max(this.#highestRounds, rounds ?? 0)
    const text = digest(password)
    const same = await bcrypt.compare(text, rounds === undefined ? dummyHash(this.#highestRounds) : hash)
    // 2^n plus 2^n, 2^(n+1) and so on is the next power of two each time.
    for (let missing = rounds ?? this.#highestRounds; missing < this.#highestRounds; missing++) {
      await bcrypt.compare(text, dummyHash(missing))
    }
    return same && rounds !== undefined
  }

  /** Never for a hash of more rounds: of two instances that are configured differently one would weaken it again. */
  isOutdated(hash: string): boolean {
    return (roundsOf(hash) ?? this.#rounds) < this.#rounds
  }
}

/** Well-formed, so that comparing with it takes all the rounds. */
const dummyHash = (rounds: number) => `$2b$${String(rounds).padStart(2, '0')}$${'.'.repeat(53)}`

/** bcrypt reads 72 bytes and stops at a NUL; 64 characters of base64 carry every byte of a longer password. */
function digest(password: string): string {
  return createHash('sha384').update(password, 'utf8').digest('base64')
}
