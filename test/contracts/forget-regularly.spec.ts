import { mock } from 'node:test'
import { expect } from 'chai'
import { forgetRegularly } from '#src/adapters/mikro-orm/forget-regularly.ts'

const HOUR = 3_600_000
const NOW = new Date('2026-05-01T12:00:00.000Z')

describe('Purging old deletions and idempotency keys', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setInterval', 'Date'], now: NOW }))

  afterEach(() => mock.timers.reset())

  it('is done every hour until the service stops, and logs a warning if it fails', async () => {
    const purged: string[] = []
    const warnings: string[] = []
    const database = {
      async forgetDeletions(before: Date) {
        purged.push(before.toISOString())
        throw new Error('unavailable')
      },
      async forgetKeys(before: Date) {
        purged.push(before.toISOString())
      },
    }
    const purging = forgetRegularly(database, 90, { warn: (_, message) => warnings.push(message) })
    mock.timers.tick(HOUR)
    mock.timers.tick(HOUR)
    purging[Symbol.dispose]()
    mock.timers.tick(HOUR)
    await Promise.resolve()
    expect(purged).to.deep.equal([
      '2026-01-31T13:00:00.000Z',
      '2026-04-30T13:00:00.000Z',
      '2026-01-31T14:00:00.000Z',
      '2026-04-30T14:00:00.000Z',
    ])
    expect(warnings).to.deep.equal(Array(2).fill('Cannot purge old deletions and idempotency keys; trying again later'))
  })
})
