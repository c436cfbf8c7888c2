import type { User, UserDraft, UserSnapshot } from './user.ts'

/**
 * Every method throws StoreUnavailable when the store is unreachable or out of space; nothing was done then. `add` throws
 * OutcomeUnknown when the store did not confirm the commit.
 */
export interface UserRepository {
  /**
   * Stores a new user and assigns its id, which is never reused.
   *
   * @throws EmailAlreadyTaken when the normalised address is already stored; of several concurrent calls, one succeeds
   */
  add(draft: UserDraft): Promise<User>
  findById(id: number): Promise<User | undefined>
  /** Replaces the hash, unless it has changed meanwhile or the user is gone. */
  replaceHash(user: Pick<UserSnapshot, 'id' | 'hashedPassword'>, hash: string): Promise<void>
  /** @param email normalised; compared exactly. */
  findByEmail(email: string): Promise<User | undefined>
}

/** The client on whose behalf a password is hashed or verified. */
export interface Requester {
  /** An IPv4 address or an IPv6 /64. */
  readonly clientNetwork: string
  /** Aborts when the client leaves. */
  readonly signal: AbortSignal
}

/**
 * `hash` and `verify` throw Overloaded when the queue is full, and the reason of the requester's signal when it aborts before
 * the work has begun. Work that has begun runs to its end.
 */
export interface PasswordHasher {
  /** A salted hash of at most 255 characters. Every character of the password counts. */
  hash(password: string, requester: Requester): Promise<string>
  /**
   * Returns false without a hash, that is without an account. The work is the same with any hash and without one, so that
   * the time does not reveal whether the account exists.
   */
  verify(password: string, hash: string | undefined, requester: Requester): Promise<boolean>
  /** Whether `hash` would now produce a stronger hash. */
  isOutdated(hash: string): boolean
}

/** Slows down password guessing without locking the owner out. */
export interface LoginThrottle {
  /**
   * Runs a login unless too many failed recently. A login that throws has failed.
   *
   * @param email normalised
   * @param clientNetwork where the login comes from: an IPv4 address or an IPv6 /64
   * @throws TooManyRequests without running the login
   */
  attempt<Result>(email: string, clientNetwork: string, logIn: () => Promise<Result>): Promise<Result>
}

export interface AccessToken {
  readonly token: string
  /** Lifetime in seconds from issue. */
  readonly expiresIn: number
}

/** The claims of a valid access token. The user may no longer exist. */
export interface VerifiedToken {
  readonly userId: number
  /** In whole seconds, rounded down. Every token that the service issues has it. */
  readonly issuedAt: Date | undefined
}

export interface TokenService {
  issue(userId: number): AccessToken
  /** @throws InvalidToken when the token is malformed, expired or not signed by this service */
  verify(token: string): VerifiedToken
}
