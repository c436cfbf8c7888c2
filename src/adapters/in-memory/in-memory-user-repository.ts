import type { UserRepository } from '../../domain/accounts/ports.ts'
import { User, type UserDraft, type UserSnapshot } from '../../domain/accounts/user.ts'
import { EmailAlreadyTaken } from '../../domain/errors.ts'

/** Keeps users for the life of the process. */
export class InMemoryUserRepository implements UserRepository {
  readonly #byId = new Map<number, UserSnapshot>()
  readonly #byEmail = new Map<string, UserSnapshot>()
  #lastId = 0

  async add(draft: UserDraft): Promise<User> {
    if (this.#byEmail.has(draft.email)) throw new EmailAlreadyTaken()
    const stored = { ...draft, id: ++this.#lastId }
    this.#store(stored)
    return User.restore(stored)
  }

  async replaceHash({ id, hashedPassword }: Pick<UserSnapshot, 'id' | 'hashedPassword'>, hash: string): Promise<void> {
    const stored = this.#byId.get(id)
    if (stored?.hashedPassword === hashedPassword) this.#store({ ...stored, hashedPassword: hash })
  }

  #store(user: UserSnapshot): void {
    this.#byId.set(user.id, user)
    this.#byEmail.set(user.email, user)
  }

  async findById(id: number): Promise<User | undefined> {
    return restored(this.#byId.get(id))
  }

  async findByEmail(email: string): Promise<User | undefined> {
    return restored(this.#byEmail.get(email))
  }
}

const restored = (user: UserSnapshot | undefined) => user && User.restore(user)
