import { Api } from './api.ts'
import { checkModel } from './model.ts'

describe('The task API (in memory)', function () {
  this.slow(4_000)
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:' }))
  after(() => api.stop())

  it('does what its model does (property-based)', () => checkModel(api, 20))
})
