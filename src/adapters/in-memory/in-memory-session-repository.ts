import type { SessionRepository, SignedIn } from '../../domain/accounts/ports.ts'
import {
  MAX_SESSIONS,
  type RefreshOutcome,
  Session,
  type SessionDraft,
  type SessionKey,
} from '../../domain/accounts/session.ts'
import { User, type UserSnapshot } from '../../domain/accounts/user.ts'
import { Accounts } from './accounts.ts'

/** Keeps sessions for the life of the process. */
export class InMemorySessionRepository implements SessionRepository {
  readonly #accounts: Accounts

  constructor(accounts = new Accounts()) {
    this.#accounts = accounts
  }

  async start(
    draft: SessionDraft,
    { hashedPassword }: Pick<UserSnapshot, 'hashedPassword'>,
  ): Promise<Session | undefined> {
    const { users, sessions } = this.#accounts
    const user = users.get(draft.ownerId)
    if (user?.hashedPassword !== hashedPassword || user.disabled) return undefined
    const oldest = sessions.of(draft.ownerId).slice(0, 1 - MAX_SESSIONS)
    for (const { id } of oldest) sessions.delete(id)
    return Session.restore(sessions.add(draft))
  }

  async find(key: SessionKey): Promise<SignedIn | undefined> {
    return this.#find(key)
  }

  async list(ownerId: number): Promise<readonly Session[]> {
    return this.#accounts.sessions.of(ownerId).reverse().map(Session.restore)
  }

  async refresh(key: SessionKey, decide: (found: SignedIn | undefined) => RefreshOutcome): Promise<RefreshOutcome> {
    const refresh = decide(this.#find(key))
    if (refresh.outcome === 'rotated') this.#accounts.sessions.set(key.id, refresh.session.snapshot())
    if (refresh.outcome === 'reused') await this.end(key)
    return refresh
  }

  async use(key: SessionKey, now: Date): Promise<void> {
    const { sessions } = this.#accounts
    const stored = sessions.find(key)
    if (stored && stored.lastUsedAt < now) sessions.set(key.id, { ...stored, lastUsedAt: now })
  }

  async end(key: SessionKey): Promise<boolean> {
    const { sessions } = this.#accounts
    return sessions.find(key) !== undefined && sessions.delete(key.id)
  }

  async endAll(ownerId: number, except?: number): Promise<void> {
    const { sessions } = this.#accounts
    for (const { id } of sessions.of(ownerId)) if (id !== except) sessions.delete(id)
  }

  /** Purges the sessions whose last use, or whose start, was before a time. */
  async purge({ lastUsed, created }: { readonly lastUsed: Date; readonly created: Date }): Promise<void> {
    const { sessions } = this.#accounts
    for (const { id, lastUsedAt, createdAt } of sessions.values()) {
      if (lastUsedAt < lastUsed || createdAt < created) sessions.delete(id)
    }
  }

  #find(key: SessionKey): SignedIn | undefined {
    const { users, sessions } = this.#accounts
    const session = sessions.find(key)
    const user = users.get(key.ownerId)
    return session && user && { user: User.restore(user), session: Session.restore(session) }
  }
}
