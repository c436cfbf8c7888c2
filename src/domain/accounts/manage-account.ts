import type { Clock } from '../clock.ts'
import { InvalidInput, InvalidToken, SessionNotFound, UserNotFound, WrongPassword } from '../errors.ts'
import { enforce, optional, wellFormed } from '../rules.ts'
import type { ChangeSignal } from '../tasks/ports.ts'
import { timeZoneRule } from '../tasks/task-filter.ts'
import type { AccountPolicy } from './account-policy.ts'
import { authorize, type Caller } from './caller.ts'
import { checkNewPassword, equalsEmail, MAX_RAW_PASSWORD } from './password.ts'
import type {
  Audit,
  AuditEvent,
  CommonPasswords,
  DecideOnUser,
  Idna,
  LoginThrottle,
  PasswordHasher,
  Requester,
  SessionRepository,
  UserRepository,
} from './ports.ts'
import type { Session } from './session.ts'
import { emailRule, normalizeEmail, toAddress, type User, type UserSnapshot } from './user.ts'

interface Needs {
  readonly users: UserRepository
  readonly sessions: SessionRepository
  readonly passwordHasher: PasswordHasher
  readonly loginThrottle: LoginThrottle
  readonly commonPasswords: CommonPasswords
  readonly idna: Idna
  readonly changeSignal: Pick<ChangeSignal, 'raise'>
  readonly audit: Audit
  readonly clock: Clock
}

export interface AccountChanges {
  readonly email?: string | undefined
  readonly password?: string | undefined
  readonly timeZone?: string | undefined
  /** Required for a new address or a new password. */
  readonly currentPassword?: string | undefined
}

/** Changes and deletes a user's own account, and lists and ends its sessions. */
export class ManageAccount {
  readonly #ports: Needs
  readonly #policy: AccountPolicy

  constructor(ports: Needs, policy: AccountPolicy) {
    this.#ports = ports
    this.#policy = policy
  }

