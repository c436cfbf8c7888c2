import { inspect } from 'node:util'
import { expect } from 'chai'
import { ApiToken, type NewApiToken } from '#src/domain/accounts/api-token.ts'
import type { Scope } from '#src/domain/accounts/caller.ts'
import { anApiToken } from '#test/builders.ts'
import { violations } from './violations.ts'

const MINUTE = 60_000
const now = new Date('2026-01-31T09:30:00.000Z')
const later = (milliseconds: number) => new Date(now.getTime() + milliseconds)
const given: NewApiToken = { name: 'backup script', scopes: ['tasks:read'] }
const create = (token: Partial<NewApiToken>) => ApiToken.create(7, { ...given, ...token }, 'hash', now)

describe('A new API token', () => {
  it('expires after 90 days unless another time or none is given', () => {
    expect(create({}).expiresAt).to.deep.equal(new Date('2026-05-01T09:30:00.000Z'))
    expect(create({ expiresAt: later(1) }).expiresAt).to.deep.equal(later(1))
    expect(create({ expiresAt: null }).expiresAt).to.equal(null)
  })

  it('has each scope once, in a fixed order', () => {
    const scopes: Scope[] = ['account', 'tasks:read']
    expect(create({ scopes }).scopes).to.deep.equal(['tasks:read', 'account'])
  })

  const refused: Readonly<Record<string, [Partial<NewApiToken>, string]>> = {
    'without a name': [{ name: '' }, 'name: too_short'],
    'with a blank name': [{ name: ' ' }, 'name: blank'],
    'with a name of 101 characters': [{ name: 'a'.repeat(101) }, 'name: too_long'],
    'without a scope': [{ scopes: [] }, 'scopes: unknown_value'],
    'with an unknown scope': [{ scopes: ['admin' as Scope] }, 'scopes: unknown_value'],
    'with too many scopes': [{ scopes: new Array(9_999).fill('account') }, 'scopes: unknown_value'],
    'with scopes that are no list': [{ scopes: 'account' as unknown as Scope[] }, 'scopes: not_a_list'],
    'that has expired': [{ expiresAt: now }, 'expires_at: not_in_future'],
  }
  for (const [form, [token, violation]] of Object.entries(refused)) {
    it(`is refused ${form}`, () => expect(violations(() => create(token))).to.deep.equal([violation]))
  }
})

describe('An API token', () => {
  it('shows no hash', () => {
    const shown = inspect(anApiToken(), { showHidden: true }) + JSON.stringify(anApiToken())
    expect(shown).to.not.include('hash')
  })

  it('accepts its own hash until it expires', () => {
    const token = anApiToken({ tokenHash: 'hash', expiresAt: later(MINUTE) })
    expect(token.accepts('hash', later(MINUTE - 1))).to.equal(true)
    expect(token.accepts('hash', later(MINUTE))).to.equal(false)
    expect(token.accepts('other', now)).to.equal(false)
    expect(anApiToken({ tokenHash: 'hash' }).accepts('hash', later(1e12))).to.equal(true)
  })

  it('is due to record its first use, and then a use after a minute', () => {
    expect(anApiToken().isUseDue(now)).to.equal(true)
    expect(anApiToken({ lastUsedAt: now }).isUseDue(later(MINUTE - 1))).to.equal(false)
    expect(anApiToken({ lastUsedAt: now }).isUseDue(later(MINUTE))).to.equal(true)
  })
})
