import { inMemoryDatabase } from '#src/adapters/in-memory/in-memory-database.ts'
import type { AccountPolicy } from '#src/domain/accounts/account-policy.ts'
import type { ApiTokenKey } from '#src/domain/accounts/api-token.ts'
import type {
  AccessToken,
  ApiTokenService,
  Audit,
  AuditEvent,
  LoginThrottle,
  PasswordHasher,
  PasswordMatch,
  PresentedApiToken,
  PresentedRefreshToken,
  RefreshTokenService,
  Secret,
  TokenService,
  VerifiedToken,
} from '#src/domain/accounts/ports.ts'
import type { SessionKey } from '#src/domain/accounts/session.ts'
import type { Clock } from '#src/domain/clock.ts'
import { InvalidGrant, InvalidToken } from '#src/domain/errors.ts'
import type { SyncPosition } from '#src/domain/tasks/change-feed.ts'
import type { ChangeSignal, ChangeSubscription } from '#src/domain/tasks/ports.ts'
import { noIdna } from '#test/builders.ts'

/** Records whose changes were announced, and wakes its subscriptions on request. */
export class FakeChangeSignal implements ChangeSignal {
  readonly raised: number[] = []
  readonly subscribed: number[] = []
  ended = 0
  #waiting = Promise.withResolvers<() => void>()

  raise(ownerId: number): void {
    this.raised.push(ownerId)
  }

  subscribe(ownerId: number, _since: SyncPosition): ChangeSubscription {
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

  /** Resolves when a subscription waits. @returns a function that wakes the subscription */
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
    return `hash ${++this.#salt} of ${password.normalize('NFC')}`
  }

  async verify(password: string, hash = ''): Promise<PasswordMatch> {
    this.verified.push(hash || undefined)
    if (hash.replace(/^(?:weak )?hash \d+ of /, '') !== password.normalize('NFC') || hash === '') return 'none'
    return hash.startsWith('weak ') ? 'outdated' : 'current'
  }
}

/** Finishes each hash when the test calls `finishOne` or `failOne`. */
export class SlowPasswordHasher implements PasswordHasher {
  /** The passwords, in the order in which their jobs began. */
  readonly begun: string[] = []
  readonly #works: PromiseWithResolvers<void>[] = []

  hash(password: string): Promise<string> {
    this.begun.push(password)
    return this.#work(`hash of ${password}`)
  }

  verify(password: string): Promise<PasswordMatch> {
    this.begun.push(password)
    return this.#work('current')
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
  /** The keys whose failures a success cleared. */
  readonly cleared: string[] = []
  refusal: Error | undefined
  /** Thrown after a successful login. */
  lateRefusal: Error | undefined

  async attempt<Result>(
    email: string,
    clientNetwork: string,
    logIn: () => Promise<Result>,
    ownsKey: (result: Result) => boolean = () => true,
  ): Promise<Result> {
    this.attempts.push({ email, clientNetwork })
    if (this.refusal) throw this.refusal
    const result = await logIn()
    if (this.lateRefusal) throw this.lateRefusal
    if (ownsKey(result)) this.cleared.push(email)
    return result
  }
}

const LIFETIME = 3_600

export class FakeTokenService implements TokenService {
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  issue({ ownerId, id }: SessionKey): AccessToken {
    return { token: `${this.#undated(ownerId)} in session ${id} from ${this.#seconds}`, expiresIn: LIFETIME }
  }

  /** A token that was issued before there were sessions. */
  withoutSession(userId: number): string {
    return `${this.#undated(userId)} from ${this.#seconds}`
  }

  withoutIssue(userId: number): string {
    return this.#undated(userId)
  }

  get #seconds(): number {
    return Math.floor(this.#clock.now().getTime() / 1_000)
  }

  #undated(userId: number): string {
    return `user ${userId} until ${this.#clock.now().getTime() + LIFETIME * 1_000}`
  }

  verify(token: string): VerifiedToken {
    const [, id, expiry, session, issued] =
      /^user (\d+) until (\d+)(?: in session (\d+))?(?: from (\d+))?$/.exec(token) ?? []
    if (id === undefined || this.#clock.now().getTime() >= Number(expiry)) throw new InvalidToken()
    return {
      userId: Number(id),
      sessionId: session === undefined ? undefined : Number(session),
      issuedAt: issued === undefined ? undefined : new Date(Number(issued) * 1_000),
    }
  }
}

/** Secrets are numbered; the secret after `secret 1` is `secret 1'`. */
export class FakeRefreshTokenService implements RefreshTokenService {
  #secrets = 0

  newSecret(): Secret {
    return hashed(`secret ${++this.#secrets}`)
  }

  issue({ id, ownerId }: SessionKey, { secret }: Pick<Secret, 'secret'>, counter = 0): string {
    return `refresh ${ownerId}/${id} ${counter} ${secret}`
  }

  verify(token: string): PresentedRefreshToken {
    const [, ownerId, id, counter, secret] = /^refresh (\d+)\/(\d+) (\d+) (secret \d+'*)$/.exec(token) ?? []
    if (secret === undefined) throw new InvalidGrant()
    const session = { id: Number(id), ownerId: Number(ownerId) }
    const successor = hashed(`${secret}'`)
    return {
      session,
      counter: Number(counter),
      hash: hashed(secret).hash,
      successor: { token: this.issue(session, successor, Number(counter) + 1), hash: successor.hash },
    }
  }
}

export class FakeApiTokenService implements ApiTokenService {
  #secrets = 0

  newSecret(): Secret {
    return hashed(`secret ${++this.#secrets}`)
  }

  issue({ id, ownerId }: ApiTokenKey, { secret }: Secret): string {
    return `tma ${ownerId}/${id} ${secret}`
  }

  parse(token: string): PresentedApiToken | undefined {
    const [, ownerId, id, secret] = /^tma (\d+)\/(\d+) (secret \d+)$/.exec(token) ?? []
    if (secret === undefined) return undefined
    return { key: { id: Number(id), ownerId: Number(ownerId) }, hash: hashed(secret).hash }
  }
}

const hashed = (secret: string): Secret => ({ secret, hash: `hash of ${secret}` })

export class FakeAudit implements Audit {
  readonly events: AuditEvent[] = []

  record(event: AuditEvent): void {
    this.events.push(event)
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

const DAY = 86_400_000

export const policy: AccountPolicy = {
  registrationEnabled: true,
  passwordMinLength: 8,
  sessions: { idle: 30 * DAY, max: 90 * DAY, grace: 10_000 },
}

/** The ports of the account use cases: an empty database and fakes. */
export function fakePorts() {
  const clock = new FakeClock()
  const { users, sessions, apiTokens, tasks } = inMemoryDatabase(Number.MAX_SAFE_INTEGER)
  return {
    users,
    sessions,
    apiTokens,
    tasks,
    passwordHasher: new FakePasswordHasher(),
    loginThrottle: new FakeLoginThrottle(),
    commonPasswords: { includes: (password: string) => password === 'password123' },
    idna: noIdna,
    tokens: new FakeTokenService(clock),
    refreshTokens: new FakeRefreshTokenService(),
    apiTokenService: new FakeApiTokenService(),
    changeSignal: new FakeChangeSignal(),
    audit: new FakeAudit(),
    clock,
  }
}
