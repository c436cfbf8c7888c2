import type { User, UserDraft, UserSnapshot } from './user.ts'

/**
 * Every method throws StoreUnavailable, having done nothing, when the store is unreachable or out of space. `add` throws
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
  /** Replaces the hash, unless it was changed meanwhile or the user no longer exists. */
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
 * `hash` and `verify` throw Overloaded when the queue is full, and the signal's reason when the requester's signal aborts
 * while they are queued. Once started, they run to completion.
 */
export interface PasswordHasher {
  /** A salted hash of at most 255 characters. Every character of the password counts. */
  hash(password: string, requester: Requester): Promise<string>
  /**
   * Without a hash, because there is no such account, returns false. The work is the same for every hash and for none, so
   * that the time does not reveal whether the account exists.
   */
  verify(password: string, hash: string | undefined, requester: Requester): Promise<boolean>
  /** Whether hashing the password again would yield a stronger hash. */
  isOutdated(hash: string): boolean
}

/** Slows down password guessing without locking the owner out. */
export interface LoginThrottle {
  /**
   * Runs a login unless too many failed recently. A login fails by throwing InvalidCredentials.
   *
   * @param email normalised
   * @param clientNetwork where the login comes from: an IPv4 address or an IPv6 /64
   * @throws TooManyRequests without running the login
   */
  attempt<Result>(email: string, clientNetwork: string, logIn: () => Promise<Result>): Promise<Result>
}

export interface AccessToken {
  readonly token: string
  /** Lifetime in seconds. */
  readonly expiresIn: number
}

/** The claims of a valid access token. The user may no longer exist. */
export interface VerifiedToken {
  readonly userId: number
  /** Rounded down to whole seconds. Every token that this service issues has one. */
  readonly issuedAt: Date | undefined
}

export interface TokenService {
  issue(userId: number): AccessToken
  /** @throws InvalidToken when the token is malformed, expired or not signed with the service's key */
  verify(token: string): VerifiedToken
}
