import { UserNotFound } from '../errors.ts'
import { boolean, enforce, oneOf, optional, text, wholeNumber } from '../rules.ts'
import type { ChangeSignal } from '../tasks/ports.ts'
import type { AccountPolicy } from './account-policy.ts'
import { checkNewPassword } from './password.ts'
import type {
  Audit,
  AuditEventName,
  CommonPasswords,
  Idna,
  PasswordHasher,
  Requester,
  SessionRepository,
  UserQuery,
  UserRepository,
} from './ports.ts'
import { type Administration, MAX_RAW_EMAIL, normalizeEmail, ROLES, toAddress, type User } from './user.ts'

export const USERS_LIMIT = { min: 1, max: 200, default: 100 }
export const USERS_CONTAINING_LIMITS = { min: 1, max: 320 }

/** The rule for each parameter of a list of users. */
export const userQueryRules = {
  before: optional(wholeNumber(1, Number.MAX_SAFE_INTEGER)),
  containing: optional(text(USERS_CONTAINING_LIMITS)),
  limit: wholeNumber(USERS_LIMIT.min, USERS_LIMIT.max),
}

/** The rule for each member of a user that an admin can change. */
export const administrationRules = { role: optional(oneOf(ROLES)), disabled: optional(boolean) }

interface Needs {
  readonly users: UserRepository
  readonly sessions: SessionRepository
  readonly passwordHasher: PasswordHasher
  readonly commonPasswords: CommonPasswords
  readonly idna: Idna
  readonly changeSignal: Pick<ChangeSignal, 'raise'>
  readonly audit: Audit
}

/** An admin, or the operator at the command line, who has no id. */
export interface Administrator {
  readonly id?: number
  readonly clientNetwork?: string
}

export interface UserPage {
  readonly users: readonly User[]
  /** Value of `before` for the next page, if there is one. */
  readonly next: number | undefined
}

/** Lists and changes the accounts of other users, for admins. Gives no access to their tasks. */
export class AdministerUsers {
  readonly #ports: Needs
  readonly #policy: Pick<AccountPolicy, 'passwordMinLength'>

  constructor(ports: Needs, policy: Pick<AccountPolicy, 'passwordMinLength'>) {
    this.#ports = ports
    this.#policy = policy
  }

  /**
   * Newest users first.
   *
   * @throws InvalidInput
   */
  async list({ before, containing, limit = USERS_LIMIT.default }: Partial<UserQuery> = {}): Promise<UserPage> {
    enforce(userQueryRules, { before, containing, limit })
    const users = await this.#ports.users.list({ before, containing, limit: limit + 1 })
    const page = users.slice(0, limit)
    return { users: page, next: users.length > limit ? page.at(-1)?.id : undefined }
  }

  /**
   * Disabling a user ends the sessions; API tokens are refused until the user is enabled.
   *
   * @throws InvalidInput
   * @throws UserNotFound
   * @throws LastAdmin
   */
  async change(by: Administrator, id: number, change: Administration): Promise<User> {
    enforce(administrationRules, change)
    const { users, changeSignal } = this.#ports
    const before = (await this.#existing(id)).snapshot()
    const user = await users.write(id, (user, otherAdmins) => ({
      save: user.administer(change, otherAdmins),
      ...(change.disabled && { endSessions: { except: undefined } }),
    }))
    const { role = before.role, disabled = before.disabled } = change
    if (role !== before.role) this.#record(by, id, 'role_changed', role)
    if (disabled !== before.disabled) this.#record(by, id, disabled ? 'disabled' : 'enabled')
    if (change.disabled) changeSignal.raise(id)
    return user as User
  }

  /**
   * @throws UserNotFound
   * @throws LastAdmin
   */
  async remove(by: Administrator, id: number): Promise<void> {
    const { users, changeSignal } = this.#ports
    await users.write(id, (user, otherAdmins) => {
      user.checkDispensable(otherAdmins)
      return { remove: user }
    })
    this.#record(by, id, 'removed')
    changeSignal.raise(id)
  }

  /** @throws UserNotFound */
  async endSessions(by: Administrator, id: number): Promise<void> {
    const { sessions, changeSignal } = this.#ports
    await this.#existing(id)
    await sessions.endAll(id)
    this.#record(by, id, 'session_ended')
    changeSignal.raise(id)
  }

  /**
   * Makes a user an admin.
   *
   * @throws UserNotFound
   */
  async grant(by: Administrator, email: string): Promise<User> {
    const { id } = await this.#userWith(email)
    return this.change(by, id, { role: 'admin' })
  }

  /**
   * Sets the password of a user who forgot it, and ends all of the user's sessions.
   *
   * @throws UserNotFound
   * @throws InvalidInput
   */
  async setPassword(
    by: Administrator,
    email: string,
    password: string,
    requester: Pick<Requester, 'clientNetwork' | 'signal'>,
  ): Promise<void> {
    const { users, passwordHasher, commonPasswords: common, changeSignal } = this.#ports
    const user = await this.#userWith(email)
    checkNewPassword(password, user.email, { minLength: this.#policy.passwordMinLength, common })
    const hash = await passwordHasher.hash(password, requester)
    await users.write(user.id, (user) => ({ save: user.withPassword(hash), endSessions: { except: undefined } }))
    this.#record(by, user.id, 'password_changed')
    changeSignal.raise(user.id)
  }

  /** @throws UserNotFound */
  async #existing(id: number): Promise<User> {
    const user = await this.#ports.users.findById(id)
    if (!user) throw new UserNotFound()
    return user
  }

  /** @throws UserNotFound */
  async #userWith(email: string): Promise<User> {
    const { users, idna } = this.#ports
    const user =
      email.length > MAX_RAW_EMAIL ? undefined : await users.findByEmail(toAddress(normalizeEmail(email), idna))
    if (!user) throw new UserNotFound()
    return user
  }

  #record({ id: adminId, clientNetwork }: Administrator, userId: number, event: AuditEventName, role?: string): void {
    this.#ports.audit.record({
      event,
      userId,
      ...(adminId !== undefined && { adminId }),
      ...(role !== undefined && { role }),
      clientNetwork,
    })
  }
}
