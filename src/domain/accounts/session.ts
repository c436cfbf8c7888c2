import { MAX_CLOCK_SKEW } from '../clock.ts'
import { isUseDue } from './last-use.ts'
import type { PresentedRefreshToken } from './ports.ts'

/** How many sessions a user may have; one more ends the oldest. */
export const MAX_SESSIONS = 100
/** Characters of a User-Agent header that are kept. */
export const MAX_USER_AGENT = 255

/** Times in milliseconds. */
export interface SessionLifetimes {
  /** Since the last use. */
  readonly idle: number
  /** Since the login. */
  readonly max: number
  /** For which a used refresh token still yields its successor, so that racing requests of one client do not end its session. */
  readonly grace: number
}

/** The complete state of a session: a login, and the tokens that were made of it. */
export interface SessionSnapshot {
  /** Never reused. */
  readonly id: number
  readonly ownerId: number
  readonly createdAt: Date
  /** To the minute. */
  readonly lastUsedAt: Date
  /** As the client that logged in named itself; null if it did not. */
  readonly userAgent: string | null
  /** Number of rotations of the refresh token. */
  readonly counter: number
  /** The hash of the current refresh token. */
  readonly tokenHash: string
  readonly rotatedAt: Date
}

/** A session before the store assigns its id. */
export type SessionDraft = Omit<SessionSnapshot, 'id'>

/** The owner is part of the key: code that forgets the check finds nothing, never another user's session. */
export type SessionKey = Pick<SessionSnapshot, 'id' | 'ownerId'>

/** The effect of presenting a refresh token on its session. */
export type RefreshOutcome =
  /** The successor is the current token from now on. */
  | { readonly outcome: 'rotated'; readonly session: Session }
  /** Another request of the client has rotated the token just before; both get the same successor. */
  | { readonly outcome: 'repeated'; readonly session: Session }
  /** A token that was used before was presented, so it may have been stolen: the session ends. */
  | { readonly outcome: 'reused' }
  | { readonly outcome: 'refused' }

export class Session {
  /** The token hash is no public member, because JSON, `console.log` and deep equality show every member. */
  readonly #state: SessionSnapshot
  readonly id: number
  readonly ownerId: number

  private constructor(state: SessionSnapshot) {
    this.#state = state
    this.id = state.id
    this.ownerId = state.ownerId
  }

  static start(ownerId: number, userAgent: string | undefined, tokenHash: string, now: Date): SessionDraft {
    return {
      ownerId,
      createdAt: now,
      lastUsedAt: now,
      userAgent: userAgent ? firstCharacters(userAgent, MAX_USER_AGENT) : null,
      counter: 0,
      tokenHash,
      rotatedAt: now,
    }
  }

  static restore(state: SessionSnapshot): Session {
    return new Session(state)
  }

  snapshot(): SessionSnapshot {
    return this.#state
  }

  expiresAt({ idle, max }: SessionLifetimes): Date {
    const { createdAt, lastUsedAt } = this.#state
    return new Date(Math.min(createdAt.getTime() + max, lastUsedAt.getTime() + idle))
  }

  isExpired(lifetimes: SessionLifetimes, now: Date): boolean {
    return this.expiresAt(lifetimes) <= now
  }

  isUseDue(now: Date): boolean {
    return isUseDue(this.#state.lastUsedAt, now)
  }

  /**
   * Rotates the refresh token (RFC 9700, section 4.14).
   *
   * @param presented a token that this service issued for this session
   */
  refresh(presented: PresentedRefreshToken, now: Date, lifetimes: SessionLifetimes): RefreshOutcome {
    const { counter, tokenHash, rotatedAt } = this.#state
    if (this.isExpired(lifetimes, now)) return { outcome: 'refused' }
    if (presented.counter === counter) {
      if (presented.hash !== tokenHash) return { outcome: 'refused' }
      const rotated = { counter: counter + 1, tokenHash: presented.successor.hash, rotatedAt: now, lastUsedAt: now }
      return { outcome: 'rotated', session: new Session({ ...this.#state, ...rotated }) }
    }
    // A restored backup knows fewer rotations than the client.
    if (presented.counter > counter) return { outcome: 'refused' }
    const age = now.getTime() - rotatedAt.getTime()
    // After the clock was set back, the grace time would otherwise last until it has caught up.
    const inGrace = presented.counter === counter - 1 && age >= -MAX_CLOCK_SKEW && age <= lifetimes.grace
    if (!inGrace) return { outcome: 'reused' }
    return presented.successor.hash === tokenHash ? { outcome: 'repeated', session: this } : { outcome: 'refused' }
  }
}

function firstCharacters(text: string, count: number): string {
  // Each character has at most two code units.
  return Array.from(
    text
      .slice(0, 2 * count)
      .toWellFormed()
      .replaceAll('\0', ''),
  )
    .slice(0, count)
    .join('')
}
