import { persistentSets } from '#test/adapter-sets.ts'
import { Api } from '#test/http/api.ts'
import { checkModel } from '#test/http/model.ts'

for (const { name, databaseUrl } of persistentSets) {
  describe(`The task API (${name})`, function () {
    this.slow(40_000)
    const api = new Api()
    before(async () => api.start({ DATABASE_URL: await databaseUrl() }))
    after(() => api.stop())

    it('does what its model does (property-based)', () => checkModel(api, 100))
  })
}
