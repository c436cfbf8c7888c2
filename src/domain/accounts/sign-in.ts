import type { Clock } from '../clock.ts'
import { DomainError, InvalidCredentials, InvalidGrant, InvalidToken, RegistrationDisabled } from '../errors.ts'
import { enforce } from '../rules.ts'
import type { ChangeSignal } from '../tasks/ports.ts'
import type { AccountPolicy } from './account-policy.ts'
import type { Caller } from './caller.ts'
import { checkNewPassword, passwordRule } from './password.ts'
import type {
  AccessToken,
  ApiTokenRepository,
  ApiTokenService,
  Audit,
  CommonPasswords,
  Idna,
  LoginThrottle,
  PasswordHasher,
  PasswordMatch,
  PresentedApiToken,
  RefreshTokenService,
  Requester,
  SessionRepository,
  TokenService,
  UserRepository,
  VerifiedToken,
} from './ports.ts'
import { type RefreshOutcome, Session, type SessionKey } from './session.ts'
import {
  type Credentials,
  type EmailAddress,
  emailRule,
  loginRules,
  normalizeEmail,
  normalizeLogin,
  toAddress,
  User,
  type UserSnapshot,
} from './user.ts'

interface Needs {
  readonly users: UserRepository
  readonly sessions: SessionRepository
  readonly apiTokens: ApiTokenRepository
  readonly passwordHasher: PasswordHasher
  readonly loginThrottle: LoginThrottle
  readonly commonPasswords: CommonPasswords
  readonly tokens: TokenService
  readonly refreshTokens: RefreshTokenService
  readonly apiTokenService: ApiTokenService
  readonly idna: Idna
  readonly changeSignal: Pick<ChangeSignal, 'raise'>
  readonly audit: Audit
  readonly clock: Clock
}

/** The tokens of a session, as a client receives them. */
export interface TokenPair {
  readonly access: AccessToken
  readonly refreshToken: string
  /** Seconds until the session ends, unless it is used before. */
  readonly refreshExpiresIn: number
}

/** Registers users, logs them in and out, and authenticates requests. */
export class SignIn {
  readonly #ports: Needs
  readonly #policy: AccountPolicy
  /** Sessions and API tokens whose last use is being written. */
  readonly #inUse = new Set<string>()

  constructor(ports: Needs, policy: AccountPolicy) {
    this.#ports = ports
    this.#policy = policy
  }

  /**
   * @throws RegistrationDisabled
   * @throws InvalidInput
   * @throws EmailAlreadyTaken
   * @throws Overloaded
   */
  async register({ email, password }: Credentials, requester: Requester): Promise<User> {
    const { users, passwordHasher, commonPasswords, idna, audit, clock } = this.#ports
    const { registrationEnabled, passwordMinLength: minLength } = this.#policy
    if (!registrationEnabled) throw new RegistrationDisabled()
    enforce({ email: emailRule, password: passwordRule(minLength) }, { email, password })
    checkNewPassword(password, normalizeEmail(email), { minLength, common: commonPasswords })
    const hash = await passwordHasher.hash(password, requester)
    const user = await users.add(User.create(email, hash, clock.now(), idna))
    audit.record({ event: 'registered', userId: user.id, clientNetwork: requester.clientNetwork })
    return user
  }

  /**
   * Starts a session.
   *
   * @throws InvalidInput when the address or the password is not well-formed text
   * @throws InvalidCredentials also when the user is disabled
   * @throws TooManyRequests
   * @throws Overloaded
   */
  async logIn(credentials: Credentials, requester: Requester): Promise<TokenPair> {
    enforce(loginRules, credentials)
    const { email, password } = normalizeLogin(credentials)
    const { loginThrottle, sessions, refreshTokens, audit, clock, idna } = this.#ports
    const { clientNetwork, userAgent } = requester
    const address = toAddress(email, idna)
    for (;;) {
      const { user, match } = await loginThrottle.attempt(
        address.emailKey,
        clientNetwork,
        () => this.#verified(address, password, requester),
        ({ user }) => user.emailKey !== null,
      )
      const secret = refreshTokens.newSecret()
      const session = await sessions.start(Session.start(user.id, userAgent, secret.hash, clock.now()), user)
      // Without a session, the password was changed after it was verified.
      if (session) {
        if (match === 'outdated') await this.#renewHash(user, password, requester)
        audit.record({ event: 'logged_in', userId: user.id, sessionId: session.id, clientNetwork })
        return this.#pair(session, refreshTokens.issue(session, secret))
      }
    }
  }

