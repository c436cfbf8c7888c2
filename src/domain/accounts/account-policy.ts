import type { SessionLifetimes } from './session.ts'

/** The operator's settings for accounts. */
export interface AccountPolicy {
  readonly registrationEnabled: boolean
  /** In characters. */
  readonly passwordMinLength: number
  readonly sessions: SessionLifetimes
}
