import type { ApiToken, ApiTokenDraft, ApiTokenKey } from './api-token.ts'
import type { RefreshOutcome, Session, SessionDraft, SessionKey } from './session.ts'
import type { EmailAddress, User, UserDraft, UserSnapshot } from './user.ts'

/** The write that a decision on a user returns. */
export type UserWrite =
  | {
      readonly save: User
      /** Sessions that end in the same transaction: all, or all but one. */
      readonly endSessions?: { readonly except: number | undefined }
    }
  | { readonly remove: User }

/**
 * Decides on a user. It is synchronous and has no effect but its result, because it may run several times, each time on the
 * current user.
 *
 * @param otherAdmins number of other enabled users with the role admin
 */
export type DecideOnUser = (user: User, otherAdmins: number) => UserWrite

/** A page of users, newest first. */
export interface UserQuery {
  /** Only users with a lower id. */
  readonly before: number | undefined
  /** Only users whose address contains this text, ignoring case. */
  readonly containing: string | undefined
  readonly limit: number
}

/**
 * Every method throws StoreUnavailable, having done nothing, when the store is unreachable or out of space. `add` and `write`
 * throw OutcomeUnknown when the store did not confirm the commit.
 */
export interface UserRepository {
  /**
   * Stores a new user and assigns its id, which is never reused.
   *
   * @throws EmailAlreadyTaken when a user has the address or its key; of several concurrent calls, one succeeds
   */
  add(draft: UserDraft): Promise<User>
  findById(id: number): Promise<User | undefined>
  /** The user with exactly this address; if there is none, the user with its key. */
  findByEmail(address: EmailAddress): Promise<User | undefined>
  list(query: UserQuery): Promise<readonly User[]>
  /** Replaces the hash, unless it has changed since it was read or the user no longer exists. */
  replaceHash(user: Pick<UserSnapshot, 'id' | 'hashedPassword'>, hash: string): Promise<void>
  /**
   * One transaction: reads a user, lets `decide` change it, and stores what it returns. Such transactions are serial across all
   * users, so that two admins who demote each other cannot both succeed. When `decide` throws, nothing is stored.
   *
   * The commit of a removal deletes the user, the sessions and the API tokens, and frees the address. The tasks, which are
   * unreachable by then, are deleted in portions afterwards.
   *
   * @returns the stored user; undefined for a removed one
   * @throws UserNotFound
   * @throws EmailAlreadyTaken
   */
  write(id: number, decide: DecideOnUser): Promise<User | undefined>
}

/** A session and its user, read together. */
export interface SignedIn {
  readonly user: User
  readonly session: Session
}

/** Every method throws StoreUnavailable, having done nothing, when the store is unreachable or out of space. */
export interface SessionRepository {
  /**
   * Stores a new session, assigns its id, and ends the oldest sessions beyond MAX_SESSIONS.
   *
   * @param user as it was when its password was verified
   * @returns undefined when the user's password hash has changed since, or the user is disabled or no longer exists
   */
  start(draft: SessionDraft, user: Pick<UserSnapshot, 'hashedPassword'>): Promise<Session | undefined>
  /** One statement, because every request needs it. */
  find(key: SessionKey): Promise<SignedIn | undefined>
  /** The newest first. */
  list(ownerId: number): Promise<readonly Session[]>
  /**
   * One transaction: `decide` determines the outcome, then a rotated session is stored, and one whose token was reused is
   * ended. Of two concurrent calls, the second sees the result of the first.
   */
  refresh(key: SessionKey, decide: (found: SignedIn | undefined) => RefreshOutcome): Promise<RefreshOutcome>
  /** Moves the last use forward, never back. */
  use(key: SessionKey, now: Date): Promise<void>
  /** @returns whether there was such a session */
  end(key: SessionKey): Promise<boolean>
  /** Ends all sessions of a user, or all but one. */
  endAll(ownerId: number, except?: number): Promise<void>
}

/** An API token and its user, read together. */
export interface TokenHolder {
  readonly user: User
  readonly apiToken: ApiToken
}

/** Every method throws StoreUnavailable, having done nothing, when the store is unreachable or out of space. */
export interface ApiTokenRepository {
  /**
   * Stores a new token and assigns its id.
   *
   * @throws ApiTokenLimitReached when the owner has MAX_API_TOKENS
   * @throws InvalidToken when the owner no longer exists
   */
  add(draft: ApiTokenDraft): Promise<ApiToken>
  /** One statement, because every request needs it. */
  find(key: ApiTokenKey): Promise<TokenHolder | undefined>
  /** The newest first. */
  list(ownerId: number): Promise<readonly ApiToken[]>
  /** Moves the last use forward, never back. */
  use(key: ApiTokenKey, now: Date): Promise<void>
  /** @returns whether there was such a token */
  remove(key: ApiTokenKey): Promise<boolean>
}

/** The client on whose behalf a request is made. */
export interface Requester {
  /** An IPv4 address or an IPv6 /64. */
  readonly clientNetwork: string
  /** The User-Agent header. */
  readonly userAgent: string | undefined
  /** Aborts when the client leaves. */
  readonly signal: AbortSignal
}

