import type {
  AccessToken,
  LoginThrottle,
  PasswordHasher,
  TokenService,
  VerifiedToken,
} from '#src/domain/accounts/ports.ts'
import type { Clock } from '#src/domain/clock.ts'
import { InvalidToken } from '#src/domain/errors.ts'
import type { ChangeSignal, ChangeSubscription } from '#src/domain/tasks/ports.ts'

/** Remembers whose changes were announced, and wakes its subscriptions when it is told to. */
export class FakeChangeSignal implements ChangeSignal {
  readonly raised: number[] = []
  readonly subscribed: number[] = []
  ended = 0
  #waiting = Promise.withResolvers<() => void>()

  raise(ownerId: number): void {
    this.raised.push(ownerId)
  }

  subscribe(ownerId: number): ChangeSubscription {
    this.subscribed.push(ownerId)
    return {
      changed: (signal) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => resolve(), { once: true })
          this.#waiting.resolve(resolve)
        }),
      [Symbol.dispose]: () => {
        this.ended++
      },
    }
  }

  /** Resolves when a subscription waits, to the function that wakes it. */
  async nextWait(): Promise<() => void> {
    const wake = await this.#waiting.promise
    this.#waiting = Promise.withResolvers()
    return wake
  }
}

/** Records which hashes it was asked to verify. */
export class FakePasswordHasher implements PasswordHasher {
  readonly verified: (string | undefined)[] = []
  #salt = 0

  async hash(password: string): Promise<string> {
    return `hash ${++this.#salt} of ${password}`
  }

  async verify(password: string, hash: string | undefined): Promise<boolean> {
    this.verified.push(hash)
    return hash?.replace(/^(?:weak )?hash \d+ of /, '') === password
  }

  isOutdated(hash: string): boolean {
    return hash.startsWith('weak ')
  }
}

/** Finishes a hash when the test says so. */
export class SlowPasswordHasher implements PasswordHasher {
  /** The passwords, in the order in which their jobs began. */
  readonly begun: string[] = []
  readonly #works: PromiseWithResolvers<void>[] = []

  hash(password: string): Promise<string> {
    this.begun.push(password)
    return this.#work(`hash of ${password}`)
  }

  verify(password: string): Promise<boolean> {
    this.begun.push(password)
    return this.#work(true)
  }

  isOutdated(): boolean {
    return false
  }

  get running(): number {
    return this.#works.length
  }

  finishOne(): void {
    this.#works.shift()?.resolve()
  }

  failOne(error: Error): void {
    this.#works.shift()?.reject(error)
  }

  async #work<Result>(result: Result): Promise<Result> {
    const work = Promise.withResolvers<void>()
    this.#works.push(work)
    await work.promise
    return result
  }
}

/** Records the attempts, and refuses them if an error is set. */
export class FakeLoginThrottle implements LoginThrottle {
  readonly attempts: { readonly email: string; readonly clientNetwork: string }[] = []
  refusal: Error | undefined
  /** Thrown after a successful login. */
  lateRefusal: Error | undefined

  async attempt<Result>(email: string, clientNetwork: string, logIn: () => Promise<Result>): Promise<Result> {
    this.attempts.push({ email, clientNetwork })
    if (this.refusal) throw this.refusal
    const result = await logIn()
    if (this.lateRefusal) throw this.lateRefusal
    return result
  }
}

const LIFETIME = 3_600

export class FakeTokenService implements TokenService {
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  issue(userId: number): AccessToken {
    const seconds = Math.floor(this.#clock.now().getTime() / 1_000)
    return { token: `${this.undated(userId)} from ${seconds}`, expiresIn: LIFETIME }
  }

  undated(userId: number): string {
    return `user ${userId} until ${this.#clock.now().getTime() + LIFETIME * 1_000}`
  }

  verify(token: string): VerifiedToken {
    const [, id, expiry, issued] = /^user (\d+) until (\d+)(?: from (\d+))?$/.exec(token) ?? []
    if (id === undefined || this.#clock.now().getTime() >= Number(expiry)) throw new InvalidToken()
    return { userId: Number(id), issuedAt: issued === undefined ? undefined : new Date(Number(issued) * 1_000) }
  }
}

export class FakeClock implements Clock {
  time = new Date('2026-01-31T09:30:00.000Z')

  now(): Date {
    return this.time
  }

  /** @param seconds may be negative */
  move(seconds: number): void {
    this.time = new Date(this.time.getTime() + seconds * 1_000)
  }
}
