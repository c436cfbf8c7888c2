import { hkdfSync } from 'node:crypto'

/** The keys of the service, as text. Both verify tokens; only the current one signs. */
export interface SecretKeys {
  readonly secretKey: string
  /** The key before the last change, while tokens that it signed are still in use. */
  readonly previousSecretKey?: string | undefined
}

/** The current key, then the previous one. */
export function keysOf({ secretKey, previousSecretKey }: SecretKeys): readonly [string, ...string[]] {
  return previousSecretKey === undefined ? [secretKey] : [secretKey, previousSecretKey]
}

/**
 * Derives an independent key for one purpose (HKDF with SHA-256, RFC 5869).
 *
 * @param label names the purpose
 * @param length in bytes
 */
export function deriveKey(secretKey: string, label: string, length = 32): Buffer {
  return Buffer.from(hkdfSync('sha256', secretKey, '', label, length))
}
