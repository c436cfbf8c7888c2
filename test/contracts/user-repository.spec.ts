import { expect } from 'chai'
import { EmailAlreadyTaken, StoreUnavailable } from '#src/domain/errors.ts'
import { adapterSets, persistentSets } from '#test/adapter-sets.ts'
import { aUserDraft } from '#test/builders.ts'
import { expectRejection, openRepositories, outcomes, type Repositories } from '#test/contracts/repositories.ts'

for (const { name, databaseUrl } of adapterSets) {
  describe(`A user repository (${name})`, () => {
    let repositories: Repositories
    let users: Repositories['users']

    beforeEach(async () => {
      repositories = await openRepositories(await databaseUrl())
      users = repositories.users
    })

    afterEach(() => repositories.close())

    it('stores and returns an added user with an id, and finds the user by id and by address', async () => {
      const draft = aUserDraft({ hashedPassword: '$'.repeat(255), createdAt: new Date('2026-01-31T09:30:00.123Z') })
      const user = (await users.add(draft)).snapshot()
      expect(user).to.deep.equal({ ...draft, id: user.id })
      expect((await users.findById(user.id))?.snapshot()).to.deep.equal(user)
      expect((await users.findByEmail(draft.email))?.snapshot()).to.deep.equal(user)
    })

    it('replaces the hash of one user and nothing else', async () => {
      const jane = (await users.add(aUserDraft({ hashedPassword: 'weak' }))).snapshot()
      const john = (await users.add(aUserDraft({ email: 'john@example.com', hashedPassword: 'weak' }))).snapshot()
      await users.replaceHash(jane, '$'.repeat(255))
      const replaced = { ...jane, hashedPassword: '$'.repeat(255) }
      expect((await users.findById(jane.id))?.snapshot()).to.deep.equal(replaced)
      expect((await users.findByEmail(jane.email))?.snapshot()).to.deep.equal(replaced)
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
        expect((await users.findByEmail(email))?.snapshot()).to.deep.equal(user)
      }
    })

    it('rejects a taken address with EmailAlreadyTaken', async () => {
      const first = await users.add(aUserDraft({ hashedPassword: 'first' }))
      await expectRejection(users.add(aUserDraft({ hashedPassword: 'second' })), EmailAlreadyTaken)
      expect((await users.findByEmail('jane@example.com'))?.snapshot()).to.deep.equal(first.snapshot())
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

    it('compares addresses exactly', async () => {
      await users.add(aUserDraft({ email: 'jane@example.com' }))
      for (const email of ['Jane@example.com', 'jane@example.co', 'jane@example.com ', 'jan_@example.com', '%', '']) {
        expect(await users.findByEmail(email)).to.equal(undefined)
      }
      await users.add(aUserDraft({ email: 'Jane@example.com' }))
    })

    it('returns undefined for an unassigned id', async () => {
      await users.add(aUserDraft())
      for (const id of [0, 2, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]) {
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
      await expectRejection(closed.users.findByEmail('jane@example.com'), StoreUnavailable)
    })
  })
}
