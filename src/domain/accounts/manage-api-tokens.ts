import type { Clock } from '../clock.ts'
import { ApiTokenNotFound } from '../errors.ts'
import type { ChangeSignal } from '../tasks/ports.ts'
import { ApiToken, type NewApiToken } from './api-token.ts'
import type { Caller } from './caller.ts'
import type { ApiTokenRepository, ApiTokenService, Audit, Requester } from './ports.ts'

interface Needs {
  readonly apiTokens: ApiTokenRepository
  readonly apiTokenService: ApiTokenService
  readonly changeSignal: Pick<ChangeSignal, 'raise'>
  readonly audit: Audit
  readonly clock: Clock
}

export interface IssuedApiToken {
  readonly apiToken: ApiToken
  /** Shown once; the store has its hash only. */
  readonly token: string
}

/** Creates, lists and deletes API tokens, with which scripts act for a user. */
export class ManageApiTokens {
  readonly #ports: Needs

  constructor(ports: Needs) {
    this.#ports = ports
  }

  /**
   * @throws InvalidInput
   * @throws ApiTokenLimitReached
   */
  async create({ user }: Caller, token: NewApiToken, { clientNetwork }: Requester): Promise<IssuedApiToken> {
    const { apiTokens, apiTokenService, audit, clock } = this.#ports
    const secret = apiTokenService.newSecret()
    const apiToken = await apiTokens.add(ApiToken.create(user.id, token, secret.hash, clock.now()))
    audit.record({ event: 'api_token_created', userId: user.id, apiTokenId: apiToken.id, clientNetwork })
    return { apiToken, token: apiTokenService.issue(apiToken, secret) }
  }

  /** Newest first; expired tokens stay in the list until they are purged. */
  async list({ user }: Caller): Promise<readonly ApiToken[]> {
    return this.#ports.apiTokens.list(user.id)
  }

  /** @throws ApiTokenNotFound */
  async remove({ user }: Caller, id: number, { clientNetwork }: Requester): Promise<void> {
    const { apiTokens, changeSignal, audit } = this.#ports
    if (!(await apiTokens.remove({ id, ownerId: user.id }))) throw new ApiTokenNotFound()
    changeSignal.raise(user.id)
    audit.record({ event: 'api_token_revoked', userId: user.id, apiTokenId: id, clientNetwork })
  }
}
