import { all, enforce, type Rule, text, wellFormed } from './rules.ts'

export const EMAIL_LIMITS = { min: 3, max: 320 }
export const PASSWORD_LIMITS = { min: 8, max: 128 }

/**
 * Letters, marks and digits of any script; beside them what RFC 5322 calls `atext`, and what RFC 6531 adds to it
 * except for blanks, controls and invisible format characters.
 */
const ATOM = /[a-z0-9!#$%&'*+\-/=?^_`{|}~]|[^\p{ASCII}\p{Z}\p{C}]/iu.source
const LETTER = /[\p{L}\p{M}\p{N}]/u.source
const LABEL = `${LETTER}+(?:-+${LETTER}+)*`
const ADDRESS = new RegExp(`^(?:${ATOM})+(?:\\.(?:${ATOM})+)*@${LABEL}(?:\\.${LABEL})+$`, 'iu')

const address: Rule = (value) =>
  ADDRESS.test(value as string) ? undefined : { code: 'not_an_email', detail: 'must be an e-mail address' }

const email: Rule = (value) => {
  const broken = wellFormed(value)
  return broken ?? all(text(EMAIL_LIMITS), address)(normalizeEmail(value as string))
}

export interface Credentials {
  readonly email: string
  readonly password: string
}

/** The rules of somebody who registers. */
export const credentialRules: Readonly<Record<keyof Credentials, Rule>> = {
  email,
  password: text(PASSWORD_LIMITS),
}

/** The rules of somebody who logs in: whatever a store can compare; the rest is a right or a wrong pair. */
export const loginRules: Readonly<Record<keyof Credentials, Rule>> = { email: wellFormed, password: wellFormed }

/**
 * One spelling for one address: no surrounding blanks, Unicode NFC, the domain in lower case. The local part keeps
 * its case, for RFC 5321 leaves its meaning to the receiving host.
 */
export function normalizeEmail(value: string): string {
  const trimmed = value.trim().normalize('NFC')
  const at = trimmed.lastIndexOf('@') + 1
  return trimmed.slice(0, at) + trimmed.slice(at).toLowerCase().normalize('NFC')
}

/** Everything there is to know of a user. */
export interface UserSnapshot {
  readonly id: number
  /** Normalised. */
  readonly email: string
  readonly hashedPassword: string
  readonly createdAt: Date
}

/** A user that the store has not yet given an id. */
export type UserDraft = Omit<UserSnapshot, 'id'>

/** Seconds by which the clocks of two instances may differ. */
const MAX_CLOCK_SKEW = 10

export class User {
  readonly #state: UserSnapshot

  private constructor(state: UserSnapshot) {
    this.#state = state
  }

  /** @throws InvalidInput when the address breaks its rule. */
  static create(address: string, hashedPassword: string, now: Date): UserDraft {
    enforce({ email }, { email: address })
    return { email: normalizeEmail(address), hashedPassword, createdAt: now }
  }

  /** Trusts the store: what was stored under an older rule stays readable. */
  static restore(state: UserSnapshot): User {
    return new User(state)
  }

  snapshot(): UserSnapshot {
    return this.#state
  }

  /**
   * Whether the user was created after a token was issued. After a restore an id can belong to a new user while the
   * tokens of the lost one are still valid.
   *
   * @param issuedAt in whole seconds, rounded down
   */
  isNewerThan(issuedAt: Date): boolean {
    const created = Math.floor(this.#state.createdAt.getTime() / 1_000)
    return created - issuedAt.getTime() / 1_000 > MAX_CLOCK_SKEW
  }
}
