/**
 * Every driven port: what the use cases need from the world. An adapter set implements all of them, and the specs in
 * `test/contracts` hold each implementation to what is written here.
 */
import type { Task, TaskDraft, TaskSnapshot } from './task.ts'
import type { User, UserDraft, UserSnapshot } from './user.ts'

export interface Ports {
  readonly tasks: TaskRepository
  readonly users: UserRepository
  readonly passwords: PasswordHasher
  readonly logins: LoginThrottle
  readonly tokens: TokenService
  readonly clock: Clock
  readonly health: HealthCheck
}

/** The owner is part of the key: who forgets to check finds nothing, and never somebody else's task. */
export type TaskKey = Pick<TaskSnapshot, 'id' | 'ownerId'>

/**
 * A run of one owner's tasks. `newerThan` and `olderThan` are exclusive ids, at most one of them given. The tasks
 * nearest to that id are taken, `skip` of them passed over first; with neither, the newest are.
 */
export interface TaskRange {
  readonly newerThan?: number
  readonly olderThan?: number
  /** 0 to 2^53 - 1. */
  readonly skip: number
  /** 1 or more. */
  readonly limit: number
}

/**
 * Every method throws StoreUnavailable when the store cannot be reached or has no room; nothing was done then. `add`,
 * `update` and `remove` throw OutcomeUnknown when the store did not answer whether it committed; all or nothing was done.
 */
export interface TaskRepository {
  /**
   * Stores a new task and gives it its id, which is higher than every id before it and is never used again.
   *
   * @throws InvalidToken when the store finds that the owner is gone
   */
  add(draft: TaskDraft): Promise<Task>
  /** @throws TaskNotFound when the owner has no such task. */
  get(key: TaskKey): Promise<Task>
  /**
   * Loads, changes and stores one task atomically: of two updates at once the second sees the first.
   * When `change` throws, the stored task stays as it was.
   * `change` may run more than once, each time on the task as it is then, so it does nothing but change it.
   *
   * @throws TaskNotFound when the owner has no such task.
   */
  update(key: TaskKey, change: (task: Task) => void): Promise<Task>
  /** Newest first, that is by descending id, whichever side the range is taken from. */
  list(ownerId: number, range: TaskRange): Promise<Task[]>
  /** @throws TaskNotFound when the owner has no such task; of several at once one succeeds. */
  remove(key: TaskKey): Promise<void>
}

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

/** Of the store behind the repositories. */
export interface HealthCheck {
  /** Asks the store something. @throws StoreUnavailable */
  ping(): Promise<void>
}

export interface Clock {
  now(): Date
}
