import { expect } from 'chai'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import type { PersistentTarget } from '#src/database-target.ts'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { sqlSets } from '#test/adapter-sets.ts'
import { aUserDraft } from '#test/builders.ts'
import { expectRejection, targetOf } from '#test/contracts/repositories.ts'

for (const { name, databaseUrl } of sqlSets) {
  describe(`A store (${name})`, () => {
    const open = async () => openDatabase(targetOf(await databaseUrl()) as PersistentTarget)

    it('responds to a ping', async () => {
      const database = await open()
      await database.migrate()
      await database.ping()
      await database.close()
    })

    it('counts the pending statements', async () => {
      const database = await open()
      await database.migrate()
      const reads = [1, 2, 3].map((id) => database.users.findById(id))
      const writes = ['one', 'two'].map((name) => database.users.add(aUserDraft({ email: `${name}@example.com` })))
      expect(database.pending()).to.deep.equal({ reads: 3, writes: 2 })
      await Promise.all([...reads, ...writes])
      expect(database.pending()).to.deep.equal({ reads: 0, writes: 0 })
      await database.close()
    })

    it('rejects a ping with StoreUnavailable while it has no tables', async () => {
      const database = await open()
      await expectRejection(database.ping(), StoreUnavailable)
      await database.migrate()
      await database.ping()
      await database.close()
    })

    it('rejects a ping with StoreUnavailable after it was closed', async () => {
      const database = await open()
      await database.migrate()
      await database.close()
      await expectRejection(database.ping(), StoreUnavailable)
    })
  })
}