  /**
   * A new password ends all other sessions.
   *
   * @throws SessionRequired when an API token would change the address or the password
   * @throws InvalidInput
   * @throws WrongPassword
   * @throws TooManyRequests after too many wrong passwords
   * @throws EmailAlreadyTaken
   * @throws InvalidToken when the account no longer exists
   * @throws Overloaded
   */
  async change(caller: Caller, changes: AccountChanges, requester: Requester): Promise<User> {
    const { email, password, timeZone, currentPassword } = changes
    const needsPassword = email !== undefined || password !== undefined
    if (needsPassword) authorize(caller, 'session')
    enforce({ email: optional(emailRule), time_zone: optional(timeZoneRule) }, { email, time_zone: timeZone })
    const address = email === undefined ? caller.user.email : normalizeEmail(email)
    if (password !== undefined) this.#checkPassword(password, address)
    if (needsPassword) {
      await this.#confirm(caller.user, currentPassword, requester)
      if (password === undefined && equalsEmail(currentPassword as string, address)) {
        throw new InvalidInput([
          { member: 'email', code: 'password_is_email', detail: 'must differ from your password' },
        ])
      }
    }
    const hash = password === undefined ? undefined : await this.#ports.passwordHasher.hash(password, requester)
    const user = await this.#save(caller, { email, hash, timeZone }, needsPassword)
    this.#record(caller, requester, [
      ...(email === undefined ? [] : (['email_changed'] as const)),
      ...(hash === undefined ? [] : (['password_changed'] as const)),
    ])
    if (hash !== undefined) this.#ports.changeSignal.raise(user.id)
    return user
  }

  #checkPassword(password: string, email: string): void {
    const { commonPasswords: common } = this.#ports
    checkNewPassword(password, email, { minLength: this.#policy.passwordMinLength, common })
  }

  async #save(
    { user: { id, hashedPassword }, credential }: Caller,
    changes: {
      readonly email?: string | undefined
      readonly hash?: string | undefined
      readonly timeZone?: string | undefined
    },
    confirmed: boolean,
  ): Promise<User> {
    const { idna } = this.#ports
    const { email, hash, timeZone } = changes
    const sessionId = credential.kind === 'session' ? credential.sessionId : undefined
    const saved = await this.#write(id, (user) => {
      if (confirmed) expectHash(user, hashedPassword)
      let changed = user
      if (email !== undefined) changed = changed.withEmail(email, idna)
      if (hash !== undefined) changed = changed.withPassword(hash)
      if (timeZone !== undefined) changed = changed.withTimeZone(timeZone)
      return { save: changed, ...(hash !== undefined && { endSessions: { except: sessionId } }) }
    })
    return saved as User
  }

  /**
   * Deletes the account with everything that belongs to it.
   *
   * @throws InvalidInput without a password
   * @throws WrongPassword
   * @throws TooManyRequests after too many wrong passwords
   * @throws LastAdmin
   * @throws InvalidToken when the account no longer exists
   * @throws Overloaded
   */
  async leave(caller: Caller, currentPassword: string | undefined, requester: Requester): Promise<void> {
    const { changeSignal } = this.#ports
    const { id, hashedPassword } = caller.user
    await this.#confirm(caller.user, currentPassword, requester)
    await this.#write(id, (user, otherAdmins) => {
      expectHash(user, hashedPassword)
      user.checkDispensable(otherAdmins)
      return { remove: user }
    })
    this.#record(caller, requester, ['left'])
    changeSignal.raise(id)
  }

  /** @throws InvalidToken when the account no longer exists */
  async #write(id: number, decide: DecideOnUser): Promise<User | undefined> {
    try {
      return await this.#ports.users.write(id, decide)
    } catch (error) {
      throw error instanceof UserNotFound ? new InvalidToken() : error
    }
  }

  /** The sessions that have not expired, newest first. */
  async sessions({ user: { id } }: Caller): Promise<readonly Session[]> {
    const now = this.#ports.clock.now()
    const sessions = await this.#ports.sessions.list(id)
    return sessions.filter((session) => !session.isExpired(this.#policy.sessions, now))
  }

  /** @throws SessionNotFound */
  async endSession(caller: Caller, id: number, { clientNetwork }: Requester): Promise<void> {
    const { sessions, changeSignal, audit } = this.#ports
    const ownerId = caller.user.id
    if (!(await sessions.end({ id, ownerId }))) throw new SessionNotFound()
    changeSignal.raise(ownerId)
    audit.record({ event: 'session_ended', userId: ownerId, sessionId: id, clientNetwork })
  }

  /** Ends all sessions but the caller's. */
  async endOtherSessions(caller: Caller, requester: Requester): Promise<void> {
    const { sessions, changeSignal } = this.#ports
    const { user, credential } = caller
    await sessions.endAll(user.id, credential.kind === 'session' ? credential.sessionId : undefined)
    changeSignal.raise(user.id)
    this.#record(caller, requester, ['session_ended'])
  }

  /**
   * @throws InvalidInput without a password
   * @throws WrongPassword
   */
  async #confirm(user: UserSnapshot, password: string | undefined, requester: Requester): Promise<void> {
    const { loginThrottle, passwordHasher, idna, audit } = this.#ports
    const { clientNetwork } = requester
    if (password === undefined) {
      throw new InvalidInput([{ member: 'current_password', code: 'required', detail: 'is required' }])
    }
    enforce({ current_password: wellFormed }, { current_password: password })
    const bounded = password.length > MAX_RAW_PASSWORD ? '' : password
    const verify = async () => {
      if ((await passwordHasher.verify(bounded, user.hashedPassword, requester)) !== 'none') return
      audit.record({ event: 'password_refused', userId: user.id, clientNetwork })
      throw new WrongPassword()
    }
    const key = toAddress(user.email, idna).emailKey
    await loginThrottle.attempt(key, clientNetwork, verify, () => user.emailKey !== null)
  }

  #record({ user }: Caller, { clientNetwork }: Requester, events: readonly AuditEvent['event'][]): void {
    for (const event of events) this.#ports.audit.record({ event, userId: user.id, clientNetwork })
  }
}

/** @throws WrongPassword when the password was changed after it was confirmed */
function expectHash(user: User, hash: string): void {
  if (user.snapshot().hashedPassword !== hash) throw new WrongPassword()
}
