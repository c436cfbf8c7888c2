import { MAX_CLOCK_SKEW } from '../clock.ts'
import { isUseDue } from './last-use.ts'
import type { PresentedRefreshToken } from './ports.ts'

/** Maximum number of sessions of a user; a further login ends the oldest. */
export const MAX_SESSIONS = 100
/** Maximum length of a stored User-Agent header in characters. */
export const MAX_USER_AGENT = 255

/** Times in milliseconds. */
export interface SessionLifetimes {
  /** Maximum time since the last use. */
  readonly idle: number
  /** Maximum time since the login. */
  readonly max: number
  /** Time for which a used refresh token still yields its successor, so that concurrent requests do not end the session. */
  readonly grace: number
}

/** The complete state of a session: a login, and the tokens issued since. */
export interface SessionSnapshot {
  /** Never reused. */
  readonly id: number
  readonly ownerId: number
  readonly createdAt: Date
  /** To the minute. */
  readonly lastUsedAt: Date
  /** The User-Agent header of the login; null without one. */
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
  /** A concurrent request has just rotated the token; both get the same successor. */
  | { readonly outcome: 'repeated'; readonly session: Session }
  /** A used token was presented again, so it may have been stolen: the session ends. */
  | { readonly outcome: 'reused' }
  | { readonly outcome: 'refused' }

export class Session {
  /** The token hash is not a public member, because JSON, `console.log` and deep equality show every member. */
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
    // After a restore, the store has fewer rotations than the client.
    if (presented.counter > counter) return { outcome: 'refused' }
    const age = now.getTime() - rotatedAt.getTime()
    // If the clock was set back, the grace time would otherwise last until the clock has caught up.
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
