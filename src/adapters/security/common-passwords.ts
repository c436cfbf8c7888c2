import type { CommonPasswords } from '../../domain/accounts/ports.ts'

const none: CommonPasswords = { includes: () => false }

/**
 * The 49,233 commonest passwords, in lower case. They take 4 MB of memory, so they are loaded only where they are needed. Searching
 * the array takes 0.1 ms, a small part of the time of a hash, so that no set is built.
 *
 * @param refuse false for no passwords at all
 */
export async function commonPasswords(refuse: boolean): Promise<CommonPasswords> {
  if (!refuse) return none
  const { dictionary } = await import('@zxcvbn-ts/language-common')
  const passwords: readonly string[] = dictionary['passwords-common']
  return { includes: (password) => passwords.includes(password.toLowerCase()) }
}
