import { inspect } from 'node:util'
import { expect } from 'chai'
import type { PresentedRefreshToken } from '#src/domain/accounts/ports.ts'
import { Session, type SessionSnapshot } from '#src/domain/accounts/session.ts'
import { aSession } from '#test/builders.ts'

const MINUTE = 60_000
const DAY = 86_400_000
const lifetimes = { idle: 30 * DAY, max: 90 * DAY, grace: 10_000 }
const start = new Date('2026-01-31T09:30:00.000Z')
const later = (milliseconds: number) => new Date(start.getTime() + milliseconds)

/** The token with this number of rotations; its successor is the next one. */
const token = (counter: number): PresentedRefreshToken => ({
  session: { id: 1, ownerId: 1 },
  counter,
  hash: `hash ${counter}`,
  successor: { token: `token ${counter + 1}`, hash: `hash ${counter + 1}` },
})

const sessionAt = (counter: number, given: Partial<SessionSnapshot> = {}) =>
  aSession({ counter, tokenHash: `hash ${counter}`, rotatedAt: start, ...given })

describe('A new session', () => {
  it('begins with the first token, unrotated', () => {
    expect(Session.start(7, 'curl/8', 'hash 0', start)).to.deep.equal({
      ownerId: 7,
      createdAt: start,
      lastUsedAt: start,
      userAgent: 'curl/8',
      counter: 0,
      tokenHash: 'hash 0',
      rotatedAt: start,
    })
  })

  it('keeps the first 255 characters of the user agent, without what a store cannot hold', () => {
    const agent = (text: string | undefined) => Session.start(1, text, 'hash', start).userAgent
    expect(agent('🙂'.repeat(300))).to.equal('🙂'.repeat(255))
    expect(agent(`a\0b\ud800${'c'.repeat(9_999)}`)).to.match(/^ab\ufffdc+$/)
    expect(agent(undefined)).to.equal(null)
    expect(agent('')).to.equal(null)
  })
})

describe('A session', () => {
  it('shows neither its token hash nor its counter', () => {
    const shown = inspect(aSession(), { showHidden: true }) + JSON.stringify(aSession())
    expect(shown).to.not.include('hash of the first token')
  })

  it('expires after the idle time without use, and at the latest at its maximum age', () => {
    expect(aSession().expiresAt(lifetimes)).to.deep.equal(later(30 * DAY))
    expect(aSession({ lastUsedAt: later(80 * DAY) }).expiresAt(lifetimes)).to.deep.equal(later(90 * DAY))
    expect(aSession().isExpired(lifetimes, later(30 * DAY - 1))).to.equal(false)
    expect(aSession().isExpired(lifetimes, later(30 * DAY))).to.equal(true)
  })

  it('is due to record a use after a minute', () => {
    expect(aSession().isUseDue(later(MINUTE - 1))).to.equal(false)
    expect(aSession().isUseDue(later(MINUTE))).to.equal(true)
  })
})

describe('Refreshing a session', () => {
  it('rotates the current token', () => {
    const refresh = sessionAt(3).refresh(token(3), later(DAY), lifetimes)
    if (refresh.outcome !== 'rotated') return expect.fail(refresh.outcome)
    expect(refresh.session.snapshot()).to.deep.equal({
      ...sessionAt(3).snapshot(),
      counter: 4,
      tokenHash: 'hash 4',
      rotatedAt: later(DAY),
      lastUsedAt: later(DAY),
    })
  })

  it('repeats the rotation for the previous token within the grace time', () => {
    const session = sessionAt(4)
    expect(session.refresh(token(3), later(10_000), lifetimes)).to.deep.equal({ outcome: 'repeated', session })
  })

  it('repeats the rotation of an instance whose clock is ahead by as much as clocks may differ', () => {
    const session = sessionAt(4)
    expect(session.refresh(token(3), later(-10_000), lifetimes)).to.deep.equal({ outcome: 'repeated', session })
    expect(session.refresh(token(3), later(-10_001), lifetimes)).to.deep.equal({ outcome: 'reused' })
  })

  it('reports the previous token after the grace time, and any older one, as reused', () => {
    expect(sessionAt(4).refresh(token(3), later(10_001), lifetimes)).to.deep.equal({ outcome: 'reused' })
    for (const counter of [0, 1, 2])
      expect(sessionAt(4).refresh(token(counter), later(1), lifetimes)).to.deep.equal({ outcome: 'reused' })
  })

  const refused = {
    'of an expired session': sessionAt(3).refresh(token(3), later(30 * DAY), lifetimes),
    'with more rotations, as after a restored backup': sessionAt(3).refresh(token(4), later(1), lifetimes),
    'of a lost branch, as after a restored backup': sessionAt(3).refresh(
      { ...token(3), hash: 'other' },
      start,
      lifetimes,
    ),
    'before one of a lost branch': sessionAt(4, { tokenHash: 'other' }).refresh(token(3), later(1), lifetimes),
  }
  for (const [form, refresh] of Object.entries(refused)) {
    it(`refuses a token ${form}`, () => expect(refresh).to.deep.equal({ outcome: 'refused' }))
  }
})
