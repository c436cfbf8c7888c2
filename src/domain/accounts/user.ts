import { MAX_CLOCK_SKEW } from '../clock.ts'
import { LastAdmin } from '../errors.ts'
import { all, atMostUnits, enforce, type Rule, text, wellFormed } from '../rules.ts'
import { timeZoneRule } from '../tasks/task-filter.ts'
import { MAX_RAW_PASSWORD, UNITS_PER_NFC_CHARACTER } from './password.ts'
import type { Idna } from './ports.ts'

export const EMAIL_LIMITS = { min: 3, max: 320 }

/** Maximum number of UTF-16 code units in a code point. */
const UNITS_PER_CHARACTER = 2
const ROOM_FOR_BLANKS = 128
/**
 * Maximum length of an address before normalisation, in UTF-16 code units. Normalising combining marks takes quadratic
 * time, so a longer text is refused first.
 */
export const MAX_RAW_EMAIL = EMAIL_LIMITS.max * UNITS_PER_NFC_CHARACTER + ROOM_FOR_BLANKS

/** `atext` of RFC 5322 and its extension by RFC 6531, without blanks, controls and invisible format characters. */
const ATOM = /[a-z0-9!#$%&'*+\-/=?^_`{|}~]|[^\p{ASCII}\p{Z}\p{C}]/iu.source
const LETTER = /[\p{L}\p{M}\p{N}]/u.source
const LABEL = `${LETTER}+(?:-+${LETTER}+)*`
const ADDRESS = new RegExp(`^(?:${ATOM})+(?:\\.(?:${ATOM})+)*@${LABEL}(?:\\.${LABEL})+$`, 'iu')

const address: Rule = (value) =>
  ADDRESS.test(value as string) ? undefined : { code: 'not_an_email', detail: 'must be an e-mail address' }

const normalizedEmail = all(text(EMAIL_LIMITS), address)

export const emailRule: Rule = all(atMostUnits(MAX_RAW_EMAIL, EMAIL_LIMITS.max), wellFormed, (value) =>
  normalizedEmail(normalizeEmail(value as string)),
)

export interface Credentials {
  readonly email: string
  readonly password: string
}

/** Login rules: any text that a store can compare. Text that no account can have is a wrong login, not invalid input. */
export const loginRules: Readonly<Record<keyof Credentials, Rule>> = { email: wellFormed, password: wellFormed }

/**
 * Normalises the credentials of a login. A value longer than any account's becomes empty and matches no account, so the
 * login takes the time of every other wrong one.
 */
export function normalizeLogin({ email, password }: Credentials): Credentials {
  const normalized = email.length > MAX_RAW_EMAIL ? '' : normalizeEmail(email)
  return {
    email: normalized.length > UNITS_PER_CHARACTER * EMAIL_LIMITS.max ? '' : normalized,
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

/** A normalised address, and its key, which is equal for all spellings of the address. */
export interface EmailAddress {
  readonly email: string
  /** In lower case, with the domain in its ASCII form where it has one. */
  readonly emailKey: string
}

/** @param email normalised */
export function toAddress(email: string, idna: Idna): EmailAddress {
  const at = email.lastIndexOf('@') + 1
  const domain = email.slice(at).toLowerCase().normalize('NFC')
  const local = email.slice(0, at).toLowerCase().normalize('NFC')
  return { email, emailKey: local + (idna.toAscii(domain) ?? domain) }
}

export const ROLES = ['user', 'admin'] as const
export type Role = (typeof ROLES)[number]

/** The complete state of a user. */
export interface UserSnapshot {
  readonly id: number
  /** Normalised. */
  readonly email: string
  /** Null for an account of an early release if an older one has the key: only the exact spelling finds it. */
  readonly emailKey: string | null
  readonly hashedPassword: string
  readonly role: Role
  /** A disabled user can neither log in nor use any token. */
  readonly disabled: boolean
  /** Name of the IANA time zone in which the user's days begin and end, unless a request names another. */
  readonly timeZone: string
  readonly createdAt: Date
}

/** A user before the store assigns its id. */
export type UserDraft = Omit<UserSnapshot, 'id'>

/** The members of a user that an admin can change. */
export type Administration = Partial<Pick<UserSnapshot, 'role' | 'disabled'>>

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
  static create(address: string, hashedPassword: string, now: Date, idna: Idna): UserDraft {
    enforce({ email: emailRule }, { email: address })
    return {
      ...toAddress(normalizeEmail(address), idna),
      hashedPassword,
      role: 'user',
      disabled: false,
      timeZone: 'UTC',
      createdAt: now,
    }
  }

  /** Trusts the store: users stored under older rules stay readable. */
  static restore(state: UserSnapshot): User {
    return new User(state)
  }

  snapshot(): UserSnapshot {
    return this.#state
  }

  /** @throws InvalidInput */
  withEmail(address: string, idna: Idna): User {
    enforce({ email: emailRule }, { email: address })
    return this.#with(toAddress(normalizeEmail(address), idna))
  }

  withPassword(hashedPassword: string): User {
    return this.#with({ hashedPassword })
  }

  /** @throws InvalidInput */
  withTimeZone(timeZone: string): User {
    enforce({ time_zone: timeZoneRule }, { time_zone: timeZone })
    return this.#with({ timeZone })
  }

  /**
   * @param otherAdmins number of other enabled users with the role admin
   * @throws LastAdmin
   */
  administer(change: Administration, otherAdmins: number): User {
    const changed = this.#with(change)
    if (!changed.isActiveAdmin) this.checkDispensable(otherAdmins)
    return changed
  }

  /**
   * @param otherAdmins number of other enabled users with the role admin
   * @throws LastAdmin when no admin would remain without this user
   */
  checkDispensable(otherAdmins: number): void {
    if (this.isActiveAdmin && otherAdmins === 0) throw new LastAdmin()
  }

  get isActiveAdmin(): boolean {
    return this.#state.role === 'admin' && !this.#state.disabled
  }

  #with(change: Partial<UserSnapshot>): User {
    return new User({ ...this.#state, ...change })
  }

  /**
   * Whether the user was created after a token was issued. After a backup was restored, a new user can have the id of a lost
   * one whose tokens have not expired.
   *
   * @param issuedAt in whole seconds, rounded down
   */
  isNewerThan(issuedAt: Date): boolean {
    const created = Math.floor(this.createdAt.getTime() / 1_000)
    return created - issuedAt.getTime() / 1_000 > MAX_CLOCK_SKEW / 1_000
  }
}