/** Whether a password matches a hash; `outdated` if a stronger hash, or one of the NFC form, should replace the matching one. */
export type PasswordMatch = 'none' | 'current' | 'outdated'

/**
 * Both methods throw Overloaded when the queue is full, and the signal's reason when the requester's signal aborts while
 * they are queued. Once started, they run to completion.
 */
export interface PasswordHasher {
  /** A salted hash of the NFC form, of at most 255 characters. Every character of the password counts. */
  hash(password: string, requester: Pick<Requester, 'clientNetwork' | 'signal'>): Promise<string>
  /**
   * Returns `none` without a hash, that is, if there is no such account. The work depends on the password alone, so that the
   * time does not reveal whether the account exists. A hash that an earlier release made of another form than NFC matches the
   * password in that form.
   */
  verify(
    password: string,
    hash: string | undefined,
    requester: Pick<Requester, 'clientNetwork' | 'signal'>,
  ): Promise<PasswordMatch>
}

/** Slows down password guessing without locking the owner out. */
export interface LoginThrottle {
  /**
   * Runs a verification unless too many have failed recently. A verification fails by throwing InvalidCredentials or
   * WrongPassword.
   *
   * @param emailKey of the account, whether or not it exists
   * @param clientNetwork where the login comes from: an IPv4 address or an IPv6 /64
   * @param ownsKey whether the verified account owns the key; true by default. The success of another account clears no failures,
   *   because they may be guesses at the owner's password
   * @throws TooManyRequests when too many have failed, including those that failed while this verification ran
   */
  attempt<Result>(
    emailKey: string,
    clientNetwork: string,
    verify: () => Promise<Result>,
    ownsKey?: (result: Result) => boolean,
  ): Promise<Result>
}

/** The commonest passwords, which are the first that an attacker tries. */
export interface CommonPasswords {
  /** @param password in its NFC form; case is ignored */
  includes(password: string): boolean
}

/** Internationalised domain names. */
export interface Idna {
  /** The ASCII form of a domain, in lower case (UTS #46); undefined if it has none. Never an IP address. */
  toAscii(domain: string): string | undefined
}

export interface AccessToken {
  readonly token: string
  /** Lifetime in seconds. */
  readonly expiresIn: number
}

/** The claims of a valid access token. The user or the session may no longer exist. */
export interface VerifiedToken {
  readonly userId: number
  /** Absent from a token that was issued before there were sessions. */
  readonly sessionId: number | undefined
  /** Rounded down to whole seconds. Every token that this service issues has one. */
  readonly issuedAt: Date | undefined
}

export interface TokenService {
  issue(session: SessionKey): AccessToken
  /** @throws InvalidToken when the token is malformed, expired or not signed with a key of the service */
  verify(token: string): VerifiedToken
}

/** The secret part of a token, and its hash, which the store keeps. */
export interface Secret {
  readonly secret: string
  readonly hash: string
}

/** A refresh token that this service issued. Its session may no longer exist. */
export interface PresentedRefreshToken {
  readonly session: SessionKey
  /** Number of rotations before it was issued. */
  readonly counter: number
  readonly hash: string
  /** Derived from the presented token, so that each instance derives the same one. */
  readonly successor: { readonly token: string; readonly hash: string }
}

/** Refresh tokens: each carries its session, its counter, a secret and a MAC, so that none can be forged. */
export interface RefreshTokenService {
  newSecret(): Secret
  /** The first token of a session. */
  issue(session: SessionKey, secret: Secret): string
  /** @throws InvalidGrant when this service did not issue the token */
  verify(token: string): PresentedRefreshToken
}

/** A well-formed API token of a request; it may be forged. */
export interface PresentedApiToken {
  readonly key: ApiTokenKey
  readonly hash: string
}

/** API tokens: each carries its owner, its id, a secret and a checksum. */
export interface ApiTokenService {
  newSecret(): Secret
  issue(key: ApiTokenKey, secret: Secret): string
  /** @returns undefined when the text is no API token */
  parse(token: string): PresentedApiToken | undefined
}

export type AuditEventName =
  | 'registered'
  | 'logged_in'
  | 'login_refused'
  | 'refreshed'
  | 'refresh_reused'
  | 'session_ended'
  | 'password_changed'
  | 'email_changed'
  | 'password_refused'
  | 'api_token_created'
  | 'api_token_revoked'
  | 'role_changed'
  | 'disabled'
  | 'enabled'
  | 'left'
  | 'removed'

/** An event of an account: ids and the client network, never an e-mail address, a password or a token. */
export interface AuditEvent {
  readonly event: AuditEventName
  /** Undefined when a login names no account. */
  readonly userId: number | undefined
  /** The admin, for a change of another user. */
  readonly adminId?: number
  readonly sessionId?: number | undefined
  readonly apiTokenId?: number
  readonly role?: string
  /** Undefined at the command line. */
  readonly clientNetwork: string | undefined
}

/** The audit log of accounts, for operators. */
export interface Audit {
  record(event: AuditEvent): void
}