  /** @throws InvalidCredentials */
  async #verified(
    address: EmailAddress,
    password: string,
    requester: Requester,
  ): Promise<{ readonly user: UserSnapshot; readonly match: PasswordMatch }> {
    const { users, passwordHasher, audit } = this.#ports
    const user = (await users.findByEmail(address))?.snapshot()
    const match = await passwordHasher.verify(password, user?.hashedPassword, requester)
    if (user && match !== 'none' && !user.disabled) return { user, match }
    audit.record({ event: 'login_refused', userId: user?.id, clientNetwork: requester.clientNetwork })
    throw new InvalidCredentials()
  }

  /** Hashes the password with the current settings. If this fails, the next login tries again. */
  async #renewHash(user: UserSnapshot, password: string, requester: Requester): Promise<void> {
    const { users, passwordHasher } = this.#ports
    try {
      await users.replaceHash(user, await passwordHasher.hash(password, requester))
    } catch (error) {
      if (!(error instanceof DomainError)) throw error
    }
  }

  #pair(session: Session, refreshToken: string): TokenPair {
    const { tokens, clock } = this.#ports
    const left = session.expiresAt(this.#policy.sessions).getTime() - clock.now().getTime()
    return { access: tokens.issue(session), refreshToken, refreshExpiresIn: Math.max(0, Math.ceil(left / 1_000)) }
  }

  /**
   * Exchanges a refresh token for a new pair. A token that was used before ends its session.
   *
   * @throws InvalidGrant
   */
  async refresh(refreshToken: string, { clientNetwork }: Requester): Promise<TokenPair> {
    const { sessions, refreshTokens, audit, clock } = this.#ports
    const presented = refreshTokens.verify(refreshToken)
    const { id: sessionId, ownerId: userId } = presented.session
    const refresh = await sessions.refresh(presented.session, (found): RefreshOutcome => {
      if (!found || found.user.snapshot().disabled) return { outcome: 'refused' }
      return found.session.refresh(presented, clock.now(), this.#policy.sessions)
    })
    if (refresh.outcome === 'rotated' || refresh.outcome === 'repeated') {
      audit.record({ event: 'refreshed', userId, sessionId, clientNetwork })
      return this.#pair(refresh.session, presented.successor.token)
    }
    if (refresh.outcome === 'reused') {
      audit.record({ event: 'refresh_reused', userId, sessionId, clientNetwork })
      this.#ports.changeSignal.raise(userId)
    }
    throw new InvalidGrant()
  }

  /**
   * Ends the session of a refresh token or an access token, or an API token (RFC 7009). Does nothing for any other text.
   */
  async revoke(token: string, { clientNetwork }: Requester): Promise<void> {
    const { apiTokenService, changeSignal, sessions, audit } = this.#ports
    const apiToken = apiTokenService.parse(token)
    if (apiToken) return this.#revokeApiToken(apiToken, clientNetwork)
    const session = this.#sessionOf(token)
    if (!session || !(await sessions.end(session))) return
    changeSignal.raise(session.ownerId)
    audit.record({ event: 'session_ended', userId: session.ownerId, sessionId: session.id, clientNetwork })
  }

  async #revokeApiToken({ key, hash }: PresentedApiToken, clientNetwork: string): Promise<void> {
    const { apiTokens, changeSignal, audit } = this.#ports
    const found = await apiTokens.find(key)
    if (found?.apiToken.snapshot().tokenHash !== hash || !(await apiTokens.remove(key))) return
    changeSignal.raise(key.ownerId)
    audit.record({ event: 'api_token_revoked', userId: key.ownerId, apiTokenId: key.id, clientNetwork })
  }

  /** The session that a refresh token or an access token names. */
  #sessionOf(token: string): SessionKey | undefined {
    const { refreshTokens, tokens } = this.#ports
    const refreshToken = unless(InvalidGrant, () => refreshTokens.verify(token))
    if (refreshToken) return refreshToken.session
    const accessToken = unless(InvalidToken, () => tokens.verify(token))
    if (accessToken?.sessionId === undefined) return undefined
    return { id: accessToken.sessionId, ownerId: accessToken.userId }
  }

  /**
   * Returns the user and the credential of a request, and records the use of the credential.
   *
   * @param token an access token or an API token
   * @throws InvalidToken
   */
  async authenticate(token: string): Promise<Caller> {
    const { apiTokenService, tokens } = this.#ports
    const apiToken = apiTokenService.parse(token)
    const caller = apiToken ? await this.#holderOf(apiToken) : await this.#subjectOf(tokens.verify(token))
    if (!caller || caller.user.disabled) throw new InvalidToken()
    return caller
  }

  async #subjectOf({ userId, sessionId, issuedAt }: VerifiedToken): Promise<Caller | undefined> {
    const { users, sessions, clock } = this.#ports
    const key = sessionId === undefined ? undefined : { id: sessionId, ownerId: userId }
    const found = key ? await sessions.find(key) : { user: await users.findById(userId), session: undefined }
    if (!found?.user || (issuedAt && found.user.isNewerThan(issuedAt))) return undefined
    const { user, session } = found
    if (session) {
      const now = clock.now()
      if (session.isExpired(this.#policy.sessions, now)) return undefined
      if (session.isUseDue(now)) this.#recordUse(`session ${session.id}`, () => sessions.use(session, now))
    }
    return { user: user.snapshot(), credential: { kind: 'session', sessionId } }
  }

  async #holderOf({ key, hash }: PresentedApiToken): Promise<Caller | undefined> {
    const { apiTokens, clock } = this.#ports
    const found = await apiTokens.find(key)
    const now = clock.now()
    if (!found?.apiToken.accepts(hash, now)) return undefined
    const { user, apiToken } = found
    if (apiToken.isUseDue(now)) this.#recordUse(`API token ${key.id}`, () => apiTokens.use(key, now))
    return {
      user: user.snapshot(),
      credential: { kind: 'api-token', tokenId: key.id, scopes: apiToken.snapshot().scopes },
    }
  }

  /** The request does not wait for this write and does not fail with it: the next request tries again. */
  #recordUse(credential: string, write: () => Promise<void>): void {
    if (this.#inUse.has(credential)) return
    this.#inUse.add(credential)
    write()
      .catch(() => {})
      .finally(() => this.#inUse.delete(credential))
  }
}

/** @returns undefined when the work throws an error of this class */
function unless<Result>(expected: abstract new (...args: never) => Error, work: () => Result): Result | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof expected) return undefined
    throw error
  }
}
