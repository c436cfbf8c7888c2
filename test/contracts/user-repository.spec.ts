import { expect } from 'chai'
import type { DecideOnUser, UserQuery } from '#src/domain/accounts/ports.ts'
import type { Session } from '#src/domain/accounts/session.ts'
import type { User, UserSnapshot } from '#src/domain/accounts/user.ts'
import { EmailAlreadyTaken, InvalidToken, LastAdmin, StoreUnavailable, UserNotFound } from '#src/domain/errors.ts'
import type { Task } from '#src/domain/tasks/task.ts'
import { adapterSets, persistentSets } from '#test/adapter-sets.ts'
import { anAddress, anApiTokenDraft, aSessionDraft, aTaskDraft, aUser, aUserDraft } from '#test/builders.ts'
import {
  editTask,
  expectRejection,
  listTasks,
  openRepositories,
  outcomes,
  type Repositories,
  removeTask,
  removeUsers,
  storeTask,
} from '#test/contracts/repositories.ts'

const ALL: UserQuery = { before: undefined, containing: undefined, limit: 1_000 }

for (const { name, databaseUrl } of adapterSets) {
  describe(`A user repository (${name})`, () => {
    let repositories: Repositories
    let users: Repositories['users']

    before(async () => {
      repositories = await openRepositories(await databaseUrl())
      users = repositories.users
    })

    afterEach(() => removeUsers(repositories))
    after(() => repositories.close())

    it('stores and returns an added user with an id, and finds the user by id and by address', async () => {
      const draft = aUserDraft({ hashedPassword: '$'.repeat(255), createdAt: new Date('2026-01-31T09:30:00.123Z') })
      const user = (await users.add(draft)).snapshot()
      expect(user).to.deep.equal({ ...draft, id: user.id })
      expect((await users.findById(user.id))?.snapshot()).to.deep.equal(user)
      expect((await users.findByEmail(anAddress(draft.email)))?.snapshot()).to.deep.equal(user)
    })

    it('replaces the hash of one user and nothing else', async () => {
      const jane = (await users.add(aUserDraft({ hashedPassword: 'weak' }))).snapshot()
      const john = (await users.add(aUserDraft({ email: 'john@example.com', hashedPassword: 'weak' }))).snapshot()
      await users.replaceHash(jane, '$'.repeat(255))
      const replaced = { ...jane, hashedPassword: '$'.repeat(255) }
      expect((await users.findById(jane.id))?.snapshot()).to.deep.equal(replaced)
      expect((await users.findByEmail(anAddress(jane.email)))?.snapshot()).to.deep.equal(replaced)
      expect((await users.findById(john.id))?.snapshot()).to.deep.equal(john)
    })

    it('does not replace a hash that was replaced meanwhile, nor that of a missing user', async () => {
      const jane = (await users.add(aUserDraft({ hashedPassword: 'weak' }))).snapshot()
      await users.replaceHash(jane, 'of a new password')
      await users.replaceHash(jane, 'of the old password')
      await users.replaceHash({ ...jane, id: jane.id + 1 }, 'of a missing user')
      expect((await users.findById(jane.id))?.snapshot().hashedPassword).to.equal('of a new password')
    })

    it('stores the hash of one of twenty concurrent replacements', async () => {
      const jane = (await users.add(aUserDraft({ hashedPassword: 'weak' }))).snapshot()
      const hashes = Array.from({ length: 20 }, (_, index) => `hash ${index}`)
      await Promise.all(hashes.map((hash) => users.replaceHash(jane, hash)))
      const { hashedPassword } = (await users.findById(jane.id))?.snapshot() ?? {}
      expect(hashes).to.include(hashedPassword)
    })

    it('assigns a unique id to each user', async () => {
      const added = await Promise.all(
        Array.from({ length: 20 }, (_, index) => users.add(aUserDraft({ email: `${index}@example.com` }))),
      )
      expect(new Set(added.map((user) => user.snapshot().id))).to.have.property('size', 20)
    })

    it('stores addresses in any script unchanged, even of maximum length', async () => {
      for (const email of ["o'neil+tag@example.com", 'ユーザー@例え.jp', `${'😀'.repeat(308)}@example.com`]) {
        const user = (await users.add(aUserDraft({ email }))).snapshot()
        expect(user.email).to.equal(email)
        expect((await users.findByEmail(anAddress(email)))?.snapshot()).to.deep.equal(user)
      }
    })

    it('rejects a taken address with EmailAlreadyTaken', async () => {
      const first = await users.add(aUserDraft({ hashedPassword: 'first' }))
      await expectRejection(users.add(aUserDraft({ hashedPassword: 'second' })), EmailAlreadyTaken)
      expect((await users.findByEmail(anAddress('jane@example.com')))?.snapshot()).to.deep.equal(first.snapshot())
    })

    it('adds one of twenty users with the same address concurrently', async () => {
      const { succeeded, reasons } = await outcomes(Array.from({ length: 20 }, () => users.add(aUserDraft())))
      expect(succeeded).to.equal(1)
      for (const reason of reasons) expect(reason).to.be.an.instanceOf(EmailAlreadyTaken)
    })

    it('assigns ascending ids, even after a rejected address', async () => {
      const first = await users.add(aUserDraft())
      await expectRejection(users.add(aUserDraft()), EmailAlreadyTaken)
      const second = await users.add(aUserDraft({ email: 'joe@example.com' }))
      expect(second.snapshot().id).to.be.above(first.snapshot().id)
    })

    it('compares addresses and keys exactly', async () => {
      await users.add(aUserDraft({ email: 'jane@example.com' }))
      for (const email of ['jane@example.co', 'jane@example.com ', 'jan_@example.com', '%', '']) {
        expect(await users.findByEmail(anAddress(email))).to.equal(undefined)
      }
      await users.add(aUserDraft({ email: 'jan_@example.com' }))
    })

    it('finds the exact address first, and the key if no user has the address', async () => {
      const owner = await users.add(aUserDraft({ email: 'Jane@example.com' }))
      const later = await users.add(aUserDraft({ email: 'jane@example.com', emailKey: null }))
      const another = await users.add(aUserDraft({ email: 'JANE@example.com', emailKey: null }))
      const idOf = async (email: string) => (await users.findByEmail(anAddress(email)))?.id
      expect(await idOf('Jane@example.com')).to.equal(owner.id)
      expect(await idOf('jane@example.com')).to.equal(later.id)
      expect(await idOf('JANE@example.com')).to.equal(another.id)
      expect(await idOf('jAnE@example.com')).to.equal(owner.id)
    })

    it('rejects a taken key with EmailAlreadyTaken', async () => {
      await users.add(aUserDraft({ email: 'jane@example.com' }))
      await expectRejection(users.add(aUserDraft({ email: 'Jane@example.com' })), EmailAlreadyTaken)
      expect(await users.list(ALL)).to.have.lengthOf(1)
    })

    it('adds one of sixteen spellings of an address concurrently', async () => {
      const spellings = Array.from({ length: 16 }, (_, bits) =>
        Array.from('jane', (letter, index) => (bits & (1 << index) ? letter.toUpperCase() : letter)).join(''),
      )
      const { succeeded, reasons } = await outcomes(
        spellings.map((local) => users.add(aUserDraft({ email: `${local}@example.com` }))),
      )
      expect(succeeded).to.equal(1)
      for (const reason of reasons) expect(reason).to.be.an.instanceOf(EmailAlreadyTaken)
    })

    describe('lists users', () => {
      const EMAILS = [
        'ann@example.com',
        'Bob_1@example.com',
        'ÜBEL@BÜCHER.example',
        '100%@example.com',
        'bob@Bücher.example',
      ]
      const emailsOf = async (query: Partial<UserQuery>) =>
        (await users.list({ ...ALL, ...query })).map(({ email }) => email)

      beforeEach(async () => {
        for (const email of EMAILS) await users.add(aUserDraft({ email }))
      })

      it('from the newest to the oldest, with all members', async () => {
        const listed = await users.list(ALL)
        expect(listed.map(({ email }) => email)).to.deep.equal(EMAILS.toReversed())
        for (const user of listed) {
          expect(user.snapshot()).to.deep.equal((await users.findById(user.id))?.snapshot())
        }
      })

      it('in pages', async () => {
        const [first, second] = await users.list({ ...ALL, limit: 2 })
        expect([first?.email, second?.email]).to.deep.equal(EMAILS.toReversed().slice(0, 2))
        expect(await emailsOf({ before: second?.id, limit: 2 })).to.deep.equal(EMAILS.toReversed().slice(2, 4))
        expect(await emailsOf({ before: 0 })).to.deep.equal([])
      })

      it('whose address contains a text, in any case and script', async () => {
        for (const [containing, found] of Object.entries({
          bob: ['Bob_1@example.com', 'bob@Bücher.example'],
          'übel@bü': ['ÜBEL@BÜCHER.example'],
          BÜCHER: ['ÜBEL@BÜCHER.example', 'bob@Bücher.example'],
          _: ['Bob_1@example.com'],
          '%': ['100%@example.com'],
          '@': EMAILS,
          xn: [],
          "'": [],
        })) {
          expect(await emailsOf({ containing }), containing).to.deep.equal(found.toReversed())
        }
        expect(await emailsOf({ containing: 'bob', limit: 1 })).to.deep.equal(['bob@Bücher.example'])
      })
    })

    describe('writes a user', () => {
      const admin = (email: string, disabled = false) => aUserDraft({ email, role: 'admin', disabled })

      it('and stores and returns each member', async () => {
        const { id } = await users.add(aUserDraft({ emailKey: null }))
        const changed = aUser({
          id,
          email: 'New@example.com',
          hashedPassword: 'new',
          role: 'admin',
          disabled: true,
          timeZone: 'America/Argentina/ComodRivadavia',
        })
        expect((await users.write(id, () => ({ save: changed })))?.snapshot()).to.deep.equal(changed.snapshot())
        expect((await users.findById(id))?.snapshot()).to.deep.equal(changed.snapshot())
        expect((await users.findByEmail(anAddress('new@example.com')))?.id).to.equal(id)
        expect(await users.findByEmail(anAddress('jane@example.com'))).to.equal(undefined)
        expect(await users.list({ ...ALL, containing: 'jane' })).to.deep.equal([])
        expect(await users.list({ ...ALL, containing: 'new' })).to.have.lengthOf(1)
      })

      it('after reading the current one', async () => {
        const stored = await users.add(aUserDraft({ emailKey: null }))
        const seen: unknown[] = []
        await users.write(stored.id, (user) => {
          seen.push(user.snapshot())
          return { save: user }
        })
        expect(seen).to.deep.equal([stored.snapshot()])
        expect((await users.findById(stored.id))?.snapshot()).to.deep.equal(stored.snapshot())
      })

      it('unless there is none', async () => {
        for (const id of [0, 1, 2 ** 31, Number.MAX_SAFE_INTEGER]) {
          await expectRejection(
            users.write(id, (user) => ({ save: user })),
            UserNotFound,
          )
        }
      })

      it('or nothing if the decision throws', async () => {
        const { id } = await users.add(aUserDraft())
        await expectRejection(
          users.write(id, () => {
            throw new RangeError('no')
          }),
          RangeError,
        )
        expect((await users.findById(id))?.snapshot()).to.deep.equal({ ...aUserDraft(), id })
      })

      it('unless another user has the address or its key', async () => {
        await users.add(aUserDraft({ email: 'jane@example.com' }))
        await users.add(aUserDraft({ email: 'jim@example.com', emailKey: null }))
        const john = await users.add(aUserDraft({ email: 'john@example.com' }))
        const session = await repositories.sessions.start(aSessionDraft({ ownerId: john.id }), john.snapshot())
        for (const email of ['jane@example.com', 'JANE@example.com', 'jim@example.com']) {
          const save = aUser({ ...john.snapshot(), ...anAddress(email) })
          await expectRejection(
            users.write(john.id, () => ({ save, endSessions: { except: undefined } })),
            EmailAlreadyTaken,
          )
        }
        expect((await users.findById(john.id))?.snapshot()).to.deep.equal(john.snapshot())
        expect(await repositories.sessions.list(john.id)).to.have.lengthOf(1)
        expect((await repositories.sessions.list(john.id))[0]?.id).to.equal(session?.id)
        const respelt = aUser({ ...john.snapshot(), email: 'John@example.com' })
        expect((await users.write(john.id, () => ({ save: respelt })))?.email).to.equal('John@example.com')
      })

      it('knowing how many other enabled admins there are', async () => {
        const one = await users.add(admin('one@example.com'))
        await users.add(admin('two@example.com'))
        await users.add(admin('three@example.com'))
        await users.add(admin('disabled@example.com', true))
        const plain = await users.add(aUserDraft())
        const others: number[] = []
        for (const { id } of [one, plain]) {
          await users.write(id, (user, otherAdmins) => {
            others.push(otherAdmins)
            return { save: user }
          })
        }
        expect(others).to.deep.equal([2, 3])
      })

      it('while no other user is written, so that two admins cannot demote or remove each other', async () => {
        for (let round = 0; round < 10; round++) {
          const pair = await Promise.all(['one', 'two'].map((name) => users.add(admin(`${name}-${round}@example.com`))))
          const demote: DecideOnUser = (user, others) => ({ save: user.administer({ role: 'user' }, others) })
          const remove: DecideOnUser = (user, others) => {
            user.checkDispensable(others)
            return { remove: user }
          }
          const { succeeded, reasons } = await outcomes(
            pair.map(({ id }, index) => users.write(id, (index + round) % 3 === 0 ? remove : demote)),
          )
          expect(succeeded).to.equal(1)
          expect(reasons[0]).to.be.an.instanceOf(LastAdmin)
          const admins = (await users.list(ALL)).filter((user) => user.isActiveAdmin)
          expect(admins).to.have.lengthOf(1)
          await users.write((admins[0] as User).id, (user) => ({ save: user.administer({ role: 'user' }, 1) }))
        }
      })

      it('and loses none of twenty concurrent changes', async () => {
        const { id } = await users.add(aUserDraft({ timeZone: '0' }))
        const increment: DecideOnUser = (user) => {
          const { timeZone, ...rest } = user.snapshot()
          return { save: aUser({ ...rest, timeZone: `${Number(timeZone) + 1}` }) }
        }
        await Promise.all(Array.from({ length: 20 }, () => users.write(id, increment)))
        expect((await users.findById(id))?.snapshot().timeZone).to.equal('20')
      })

      it('and ends all sessions, all but one, or none', async () => {
        const user = await users.add(aUserDraft())
        const other = await users.add(aUserDraft({ email: 'john@example.com' }))
        const { sessions } = repositories
        const start = async ({ id, ...owner }: UserSnapshot) =>
          (await sessions.start(aSessionDraft({ ownerId: id }), owner))?.id as number
        const ids = [await start(user.snapshot()), await start(user.snapshot()), await start(user.snapshot())]
        const kept = await start(other.snapshot())
        const sessionsOf = async (ownerId: number) => (await sessions.list(ownerId)).map(({ id }) => id).toReversed()
        const save = aUser({ ...user.snapshot(), hashedPassword: 'new' })
        await users.write(user.id, () => ({ save }))
        expect(await sessionsOf(user.id)).to.deep.equal(ids)
        await users.write(user.id, () => ({ save, endSessions: { except: ids[1] } }))
        expect(await sessionsOf(user.id)).to.deep.equal([ids[1]])
        await users.write(user.id, () => ({ save, endSessions: { except: undefined } }))
        expect(await sessionsOf(user.id)).to.deep.equal([])
        expect(await sessionsOf(other.id)).to.deep.equal([kept])
      })
    })

    describe('removes a user', () => {
      const remove: DecideOnUser = (user) => ({ remove: user })

      /** A user with a task, a deletion, a kept result, a session and an API token. */
      async function userWithData(email?: string) {
        const { tasks, sessions, apiTokens } = repositories
        const user = await users.add(aUserDraft({ ...(email && { email }) }))
        const ownerId = user.id
        const key = { scope: 'POST /tasks', key: 'a', fingerprint: 'b' }
        const add = () => [{ add: aTaskDraft({ ownerId }) }]
        const { result } = await tasks.writeOnce(ownerId, [], add, key, new Date())
        await removeTask(tasks, (await storeTask(tasks, aTaskDraft({ ownerId }))).snapshot())
        const session = (await sessions.start(aSessionDraft({ ownerId }), user.snapshot())) as Session
        const apiToken = await apiTokens.add(anApiTokenDraft({ ownerId }))
        return { user, ownerId, task: (result[0] as Task).snapshot(), session, apiToken }
      }

      it('with the address, all sessions and API tokens at once, and no other user', async () => {
        const { sessions, apiTokens, tasks } = repositories
        const { user, ownerId, session, apiToken } = await userWithData()
        const other = await userWithData('john@example.com')
        expect(await users.write(ownerId, remove)).to.equal(undefined)
        expect(await users.findById(ownerId)).to.equal(undefined)
        expect(await users.findByEmail(anAddress(user.email))).to.equal(undefined)
        expect((await users.list(ALL)).map(({ id }) => id)).to.deep.equal([other.ownerId])
        expect(await sessions.find(session)).to.equal(undefined)
        expect(await sessions.list(ownerId)).to.deep.equal([])
        expect(await sessions.start(aSessionDraft({ ownerId }), user.snapshot())).to.equal(undefined)
        expect(await apiTokens.find(apiToken)).to.equal(undefined)
        expect(await apiTokens.list(ownerId)).to.deep.equal([])
        await expectRejection(apiTokens.add(anApiTokenDraft({ ownerId })), InvalidToken)
        await expectRejection(storeTask(tasks, aTaskDraft({ ownerId })), InvalidToken)
        await expectRejection(users.write(ownerId, remove), UserNotFound)
        await users.replaceHash(user.snapshot(), 'new')
        await repositories.purgeLeavers()
        expect(await listTasks(tasks, ownerId)).to.deep.equal([])
        expect((await sessions.find(other.session))?.user.id).to.equal(other.ownerId)
        expect((await apiTokens.find(other.apiToken))?.user.id).to.equal(other.ownerId)
        expect((await tasks.get(other.task)).snapshot()).to.deep.equal(other.task)
      })

      it('and gives the address, but not the id, to the next one', async () => {
        const { user, ownerId } = await userWithData()
        await users.write(ownerId, remove)
        const next = await users.add(aUserDraft({ email: user.email.toUpperCase() }))
        expect(next.id).to.be.above(ownerId)
        expect(await listTasks(repositories.tasks, next.id)).to.deep.equal([])
        await repositories.purgeLeavers()
        expect((await users.findByEmail(anAddress(user.email)))?.id).to.equal(next.id)
        const third = await users.add(aUserDraft({ email: 'third@example.com' }))
        expect(third.id).to.be.above(next.id)
      })

      it('who no longer counts as an admin', async () => {
        const one = await users.add(aUserDraft({ role: 'admin' }))
        const two = await users.add(aUserDraft({ role: 'admin', email: 'two@example.com' }))
        await users.write(one.id, remove)
        await expectRejection(
          users.write(two.id, (user, others) => ({ save: user.administer({ disabled: true }, others) })),
          LastAdmin,
        )
      })

      it('during writes of tasks, and leaves none of them', async () => {
        const { tasks } = repositories
        const { ownerId, task } = await userWithData()
        const writes = Array.from({ length: 30 }, (_, index) =>
          index % 2 === 0
            ? storeTask(tasks, aTaskDraft({ ownerId }))
            : editTask(tasks, task, (each) => each.edit({ title: `${index}` }, new Date())),
        )
        const removal = users.write(ownerId, remove)
        const more = Array.from({ length: 30 }, () => storeTask(tasks, aTaskDraft({ ownerId })))
        const { reasons } = await outcomes([...writes, ...more])
        await removal
        for (const reason of reasons) expect(reason).to.be.an.instanceOf(InvalidToken)
        await expectRejection(storeTask(tasks, aTaskDraft({ ownerId })), InvalidToken)
        await repositories.purgeLeavers()
        expect(await listTasks(tasks, ownerId)).to.deep.equal([])
      })

      it('during logins, refreshes and new API tokens, and leaves none of them', async () => {
        const { sessions, apiTokens } = repositories
        const { user, ownerId, session } = await userWithData()
        const racing = () => [
          sessions.start(aSessionDraft({ ownerId }), user.snapshot()),
          sessions.refresh(session, (found) =>
            found ? { outcome: 'rotated', session: found.session } : { outcome: 'refused' },
          ),
          sessions.use(session, new Date()),
          apiTokens.add(anApiTokenDraft({ ownerId })),
        ]
        const before = [1, 2, 3].flatMap(racing)
        const removal = users.write(ownerId, remove)
        const { reasons } = await outcomes([...before, ...[1, 2, 3].flatMap(racing)])
        await removal
        for (const reason of reasons) expect(reason).to.be.an.instanceOf(InvalidToken)
        expect(await sessions.list(ownerId)).to.deep.equal([])
        expect(await apiTokens.list(ownerId)).to.deep.equal([])
      })
    })

    it('returns undefined for an unassigned id', async () => {
      const user = await users.add(aUserDraft())
      for (const id of [0, user.id + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]) {
        expect(await users.findById(id)).to.equal(undefined)
      }
    })
  })
}

for (const { name, databaseUrl } of persistentSets) {
  describe(`A persistent user repository (${name})`, () => {
    it('rejects with StoreUnavailable after its database was closed', async () => {
      const closed = await openRepositories(await databaseUrl())
      await closed.close()
      await expectRejection(closed.users.add(aUserDraft()), StoreUnavailable)
      await expectRejection(closed.users.findById(1), StoreUnavailable)
      await expectRejection(closed.users.replaceHash({ id: 1, hashedPassword: 'old' }, 'new'), StoreUnavailable)
      await expectRejection(closed.users.findByEmail(anAddress('jane@example.com')), StoreUnavailable)
      await expectRejection(closed.users.list(ALL), StoreUnavailable)
      await expectRejection(
        closed.users.write(1, (user) => ({ save: user })),
        StoreUnavailable,
      )
    })
  })
}
