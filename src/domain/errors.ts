/**
 * What an error is, whatever reports it. A driving adapter translates each kind into its own terms
 * (HTTP: a status code), and does not compile while one is missing.
 */
export type ErrorKind = 'invalid' | 'unauthenticated' | 'not-found' | 'conflict' | 'too-many' | 'unavailable'

/** Every error that a use case reports: its stable code, which a program may compare, and what it is. */
export const errorKinds = {
  invalid_input: 'invalid',
  invalid_credentials: 'unauthenticated',
  invalid_token: 'unauthenticated',
  task_not_found: 'not-found',
  email_taken: 'conflict',
  too_many_requests: 'too-many',
  store_unavailable: 'unavailable',
  outcome_unknown: 'unavailable',
  overloaded: 'unavailable',
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof errorKinds

/** An error that the caller may be told about. Its message is a sentence and never repeats what the caller sent. */
export abstract class DomainError extends Error {
  abstract readonly code: ErrorCode

  get kind(): ErrorKind {
    return errorKinds[this.code]
  }
}

/** A rule that a value breaks. */
export interface Broken {
  /** Stable identifier of the rule, for example `too_long`. */
  readonly code: string
  /** What the value must be, for a person. Never repeats the value. */
  readonly detail: string
}

/** A broken rule and the member that breaks it. */
export interface Violation extends Broken {
  readonly member: string
}

/** Values that break a rule, one violation for each. */
export class InvalidInput extends DomainError {
  readonly code = 'invalid_input'
  readonly violations: readonly Violation[]

  constructor(violations: readonly Violation[]) {
    super('One or more values break a rule.')
    this.violations = violations
  }
}

/** Absent and another owner's alike: the words must not tell them apart. */
export class TaskNotFound extends DomainError {
  readonly code = 'task_not_found'

  constructor() {
    super('There is no such task.')
  }
}

export class EmailAlreadyTaken extends DomainError {
  readonly code = 'email_taken'

  constructor() {
    super('This e-mail address is already registered.')
  }
}

/** A wrong pair at login; the words do not say which half is wrong. */
export class InvalidCredentials extends DomainError {
  readonly code = 'invalid_credentials'

  constructor() {
    super('The e-mail address or the password is wrong.')
  }
}

/** A token that is malformed, expired, forged, or of a user who is gone. */
export class InvalidToken extends DomainError {
  readonly code = 'invalid_token'

  constructor() {
    super('The access token is not valid, or no longer.')
  }
}

/**
 * The store cannot be reached or has no room; nothing was done. The cause is for the log only; without one, the log has
 * it already.
 */
export class StoreUnavailable extends DomainError {
  readonly code = 'store_unavailable'

  constructor(cause: unknown) {
    super('The database cannot serve this request at the moment.', { cause })
  }
}

/**
 * The store did not answer whether it committed a write, so trying again may do it twice. The cause is for the log only;
 * without one, the log has it already.
 */
export class OutcomeUnknown extends DomainError {
  readonly code = 'outcome_unknown'

  constructor(cause: unknown) {
    super('The database did not confirm the change; check whether it was made before trying again.', { cause })
  }
}

/** More work waits than can be done in a reasonable time. */
export class Overloaded extends DomainError {
  readonly code = 'overloaded'

  constructor() {
    super('Too many requests of this kind are waiting; try again in a moment.')
  }
}

/** This was done too often lately. */
export class TooManyRequests extends DomainError {
  readonly code = 'too_many_requests'
  /** Seconds until it may be done again. */
  readonly retryAfter: number

  constructor(retryAfter: number) {
    super('There were too many requests of this kind lately; try again later.')
    this.retryAfter = retryAfter
  }
}
