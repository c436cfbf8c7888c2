import { all, atMostUnits, enforce, type Rule, text, wellFormed } from '../rules.ts'

export const EMAIL_LIMITS = { min: 3, max: 320 }
export const PASSWORD_LIMITS = { min: 8, max: 128 }

/** Maximum number of UTF-16 code units that NFC composes into one character: U+16126 has three parts of two units each. */
const UNITS_PER_NFC_CHARACTER = 6
const ROOM_FOR_BLANKS = 128
/**
 * Maximum length of an address before normalisation, in UTF-16 code units. Normalising combining marks takes quadratic
 * time, so a longer text is refused first.
 */
export const MAX_RAW_EMAIL = EMAIL_LIMITS.max * UNITS_PER_NFC_CHARACTER + ROOM_FOR_BLANKS
export const MAX_RAW_PASSWORD = PASSWORD_LIMITS.max * UNITS_PER_NFC_CHARACTER

/** `atext` of RFC 5322 and its extension by RFC 6531, without blanks, controls and invisible format characters. */
const ATOM = /[a-z0-9!#$%&'*+\-/=?^_`{|}~]|[^\p{ASCII}\p{Z}\p{C}]/iu.source
const LETTER = /[\p{L}\p{M}\p{N}]/u.source
const LABEL = `${LETTER}+(?:-+${LETTER}+)*`
const ADDRESS = new RegExp(`^(?:${ATOM})+(?:\\.(?:${ATOM})+)*@${LABEL}(?:\\.${LABEL})+$`, 'iu')

const address: Rule = (value) =>
  ADDRESS.test(value as string) ? undefined : { code: 'not_an_email', detail: 'must be an e-mail address' }

const normalizedEmail = all(text(EMAIL_LIMITS), address)

const email = all(atMostUnits(MAX_RAW_EMAIL, EMAIL_LIMITS.max), wellFormed, (value) =>
  normalizedEmail(normalizeEmail(value as string)),
)

export interface Credentials {
  readonly email: string
  readonly password: string
}

/** Registration rules. */
export const credentialRules: Readonly<Record<keyof Credentials, Rule>> = {
  email,
  password: text(PASSWORD_LIMITS),
}

/** Login rules: any text that a store can compare. Text that no account can have is a wrong login, not invalid input. */
export const loginRules: Readonly<Record<keyof Credentials, Rule>> = { email: wellFormed, password: wellFormed }

/**
 * Normalises the credentials of a login. A value longer than any account's becomes empty and matches no account, so the
 * login takes the time of every other wrong one.
 */
export function normalizeLogin({ email, password }: Credentials): Credentials {
  return {
    email: email.length > MAX_RAW_EMAIL ? '' : normalizeEmail(email),
    password: password.length > MAX_RAW_PASSWORD ? '' : password,
  }
}

/**
 * Trims surrounding blanks, normalises to NFC and lower-cases the domain. The local part keeps its case, because RFC 5321
 * leaves its meaning to the receiving host.
 */
export function normalizeEmail(value: string): string {
  const trimmed = value.trim().normalize('NFC')
  const at = trimmed.lastIndexOf('@') + 1
  return trimmed.slice(0, at) + trimmed.slice(at).toLowerCase().normalize('NFC')
}

/** The complete state of a user. */
export interface UserSnapshot {
  readonly id: number
  /** Normalised. */
  readonly email: string
  readonly hashedPassword: string
  readonly createdAt: Date
}

/** A user before the store assigns its id. */
export type UserDraft = Omit<UserSnapshot, 'id'>

/** Seconds by which the clocks of two instances may differ. */
const MAX_CLOCK_SKEW = 10

/** The password hash is not a member, because JSON, `console.log` and deep equality show every member. */
export class User {
  readonly id: number
  readonly email: string
  readonly createdAt: Date
  readonly #state: UserSnapshot

  private constructor(state: UserSnapshot) {
    this.id = state.id
    this.email = state.email
    this.createdAt = state.createdAt
    this.#state = state
  }

  /** @throws InvalidInput when the address breaks its rule */
  static create(address: string, hashedPassword: string, now: Date): UserDraft {
    enforce({ email }, { email: address })
    return { email: normalizeEmail(address), hashedPassword, createdAt: now }
  }

  /** Trusts the store: users stored under older rules stay readable. */
  static restore(state: UserSnapshot): User {
    return new User(state)
  }

  snapshot(): UserSnapshot {
    return this.#state
  }

  /**
   * Whether the user was created after a token was issued. After a backup was restored, a new user can have the id of a lost
   * one whose tokens have not expired.
   *
   * @param issuedAt in whole seconds, rounded down
   */
  isNewerThan(issuedAt: Date): boolean {
    const created = Math.floor(this.createdAt.getTime() / 1_000)
    return created - issuedAt.getTime() / 1_000 > MAX_CLOCK_SKEW
  }
}
