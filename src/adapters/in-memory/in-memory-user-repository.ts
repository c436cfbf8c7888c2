import type { DecideOnUser, UserQuery, UserRepository } from '../../domain/accounts/ports.ts'
import { type EmailAddress, User, type UserDraft, type UserSnapshot } from '../../domain/accounts/user.ts'
import { EmailAlreadyTaken, UserNotFound } from '../../domain/errors.ts'
import { fold } from '../../domain/tasks/task-filter.ts'
import { Accounts } from './accounts.ts'

/** Keeps users for the life of the process. */
export class InMemoryUserRepository implements UserRepository {
  readonly #accounts: Accounts
  readonly #onRemoved: (id: number) => void

  /** @param onRemoved called when a user was removed */
  constructor(accounts = new Accounts(), onRemoved: (id: number) => void = () => {}) {
    this.#accounts = accounts
    this.#onRemoved = onRemoved
  }

  async add(draft: UserDraft): Promise<User> {
    this.#checkFree(draft)
    return User.restore(this.#accounts.users.add(draft))
  }

  async replaceHash({ id, hashedPassword }: Pick<UserSnapshot, 'id' | 'hashedPassword'>, hash: string): Promise<void> {
    const stored = this.#accounts.users.get(id)
    if (stored?.hashedPassword === hashedPassword) this.#accounts.users.set(id, { ...stored, hashedPassword: hash })
  }

  async findById(id: number): Promise<User | undefined> {
    return restored(this.#accounts.users.get(id))
  }

  async findByEmail({ email, emailKey }: EmailAddress): Promise<User | undefined> {
    const exact = this.#find((user) => user.email === email)
    return restored(exact ?? this.#find((user) => user.emailKey === emailKey))
  }

  async list({ before, containing, limit }: UserQuery): Promise<readonly User[]> {
    const part = containing === undefined ? '' : fold(containing)
    return Array.from(this.#accounts.users.values())
      .filter(({ id, email }) => (before === undefined || id < before) && fold(email).includes(part))
      .reverse()
      .slice(0, limit)
      .map(User.restore)
  }

  async write(id: number, decide: DecideOnUser): Promise<User | undefined> {
    const { users, sessions } = this.#accounts
    const stored = users.get(id)
    if (!stored) throw new UserNotFound()
    const admins = Array.from(users.values(), User.restore).filter((user) => user.isActiveAdmin && user.id !== id)
    const write = decide(User.restore(stored), admins.length)
    if ('remove' in write) {
      this.#remove(id)
      return undefined
    }
    const { save, endSessions } = write
    this.#checkFree(save.snapshot(), id)
    users.set(id, save.snapshot())
    if (endSessions) {
      for (const session of sessions.of(id)) if (session.id !== endSessions.except) sessions.delete(session.id)
    }
    return save
  }

  #remove(id: number): void {
    const { users, sessions, apiTokens } = this.#accounts
    users.delete(id)
    for (const session of sessions.of(id)) sessions.delete(session.id)
    for (const token of apiTokens.of(id)) apiTokens.delete(token.id)
    this.#onRemoved(id)
  }

  /** @throws EmailAlreadyTaken */
  #checkFree({ email, emailKey }: Pick<UserSnapshot, 'email' | 'emailKey'>, id?: number): void {
    const isTaken = (user: UserSnapshot) =>
      user.id !== id && (user.email === email || (emailKey !== null && user.emailKey === emailKey))
    if (this.#find(isTaken)) throw new EmailAlreadyTaken()
  }

  #find(matches: (user: UserSnapshot) => boolean): UserSnapshot | undefined {
    return Array.from(this.#accounts.users.values()).find(matches)
  }
}

const restored = (user: UserSnapshot | undefined) => user && User.restore(user)
