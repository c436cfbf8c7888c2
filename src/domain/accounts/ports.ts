import type { User, UserDraft, UserSnapshot } from './user.ts'

/**
 * Every method throws StoreUnavailable when the store cannot be reached or has no room; nothing was done then. `add`
 * throws OutcomeUnknown when the store did not answer whether it committed.
 */
export interface UserRepository {
  /**
   * Stores a new user and gives it its id, which is never used again.
   *
   * @throws EmailAlreadyTaken when the (normalised) address is stored already; of several at once one succeeds.
   */
  add(draft: UserDraft): Promise<User>
  findById(id: number): Promise<User | undefined>
  /** Stores the hash for the user unless theirs is another one by now, or the user is gone. */
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
 * `hash` and `verify` throw Overloaded when too many hashes wait already, and the reason of the requester's signal when that
 * aborts before the work has begun, which is then not done. Work that has begun ends as usual.
 */
export interface PasswordHasher {
  /** A salted hash of at most 255 characters. Every character of the password counts. */
  hash(password: string, requester: Requester): Promise<string>
  /**
   * Without a hash (no such account) the answer is false. The work is the same for each hash, outdated or not, and
   * without one: the time does not tell whether there is an account.
   */
  verify(password: string, hash: string | undefined, requester: Requester): Promise<boolean>
  /** Whether `hash` would make a stronger one today. */
  isOutdated(hash: string): boolean
}

/** Slows down who guesses passwords, without a way to keep the owner out for ever. */
export interface LoginThrottle {
  /**
   * Runs a login unless too many failed lately; one that throws has failed.
   *
   * @param email normalised
   * @param clientNetwork where the login comes from: an IPv4 address or an IPv6 /64
   * @throws TooManyRequests and the login was not tried
   */
  attempt<Result>(email: string, clientNetwork: string, logIn: () => Promise<Result>): Promise<Result>
}

export interface AccessToken {
  readonly token: string
  /** Seconds, counted from the moment it was issued. */
  readonly expiresIn: number
}

/** What a valid access token says; it does not say whether there is such a user. */
export interface VerifiedToken {
  readonly userId: number
  /** In whole seconds, rounded down; the service's own tokens always have it. */
  readonly issuedAt: Date | undefined
}

export interface TokenService {
  issue(userId: number): AccessToken
  /** @throws InvalidToken when the token is malformed, expired, or not signed by this service. */
  verify(token: string): VerifiedToken
}
