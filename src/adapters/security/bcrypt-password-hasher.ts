import { createHash } from 'node:crypto'
import bcrypt from 'bcrypt'
import type { PasswordHasher } from '../../domain/ports.ts'

const BCRYPT_CHECKSUM_LENGTH = 31

export class BcryptPasswordHasher implements PasswordHasher {
  readonly #rounds: number
  /** Well-formed, so that comparing with it costs all the rounds, and of no known password. */
  readonly #hashOfNobody: string

  /** @param rounds base-2 logarithm of the iterations, 4 to 15 */
  constructor(rounds: number) {
    this.#rounds = rounds
    this.#hashOfNobody = bcrypt.genSaltSync(rounds) + '.'.repeat(BCRYPT_CHECKSUM_LENGTH)
  }

  async hash(password: string): Promise<string> {
    return bcrypt.hash(digest(password), this.#rounds)
  }

  async verify(password: string, hash: string | undefined): Promise<boolean> {
    const same = await bcrypt.compare(digest(password), hash ?? this.#hashOfNobody)
    return same && hash !== undefined
  }
}

/** bcrypt reads 72 bytes and stops at a NUL; 64 characters of base64 carry every byte of a longer password. */
function digest(password: string): string {
  return createHash('sha384').update(password, 'utf8').digest('base64')
}
