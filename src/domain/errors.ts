/**
 * The category of an error. A driving adapter maps every kind to its own terms (HTTP: a status code); a missing kind does not
 * compile.
 */
export type ErrorKind =
  | 'invalid'
  | 'invalid-grant'
  | 'unauthenticated'
  | 'forbidden'
  | 'not-found'
  | 'conflict'
  | 'gone'
  | 'precondition-failed'
  | 'too-many'
  | 'unavailable'

/** Every error code that a use case reports, with its kind. Codes are stable: programs compare them. */
export const errorKinds = {
  invalid_input: 'invalid',
  invalid_grant: 'invalid-grant',
  invalid_credentials: 'unauthenticated',
  invalid_token: 'unauthenticated',
  insufficient_scope: 'forbidden',
  session_required: 'forbidden',
  wrong_password: 'forbidden',
  registration_disabled: 'forbidden',
  task_not_found: 'not-found',
  session_not_found: 'not-found',
  api_token_not_found: 'not-found',
  user_not_found: 'not-found',
  email_taken: 'conflict',
  last_admin: 'conflict',
  api_token_limit_reached: 'conflict',
  task_limit_reached: 'conflict',
  idempotency_key_reused: 'invalid',
  idempotency_key_in_use: 'conflict',
  revision_mismatch: 'precondition-failed',
  sync_expired: 'gone',
  too_many_requests: 'too-many',
  store_unavailable: 'unavailable',
  outcome_unknown: 'unavailable',
  overloaded: 'unavailable',
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof errorKinds

/** An error that the caller may see. Its message is a sentence and never repeats input. */
export abstract class DomainError extends Error {
  abstract readonly code: ErrorCode
  /** The operation of a batch that failed, counted from 0; the others were not carried out either. */
  operation?: number

  override get name(): string {
    return this.constructor.name
  }

  get kind(): ErrorKind {
    return errorKinds[this.code]
  }
}

/** A rule that a value breaks. */
export interface RuleViolation {
  /** Stable identifier of the rule, for example `too_long`. */
  readonly code: string
  /** States what the value must be, for people. Never repeats the value. */
  readonly detail: string
}

/** A rule violation and the member that causes it. */
export interface Violation extends RuleViolation {
  readonly member: string
}

/** One or more values break a rule; there is one violation for each of these values. */
export class InvalidInput extends DomainError {
  readonly code = 'invalid_input'
  readonly violations: readonly Violation[]

  constructor(violations: readonly Violation[]) {
    super('One or more values break a rule.')
    this.violations = violations
  }
}

/** Also thrown for another owner's task, so that responses don't reveal it. */
export class TaskNotFound extends DomainError {
  readonly code = 'task_not_found'

  constructor() {
    super('There is no such task.')
  }
}

/** The owner has as many tasks as one may have. */
export class TaskLimitReached extends DomainError {
  readonly code = 'task_limit_reached'

  /** @param limit number of tasks */
  constructor(limit: number) {
    super(`An account holds at most ${limit} tasks; delete some first.`)
  }
}

/** The task has another revision than the caller expects. */
export class RevisionMismatch extends DomainError {
  readonly code = 'revision_mismatch'
  /** The revision that the task has. */
  readonly revision: number
  /** Whether a task can have a revision that the caller expects. */
  readonly satisfiable: boolean

  constructor(revision: number, satisfiable = true) {
    super(
      satisfiable
        ? "The task's revision does not meet the condition; read the task again."
        : 'No task can meet this condition.',
    )
    this.revision = revision
    this.satisfiable = satisfiable
  }
}

/** An earlier request with the same key had another input. */
export class IdempotencyKeyReused extends DomainError {
  readonly code = 'idempotency_key_reused'

  constructor() {
    super('Another request was made with this idempotency key; use a new key for each request.')
  }
}

/** An earlier request with the same key has not ended yet. */
export class IdempotencyKeyInUse extends DomainError {
  readonly code = 'idempotency_key_in_use'

  constructor() {
    super('A request with this idempotency key is still running; try again later.')
  }
}

/** The position in the change feed is of another store, or older than the deletions that are kept. */
export class SyncExpired extends DomainError {
  readonly code = 'sync_expired'

  constructor() {
    super('This position is no longer available; empty the replica and start without `since`.')
  }
}

export class EmailAlreadyTaken extends DomainError {
  readonly code = 'email_taken'

  constructor() {
    super('This e-mail address is already registered.')
  }
}

/** A wrong e-mail address or password at login; the message does not say which. */
export class InvalidCredentials extends DomainError {
  readonly code = 'invalid_credentials'

  constructor() {
    super('The e-mail address or the password is wrong.')
  }
}

/** A refresh token that is malformed, expired, used before or of a session that has ended (RFC 6749, section 5.2). */
export class InvalidGrant extends DomainError {
  readonly code = 'invalid_grant'

  constructor() {
    super('The refresh token is invalid, expired or already used; log in again.')
  }
}

/** The current password, which a change of the account needs, is wrong. */
export class WrongPassword extends DomainError {
  readonly code = 'wrong_password'

  constructor() {
    super('The current password is wrong.')
  }
}

/** The API token lacks the scope (RFC 6750, section 3.1). */
export class InsufficientScope extends DomainError {
  readonly code = 'insufficient_scope'
  readonly scope: string

  constructor(scope: string) {
    super(`The API token needs the scope ${scope}.`)
    this.scope = scope
  }
}

/** The request was made with an API token, which may not do this whatever its scopes are. */
export class SessionRequired extends DomainError {
  readonly code = 'session_required'

  constructor() {
    super('An API token cannot do this; log in and use the access token.')
  }
}

export class RegistrationDisabled extends DomainError {
  readonly code = 'registration_disabled'

  constructor() {
    super('New accounts cannot be registered here.')
  }
}

/** Also thrown for another user's session. */
export class SessionNotFound extends DomainError {
  readonly code = 'session_not_found'

  constructor() {
    super('There is no such session.')
  }
}

/** Also thrown for another user's token. */
export class ApiTokenNotFound extends DomainError {
  readonly code = 'api_token_not_found'

  constructor() {
    super('There is no such API token.')
  }
}

export class ApiTokenLimitReached extends DomainError {
  readonly code = 'api_token_limit_reached'

  /** @param limit number of tokens */
  constructor(limit: number) {
    super(`An account holds at most ${limit} API tokens; delete some first.`)
  }
}

export class UserNotFound extends DomainError {
  readonly code = 'user_not_found'

  constructor() {
    super('There is no such user.')
  }
}

/** Without this user, no enabled user would have the role admin. */
export class LastAdmin extends DomainError {
  readonly code = 'last_admin'

  constructor() {
    super('This is the last admin; grant the role to another user first.')
  }
}

/** A token that is malformed, expired, forged or revoked, or whose user is disabled or no longer exists. */
export class InvalidToken extends DomainError {
  readonly code = 'invalid_token'

  constructor() {
    super('The token is invalid, expired or revoked.')
  }
}

/**
 * The store is unreachable or out of space, and nothing was done. `cause` is for the log only, and undefined if it was
 * already logged.
 */
export class StoreUnavailable extends DomainError {
  readonly code = 'store_unavailable'

  constructor(cause: unknown) {
    super('The database is temporarily unavailable.', { cause })
  }
}

/**
 * The store did not confirm whether it committed a write, so a retry may repeat the write. `cause` is for the log only, and
 * undefined if it was already logged.
 */
export class OutcomeUnknown extends DomainError {
  readonly code = 'outcome_unknown'

  constructor(cause: unknown) {
    super('The database did not confirm the change; check whether it was made before trying again.', { cause })
  }
}

/** More work is queued than can be done in reasonable time. */
export class Overloaded extends DomainError {
  readonly code = 'overloaded'

  constructor() {
    super('Too many requests of this kind are waiting; try again later.')
  }
}

/** A rate limit was exceeded. */
export class TooManyRequests extends DomainError {
  readonly code = 'too_many_requests'
  /** Seconds until the next attempt is allowed. */
  readonly retryAfter: number

  constructor(retryAfter: number) {
    super('Too many requests; try again later.')
    this.retryAfter = retryAfter
  }
}
