import { InvalidCredentials, InvalidToken } from '../errors.ts'
import type { AccessToken, Ports, Requester } from '../ports.ts'
import { enforce } from '../rules.ts'
import { type Credentials, credentialRules, loginPair, loginRules, User } from '../user.ts'

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
  async register(credentials: Credentials, requester: Requester): Promise<User> {
    const { users, passwords, clock } = this.#ports
    enforce(credentialRules, credentials)
    const hash = await passwords.hash(credentials.password, requester)
    return users.add(User.create(credentials.email, hash, clock.now()))
  }

  /**
   * @throws InvalidInput when one of the two is no text at all
   * @throws InvalidCredentials
   * @throws TooManyRequests
   * @throws Overloaded
   */
  async logIn(credentials: Credentials, requester: Requester): Promise<AccessToken> {
    enforce(loginRules, credentials)
    const { email, password } = loginPair(credentials)
    return this.#ports.logins.attempt(email, requester.clientNetwork, () => this.#tokenFor(email, password, requester))
  }

  async #tokenFor(email: string, password: string, requester: Requester): Promise<AccessToken> {
    const { users, passwords, tokens } = this.#ports
    const user = (await users.findByEmail(email))?.snapshot()
    const right = await passwords.verify(password, user?.hashedPassword, requester)
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
