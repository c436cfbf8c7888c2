import { InvalidCredentials, InvalidToken } from '../errors.ts'
import type { AccessToken, Ports } from '../ports.ts'
import { enforce } from '../rules.ts'
import { type Credentials, credentialRules, loginRules, normalizeEmail, User } from '../user.ts'

type Needs = Pick<Ports, 'users' | 'passwords' | 'logins' | 'tokens' | 'clock'>

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
  async register(credentials: Credentials): Promise<User> {
    const { users, passwords, clock } = this.#ports
    enforce(credentialRules, credentials)
    const hash = await passwords.hash(credentials.password)
    return users.add(User.create(credentials.email, hash, clock.now()))
  }

  /**
   * @param clientNetwork where the login comes from: an IPv4 address or an IPv6 /64
   * @throws InvalidInput when one of the two is no text at all
   * @throws InvalidCredentials
   * @throws TooManyRequests
   * @throws Overloaded
   */
  async logIn(credentials: Credentials, clientNetwork: string): Promise<AccessToken> {
    enforce(loginRules, credentials)
    const email = normalizeEmail(credentials.email)
    return this.#ports.logins.attempt(email, clientNetwork, () => this.#tokenFor(email, credentials.password))
  }

  async #tokenFor(email: string, password: string): Promise<AccessToken> {
    const { users, passwords, tokens } = this.#ports
    const user = (await users.findByEmail(email))?.snapshot()
    const right = await passwords.verify(password, user?.hashedPassword)
    if (!user || !right) throw new InvalidCredentials()
    return tokens.issue(user.id)
  }

  /**
   * The user whom a token names.
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
