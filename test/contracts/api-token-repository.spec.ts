import { expect } from 'chai'
import { type ApiToken, type ApiTokenKey, MAX_API_TOKENS } from '#src/domain/accounts/api-token.ts'
import { SCOPES } from '#src/domain/accounts/caller.ts'
import type { User } from '#src/domain/accounts/user.ts'
import { ApiTokenLimitReached, InvalidToken, StoreUnavailable } from '#src/domain/errors.ts'
import { adapterSets, persistentSets } from '#test/adapter-sets.ts'
import { anApiTokenDraft, aUser, aUserDraft } from '#test/builders.ts'
import {
  expectRejection,
  openRepositories,
  outcomes,
  type Repositories,
  removeUsers,
} from '#test/contracts/repositories.ts'

const MINUTE = 60_000
const NOW = new Date('2026-05-01T12:00:00.123Z')
const later = (milliseconds: number) => new Date(NOW.getTime() + milliseconds)
const UNASSIGNED_IDS = [0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]

for (const { name, databaseUrl } of adapterSets) {
  describe(`An API token repository (${name})`, () => {
    let repositories: Repositories
    let apiTokens: Repositories['apiTokens']
    let jane: User
    let john: User

    before(async () => {
      repositories = await openRepositories(await databaseUrl())
      apiTokens = repositories.apiTokens
    })

    beforeEach(async () => {
      jane = await repositories.users.add(aUserDraft({ timeZone: 'Asia/Tokyo' }))
      john = await repositories.users.add(aUserDraft({ email: 'john@example.com' }))
    })

    afterEach(() => removeUsers(repositories))
    after(() => repositories.close())

    const add = (owner: User, given = {}) => apiTokens.add(anApiTokenDraft({ ownerId: owner.id, ...given }))
    const keyOf = ({ id, ownerId }: ApiToken): ApiTokenKey => ({ id, ownerId })
    const idsOf = async (owner: User) => (await apiTokens.list(owner.id)).map(({ id }) => id)

    it('stores a token with all members and finds it together with its user', async () => {
      const drafts = [
        anApiTokenDraft({ ownerId: jane.id }),
        anApiTokenDraft({
          ownerId: jane.id,
          name: '😀'.repeat(100),
          scopes: SCOPES,
          tokenHash: 'f'.repeat(64),
          createdAt: NOW,
          expiresAt: new Date('9999-12-31T23:59:59.999Z'),
          lastUsedAt: later(1),
        }),
      ]
      for (const draft of drafts) {
        const token = await apiTokens.add(draft)
        expect(token.snapshot()).to.deep.equal({ ...draft, id: token.id })
        const found = await apiTokens.find(keyOf(token))
        expect(found?.apiToken.snapshot()).to.deep.equal(token.snapshot())
        expect(found?.user.snapshot()).to.deep.equal(jane.snapshot())
      }
    })

    it('finds no token of another user and none with an unassigned id', async () => {
      const { id } = await add(jane)
      expect(await apiTokens.find({ id, ownerId: john.id })).to.equal(undefined)
      for (const unassigned of UNASSIGNED_IDS) {
        expect(await apiTokens.find({ id: unassigned, ownerId: jane.id })).to.equal(undefined)
        expect(await apiTokens.find({ id, ownerId: unassigned })).to.equal(undefined)
      }
    })

    it('finds a disabled user, whom the caller must refuse', async () => {
      const token = await add(jane)
      const disabled = aUser({ ...jane.snapshot(), disabled: true })
      await repositories.users.write(jane.id, () => ({ save: disabled }))
      expect((await apiTokens.find(keyOf(token)))?.user.snapshot()).to.deep.equal(disabled.snapshot())
    })

    it('lists the tokens of a user, newest first', async () => {
      expect(await apiTokens.list(jane.id)).to.deep.equal([])
      const first = await add(jane)
      await add(john)
      const second = await add(jane, { name: 'another' })
      expect((await apiTokens.list(jane.id)).map((token) => token.snapshot())).to.deep.equal([
        second.snapshot(),
        first.snapshot(),
      ])
    })

    it('never reuses an id', async () => {
      const first = await add(jane)
      await apiTokens.remove(keyOf(first))
      expect((await add(jane)).id).to.be.above(first.id)
    })

    it('rejects a token of a user who does not exist with InvalidToken', async () => {
      for (const ownerId of UNASSIGNED_IDS) {
        await expectRejection(apiTokens.add(anApiTokenDraft({ ownerId })), InvalidToken)
      }
    })

    it('rejects a token beyond the limit with ApiTokenLimitReached, even among concurrent ones', async () => {
      for (let count = 0; count < MAX_API_TOKENS - 2; count++) await add(jane)
      const { succeeded, reasons } = await outcomes([1, 2, 3, 4, 5].map(() => add(jane)))
      expect(succeeded).to.equal(2)
      for (const reason of reasons) expect(reason).to.be.an.instanceOf(ApiTokenLimitReached)
      expect(await idsOf(jane)).to.have.lengthOf(MAX_API_TOKENS)
      await add(john)
      const [id] = (await idsOf(jane)) as [number]
      await apiTokens.remove({ id, ownerId: jane.id })
      await add(jane)
    }).timeout(20_000)

    it('moves the last use forward and never back', async () => {
      const token = await add(jane)
      const other = await add(jane)
      const lastUse = async () => (await apiTokens.find(keyOf(token)))?.apiToken.snapshot().lastUsedAt
      await apiTokens.use(keyOf(token), NOW)
      expect(await lastUse()).to.deep.equal(NOW)
      await apiTokens.use(keyOf(token), later(-MINUTE))
      expect(await lastUse()).to.deep.equal(NOW)
      await Promise.all([5, 3, 9, 2, 7].map((minutes) => apiTokens.use(keyOf(token), later(minutes * MINUTE))))
      expect(await lastUse()).to.deep.equal(later(9 * MINUTE))
      await apiTokens.use({ ...keyOf(token), ownerId: john.id }, later(20 * MINUTE))
      await apiTokens.use({ ...keyOf(token), id: 0 }, later(20 * MINUTE))
      expect((await apiTokens.find(keyOf(token)))?.apiToken.snapshot()).to.deep.equal({
        ...token.snapshot(),
        lastUsedAt: later(9 * MINUTE),
      })
      expect((await apiTokens.find(keyOf(other)))?.apiToken.snapshot()).to.deep.equal(other.snapshot())
    })

    it('removes one token of its user, once', async () => {
      const token = await add(jane)
      const other = await add(jane)
      expect(await apiTokens.remove({ ...keyOf(token), ownerId: john.id })).to.equal(false)
      expect(await apiTokens.remove({ ...keyOf(token), id: 0 })).to.equal(false)
      const removed = await Promise.all([1, 2, 3].map(() => apiTokens.remove(keyOf(token))))
      expect(removed.filter(Boolean)).to.have.lengthOf(1)
      expect(await apiTokens.find(keyOf(token))).to.equal(undefined)
      expect(await idsOf(jane)).to.deep.equal([other.id])
    })

    it('purges the tokens that expired before a time', async () => {
      const unlimited = await add(jane)
      const kept = await add(jane, { expiresAt: NOW })
      await add(jane, { expiresAt: later(-1) })
      await add(john, { expiresAt: later(-MINUTE) })
      await repositories.purgeApiTokens(NOW)
      expect(await idsOf(jane)).to.deep.equal([kept.id, unlimited.id])
      expect(await idsOf(john)).to.deep.equal([])
    })
  })
}

for (const { name, databaseUrl } of persistentSets) {
  describe(`A persistent API token repository (${name})`, () => {
    it('rejects with StoreUnavailable after its database was closed', async () => {
      const { apiTokens, users, close } = await openRepositories(await databaseUrl())
      const { id: ownerId } = await users.add(aUserDraft())
      await close()
      const key = { id: 1, ownerId }
      for (const call of [
        () => apiTokens.add(anApiTokenDraft({ ownerId })),
        () => apiTokens.find(key),
        () => apiTokens.list(ownerId),
        () => apiTokens.use(key, NOW),
        () => apiTokens.remove(key),
      ]) {
        await expectRejection(call(), StoreUnavailable)
      }
    })
  })
}
