import { expect } from 'chai'
import type { Caller } from '#src/domain/accounts/caller.ts'
import { ManageApiTokens } from '#src/domain/accounts/manage-api-tokens.ts'
import { ApiTokenLimitReached, ApiTokenNotFound } from '#src/domain/errors.ts'
import { aRequester, aUserDraft } from '#test/builders.ts'
import { violationsOf } from '#test/domain/violations.ts'
import { fakePorts } from './fakes.ts'
import { rejection } from './rejections.ts'

const client = aRequester()
const { clientNetwork } = client

describe('Managing API tokens', () => {
  let ports: ReturnType<typeof fakePorts>
  let apiTokens: ManageApiTokens
  let jane: Caller

  const callerNamed = async (email: string): Promise<Caller> => {
    const user = await ports.users.add(aUserDraft({ email }))
    return { user: user.snapshot(), credential: { kind: 'session', sessionId: 1 } }
  }

  beforeEach(async () => {
    ports = fakePorts()
    apiTokens = new ManageApiTokens(ports)
    jane = await callerNamed('jane@example.com')
  })

  it('issues a token and stores its hash only', async () => {
    const given = { name: 'backup script', scopes: ['tasks:read'] } as const
    const { apiToken, token } = await apiTokens.create(jane, given, client)
    const [stored] = await apiTokens.list(jane)
    expect(stored?.snapshot()).to.deep.equal({
      id: 1,
      ownerId: 1,
      name: 'backup script',
      scopes: ['tasks:read'],
      tokenHash: ports.apiTokenService.parse(token)?.hash,
      createdAt: ports.clock.time,
      expiresAt: new Date(ports.clock.time.getTime() + 90 * 86_400_000),
      lastUsedAt: null,
    })
    expect(apiToken.snapshot()).to.deep.equal(stored?.snapshot())
    expect(ports.audit.events).to.deep.equal([{ event: 'api_token_created', userId: 1, apiTokenId: 1, clientNetwork }])
  })

  it('issues none that breaks a rule', async () => {
    const given = { name: ' ', scopes: [] }
    expect(await violationsOf(apiTokens.create(jane, given, client))).to.deep.equal([
      'name: blank',
      'scopes: unknown_value',
    ])
    expect(await apiTokens.list(jane)).to.deep.equal([])
  })

  it('issues at most 100 to a user', async () => {
    const given = { name: 'script', scopes: ['account'] } as const
    for (let tokens = 0; tokens < 100; tokens++) await apiTokens.create(jane, given, client)
    expect(await rejection(apiTokens.create(jane, given, client))).to.be.instanceOf(ApiTokenLimitReached)
  })

  it('removes a token, but none of another user', async () => {
    const given = { name: 'script', scopes: ['account'] } as const
    await apiTokens.create(jane, given, client)
    const john = await callerNamed('john@example.com')
    expect(await rejection(apiTokens.remove(john, 1, client))).to.be.instanceOf(ApiTokenNotFound)
    await apiTokens.remove(jane, 1, client)
    expect(await apiTokens.list(jane)).to.deep.equal([])
    expect(ports.changeSignal.raised).to.deep.equal([1])
    expect(ports.audit.events.at(-1)).to.deep.equal({
      event: 'api_token_revoked',
      userId: 1,
      apiTokenId: 1,
      clientNetwork,
    })
  })
})
