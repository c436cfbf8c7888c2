import type { CommonPasswords } from '../../domain/accounts/ports.ts'

const none: CommonPasswords = { includes: () => false }

/**
 * Loads the 49,233 commonest passwords, in lower case, only if they are refused, because they take 4 MB of memory. Searching the
 * array takes 0.1 ms, a small part of the time of a hash, so a set is not worth its memory.
 *
 * @param refuse if false, no password is common
 */
export async function commonPasswords(refuse: boolean): Promise<CommonPasswords> {
  if (!refuse) return none
  const { dictionary } = await import('@zxcvbn-ts/language-common')
  const passwords: readonly string[] = dictionary['passwords-common']
  return { includes: (password) => passwords.includes(password.toLowerCase()) }
}
