import { expect } from 'chai'
import { MAX_SESSIONS, type RefreshOutcome, type Session, type SessionKey } from '#src/domain/accounts/session.ts'
import type { User } from '#src/domain/accounts/user.ts'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { adapterSets, persistentSets } from '#test/adapter-sets.ts'
import { aSession, aSessionDraft, aUser, aUserDraft } from '#test/builders.ts'
import { expectRejection, openRepositories, type Repositories, removeUsers } from '#test/contracts/repositories.ts'

const MINUTE = 60_000
const NOW = new Date('2026-05-01T12:00:00.123Z')
const later = (milliseconds: number) => new Date(NOW.getTime() + milliseconds)
const UNASSIGNED_IDS = [0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]

for (const { name, databaseUrl } of adapterSets) {
  describe(`A session repository (${name})`, () => {
    let repositories: Repositories
    let sessions: Repositories['sessions']
    let jane: User
    let john: User

    before(async () => {
      repositories = await openRepositories(await databaseUrl())
      sessions = repositories.sessions
    })

    beforeEach(async () => {
      jane = await repositories.users.add(aUserDraft({ hashedPassword: 'of jane', timeZone: 'Asia/Tokyo' }))
      john = await repositories.users.add(aUserDraft({ email: 'john@example.com' }))
    })

    afterEach(() => removeUsers(repositories))
    after(() => repositories.close())

    const draftOf = (owner: User) =>
      aSessionDraft({ ownerId: owner.id, createdAt: NOW, lastUsedAt: NOW, rotatedAt: NOW, userAgent: 'spec' })
    const start = async (owner: User) => (await sessions.start(draftOf(owner), owner.snapshot())) as Session
    const keyOf = ({ id, ownerId }: Session): SessionKey => ({ id, ownerId })
    const idsOf = async (owner: User) => (await sessions.list(owner.id)).map(({ id }) => id)

    it('stores a session with all members and finds it together with its user', async () => {
      const drafts = [
        draftOf(jane),
        aSessionDraft({
          ownerId: jane.id,
          userAgent: '😀'.repeat(255),
          counter: 2 ** 31 - 1,
          tokenHash: 'f'.repeat(64),
          createdAt: NOW,
          lastUsedAt: later(1),
          rotatedAt: later(2),
        }),
        aSessionDraft({ ownerId: jane.id, userAgent: null }),
      ]
      for (const draft of drafts) {
        const session = (await sessions.start(draft, jane.snapshot())) as Session
        expect(session.snapshot()).to.deep.equal({ ...draft, id: session.id })
        const found = await sessions.find(keyOf(session))
        expect(found?.session.snapshot()).to.deep.equal(session.snapshot())
        expect(found?.user.snapshot()).to.deep.equal(jane.snapshot())
      }
    })

    it('finds no session of another user and none with an unassigned id', async () => {
      const { id } = await start(jane)
      expect(await sessions.find({ id, ownerId: john.id })).to.equal(undefined)
      for (const unassigned of UNASSIGNED_IDS) {
        expect(await sessions.find({ id: unassigned, ownerId: jane.id })).to.equal(undefined)
        expect(await sessions.find({ id, ownerId: unassigned })).to.equal(undefined)
      }
    })

    it('lists the sessions of a user, newest first', async () => {
      expect(await sessions.list(jane.id)).to.deep.equal([])
      const first = await start(jane)
      await start(john)
      const second = await start(jane)
      expect((await sessions.list(jane.id)).map((session) => session.snapshot())).to.deep.equal([
        second.snapshot(),
        first.snapshot(),
      ])
    })

    it('never reuses an id', async () => {
      const first = await start(jane)
      await sessions.end(keyOf(first))
      expect((await start(jane)).id).to.be.above(first.id)
    })

    it('starts no session for a user with another password, for a disabled one or for none', async () => {
      expect(await sessions.start(draftOf(jane), { hashedPassword: 'of john' })).to.equal(undefined)
      for (const ownerId of UNASSIGNED_IDS) {
        expect(await sessions.start({ ...draftOf(jane), ownerId }, jane.snapshot())).to.equal(undefined)
      }
      await repositories.users.write(jane.id, (user) => ({ save: user.administer({ disabled: true }, 0) }))
      expect(await sessions.start(draftOf(jane), jane.snapshot())).to.equal(undefined)
      expect(await idsOf(jane)).to.deep.equal([])
    })

    it('keeps no session that started with the old password while a new one ended all sessions', async () => {
      for (let round = 0; round < 10; round++) {
        const current = (await repositories.users.findById(jane.id)) as User
        const starts = () => [1, 2, 3].map(() => sessions.start(draftOf(current), current.snapshot()))
        const before = starts()
        const change = repositories.users.write(jane.id, (user) => ({
          save: user.withPassword(`new ${round}`),
          endSessions: { except: undefined },
        }))
        await Promise.all([...before, change, ...starts()])
        expect(await idsOf(jane)).to.deep.equal([])
        expect(await sessions.start(draftOf(current), current.snapshot())).to.equal(undefined)
      }
    })

    it('ends the oldest sessions beyond the limit, and none of other users', async () => {
      const other = await start(john)
      const started: number[] = []
      for (let count = 0; count < MAX_SESSIONS; count++) started.push((await start(jane)).id)
      expect(await idsOf(jane)).to.deep.equal(started.toReversed())
      const added = await Promise.all([start(jane), start(jane), start(jane)])
      const kept = [...started, ...added.map(({ id }) => id)].toSorted((one, another) => one - another).slice(3)
      expect(await idsOf(jane)).to.deep.equal(kept.toReversed())
      expect(await idsOf(john)).to.deep.equal([other.id])
    }).timeout(20_000)

    describe('refreshes a session', () => {
      const rotated = (session: Session, given = {}): RefreshOutcome => ({
        outcome: 'rotated',
        session: aSession({ ...session.snapshot(), counter: session.snapshot().counter + 1, ...given }),
      })

      it('and stores what was rotated', async () => {
        const session = await start(jane)
        const other = await start(jane)
        const change = { tokenHash: 'next', rotatedAt: later(1), lastUsedAt: later(2) }
        const refresh = await sessions.refresh(keyOf(session), (found) => rotated(found?.session as Session, change))
        expect(refresh.outcome).to.equal('rotated')
        const stored = (await sessions.find(keyOf(session)))?.session.snapshot()
        expect(stored).to.deep.equal({ ...session.snapshot(), ...change, counter: 1 })
        expect((await sessions.find(keyOf(other)))?.session.snapshot()).to.deep.equal(other.snapshot())
      })

      it('after it was found with its user', async () => {
        const session = await start(jane)
        const seen: unknown[] = []
        for (const key of [keyOf(session), { ...keyOf(session), ownerId: john.id }, { ...keyOf(session), id: 0 }]) {
          await sessions.refresh(key, (found) => {
            seen.push(found && [found.user.snapshot(), found.session.snapshot()])
            return { outcome: 'refused' }
          })
        }
        expect(seen).to.deep.equal([[jane.snapshot(), session.snapshot()], undefined, undefined])
      })

      it('and ends it when its token was reused, and only then', async () => {
        const session = await start(jane)
        const other = await start(jane)
        for (const outcome of ['refused', 'repeated', 'reused'] as const) {
          expect(await idsOf(jane)).to.deep.equal([other.id, session.id])
          const refresh = await sessions.refresh(keyOf(session), () => ({ outcome, session }))
          expect(refresh.outcome).to.equal(outcome)
        }
        expect(await idsOf(jane)).to.deep.equal([other.id])
      })

      it('and stores nothing if the decision throws', async () => {
        const session = await start(jane)
        await expectRejection(
          sessions.refresh(keyOf(session), () => {
            throw new RangeError('no')
          }),
          RangeError,
        )
        expect((await sessions.find(keyOf(session)))?.session.snapshot()).to.deep.equal(session.snapshot())
      })

      it('so that each of two concurrent calls sees the result of the other', async () => {
        for (let round = 0; round < 10; round++) {
          const session = await start(jane)
          const counters: (number | undefined)[] = []
          const refreshes = [1, 2].map(() => {
            let seen: number | undefined
            return sessions
              .refresh(keyOf(session), (found) => {
                seen = found?.session.snapshot().counter
                return seen === 0 ? rotated(found?.session as Session) : { outcome: 'repeated', session }
              })
              .then(({ outcome }) => {
                counters.push(seen)
                return outcome
              })
          })
          expect((await Promise.all(refreshes)).toSorted()).to.deep.equal(['repeated', 'rotated'])
          expect(counters.toSorted()).to.deep.equal([0, 1])
          expect((await sessions.find(keyOf(session)))?.session.snapshot().counter).to.equal(1)
        }
      })

      it('or not, when it ends meanwhile', async () => {
        for (let round = 0; round < 10; round++) {
          const session = await start(jane)
          const refresh = () =>
            sessions.refresh(keyOf(session), (found) => (found ? rotated(found.session) : { outcome: 'refused' }))
          const [, ended] = await Promise.all([refresh(), sessions.end(keyOf(session)), refresh()])
          expect(ended).to.equal(true)
          expect(await sessions.find(keyOf(session))).to.equal(undefined)
        }
      })
    })

    it('moves the last use forward and never back', async () => {
      const session = await start(jane)
      const other = await start(jane)
      const lastUse = async () => (await sessions.find(keyOf(session)))?.session.snapshot().lastUsedAt
      await sessions.use(keyOf(session), later(-MINUTE))
      expect(await lastUse()).to.deep.equal(NOW)
      await sessions.use(keyOf(session), later(MINUTE))
      expect(await lastUse()).to.deep.equal(later(MINUTE))
      await Promise.all([5, 3, 9, 2, 7].map((minutes) => sessions.use(keyOf(session), later(minutes * MINUTE))))
      expect(await lastUse()).to.deep.equal(later(9 * MINUTE))
      await sessions.use({ ...keyOf(session), ownerId: john.id }, later(20 * MINUTE))
      await sessions.use({ ...keyOf(session), id: 0 }, later(20 * MINUTE))
      expect((await sessions.find(keyOf(session)))?.session.snapshot()).to.deep.equal({
        ...session.snapshot(),
        lastUsedAt: later(9 * MINUTE),
      })
      expect((await sessions.find(keyOf(other)))?.session.snapshot()).to.deep.equal(other.snapshot())
    })

    it('ends one session of its user, once', async () => {
      const session = await start(jane)
      const other = await start(jane)
      expect(await sessions.end({ ...keyOf(session), ownerId: john.id })).to.equal(false)
      expect(await sessions.end({ ...keyOf(session), id: 0 })).to.equal(false)
      const ended = await Promise.all([1, 2, 3].map(() => sessions.end(keyOf(session))))
      expect(ended.filter(Boolean)).to.have.lengthOf(1)
      expect(await sessions.find(keyOf(session))).to.equal(undefined)
      expect(await idsOf(jane)).to.deep.equal([other.id])
    })

    it('ends all sessions of a user, or all but one', async () => {
      const [first, second, third] = [await start(jane), await start(jane), await start(jane)]
      const other = await start(john)
      await sessions.endAll(jane.id, second.id)
      expect(await idsOf(jane)).to.deep.equal([second.id])
      await sessions.endAll(jane.id, first.id + third.id + other.id)
      expect(await idsOf(jane)).to.deep.equal([])
      await sessions.endAll(jane.id)
      await sessions.endAll(0)
      expect(await idsOf(john)).to.deep.equal([other.id])
    })

    it('finds a disabled user, whom the caller must refuse', async () => {
      const session = await start(jane)
      const disabled = aUser({ ...jane.snapshot(), disabled: true })
      await repositories.users.write(jane.id, () => ({ save: disabled }))
      expect((await sessions.find(keyOf(session)))?.user.snapshot()).to.deep.equal(disabled.snapshot())
    })

    it('purges the sessions that were last used, or that started, before a time', async () => {
      const created = later(-90 * MINUTE)
      const lastUsed = later(-30 * MINUTE)
      const justBefore = (time: Date) => new Date(time.getTime() - 1)
      const starting = async (owner: User, createdAt: Date, lastUsedAt: Date) =>
        (await sessions.start({ ...draftOf(owner), createdAt, lastUsedAt }, owner.snapshot()))?.id as number
      const kept = await starting(jane, created, lastUsed)
      await starting(jane, justBefore(created), NOW)
      await starting(jane, NOW, justBefore(lastUsed))
      await starting(john, justBefore(created), justBefore(lastUsed))
      const used = await starting(john, NOW, justBefore(lastUsed))
      await sessions.use({ id: used, ownerId: john.id }, NOW)
      await repositories.purgeSessions({ created, lastUsed })
      expect(await idsOf(jane)).to.deep.equal([kept])
      expect(await idsOf(john)).to.deep.equal([used])
    })

    it('purges the sessions of many users', async () => {
      const owners = await Promise.all(
        Array.from({ length: 60 }, (_, index) => repositories.users.add(aUserDraft({ email: `${index}@example.com` }))),
      )
      await Promise.all(owners.flatMap((owner) => [start(owner), start(owner)]))
      await repositories.purgeSessions({ created: later(1), lastUsed: NOW })
      for (const owner of owners) expect(await idsOf(owner)).to.deep.equal([])
    })
  })
}

for (const { name, databaseUrl } of persistentSets) {
  describe(`A persistent session repository (${name})`, () => {
    it('rejects with StoreUnavailable after its database was closed', async () => {
      const { sessions, users, close } = await openRepositories(await databaseUrl())
      const user = (await users.add(aUserDraft())).snapshot()
      await close()
      const key = { id: 1, ownerId: user.id }
      for (const call of [
        () => sessions.start(aSessionDraft({ ownerId: user.id }), user),
        () => sessions.find(key),
        () => sessions.list(user.id),
        () => sessions.refresh(key, () => ({ outcome: 'refused' })),
        () => sessions.use(key, NOW),
        () => sessions.end(key),
        () => sessions.endAll(user.id),
      ]) {
        await expectRejection(call(), StoreUnavailable)
      }
    })
  })
}
