import { InvalidInput } from '../errors.ts'
import { all, atMostUnits, enforce, type Rule, text, wellFormed } from '../rules.ts'
import type { CommonPasswords } from './ports.ts'

/** Lengths in characters of the NFC form. An operator can raise the minimum. */
export const PASSWORD_LIMITS = { min: 8, max: 128 }

/** Maximum number of UTF-16 code units that NFC composes into one character: U+16126 has three parts of two units each. */
export const UNITS_PER_NFC_CHARACTER = 6

/** Maximum length of a password before normalisation, in UTF-16 code units. */
export const MAX_RAW_PASSWORD = PASSWORD_LIMITS.max * UNITS_PER_NFC_CHARACTER

/** The rule for a new password, applied to its NFC form. */
export function passwordRule(min = PASSWORD_LIMITS.min): Rule {
  const normalized = text({ min, max: PASSWORD_LIMITS.max })
  return all(atMostUnits(MAX_RAW_PASSWORD, PASSWORD_LIMITS.max), wellFormed, (value) =>
    normalized((value as string).normalize('NFC')),
  )
}

/** The operator's requirements for a new password. */
export interface PasswordPolicy {
  /** In characters. */
  readonly minLength: number
  readonly common: CommonPasswords
}

/**
 * Checks a new password of an account.
 *
 * @param email normalised
 * @throws InvalidInput with the code `password_is_email` or `password_too_common`, or that of the rule
 */
export function checkNewPassword(password: string, email: string, { minLength, common }: PasswordPolicy): void {
  enforce({ password: passwordRule(minLength) }, { password })
  if (equalsEmail(password, email)) {
    refuse('password_is_email', 'must not be the e-mail address')
  }
  if (common.includes(password.normalize('NFC'))) {
    refuse('password_too_common', 'must not be one of the commonest passwords')
  }
}

/** Whether a password is the e-mail address, in any case. */
export const equalsEmail = (password: string, email: string): boolean =>
  password.trim().normalize('NFC').toLowerCase() === email.toLowerCase()

function refuse(code: string, detail: string): never {
  throw new InvalidInput([{ member: 'password', code, detail }])
}
