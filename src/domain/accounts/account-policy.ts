import type { SessionLifetimes } from './session.ts'

/** What an operator decides about accounts. */
export interface AccountPolicy {
  readonly registrationEnabled: boolean
  /** In characters. */
  readonly passwordMinLength: number
  readonly sessions: SessionLifetimes
}
