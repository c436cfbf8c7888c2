import type { Clock } from '../clock.ts'
import { DomainError, InvalidCredentials, InvalidToken } from '../errors.ts'
import { enforce } from '../rules.ts'
import type { AccessToken, LoginThrottle, PasswordHasher, Requester, TokenService, UserRepository } from './ports.ts'
import { type Credentials, credentialRules, loginRules, normalizeLogin, User, type UserSnapshot } from './user.ts'

interface Needs {
  readonly users: UserRepository
  readonly passwordHasher: PasswordHasher
  readonly loginThrottle: LoginThrottle
  readonly tokens: TokenService
  readonly clock: Clock
}

export class ManageAccounts {
  readonly #ports: Needs

  constructor(ports: Needs) {
    this.#ports = ports
  }

  /**
   * @throws InvalidInput
   * @throws EmailAlreadyTaken
   * @throws Overloaded
   */
  async register(credentials: Credentials, requester: Requester): Promise<User> {
    const { users, passwordHasher, clock } = this.#ports
    enforce(credentialRules, credentials)
    const hash = await passwordHasher.hash(credentials.password, requester)
    return users.add(User.create(credentials.email, hash, clock.now()))
  }

  /**
   * @throws InvalidInput when the address or the password is not well-formed text
   * @throws InvalidCredentials
   * @throws TooManyRequests
   * @throws Overloaded
   */
  async logIn(credentials: Credentials, requester: Requester): Promise<AccessToken> {
    enforce(loginRules, credentials)
    const { email, password } = normalizeLogin(credentials)
    const { loginThrottle, tokens } = this.#ports
    const user = await loginThrottle.attempt(email, requester.clientNetwork, () =>
      this.#verified(email, password, requester),
    )
    await this.#renewHash(user, password, requester)
    return tokens.issue(user.id)
  }

  /** @throws InvalidCredentials */
  async #verified(email: string, password: string, requester: Requester): Promise<UserSnapshot> {
    const { users, passwordHasher } = this.#ports
    const user = (await users.findByEmail(email))?.snapshot()
    const matches = await passwordHasher.verify(password, user?.hashedPassword, requester)
    if (!user || !matches) throw new InvalidCredentials()
    return user
  }

  /** Replaces an outdated hash, which needs the password. If this fails, the next login tries again. */
  async #renewHash(user: UserSnapshot, password: string, requester: Requester): Promise<void> {
    const { users, passwordHasher } = this.#ports
    if (!passwordHasher.isOutdated(user.hashedPassword)) return
    try {
      await users.replaceHash(user, await passwordHasher.hash(password, requester))
    } catch (error) {
      if (!(error instanceof DomainError)) throw error
    }
  }

  /**
   * Returns the user of a token.
   *
   * @throws InvalidToken
   */
  async authenticate(token: string): Promise<User> {
    const { users, tokens } = this.#ports
    const { userId, issuedAt } = tokens.verify(token)
    const user = await users.findById(userId)
    if (!user || (issuedAt && user.isNewerThan(issuedAt))) throw new InvalidToken()
    return user
  }
}
