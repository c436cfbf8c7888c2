import { mock } from 'node:test'
import { expect } from 'chai'
import { purgeRegularly } from '#src/adapters/mikro-orm/purge-regularly.ts'

const MINUTE = 60_000
const HOUR = 3_600_000
const DAY = 24 * HOUR
const NOW = new Date('2026-05-01T12:00:00.000Z')

describe('Purging old rows', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: NOW }))

  afterEach(() => mock.timers.reset())

  it('is done a minute after the start and then every hour until the service stops, and logs a warning if it fails', async () => {
    const purged: unknown[] = []
    const warnings: string[] = []
    const noting = (name: string) => async (before?: unknown) => {
      purged.push([name, before])
    }
    const database = {
      async purgeDeletions(before: Date) {
        purged.push(['deletions', before])
        throw new Error('unavailable')
      },
      purgeKeys: noting('keys'),
      purgeSessions: noting('sessions'),
      purgeApiTokens: noting('API tokens'),
      purgeLeavers: noting('leavers'),
    }
    const lifetimes = { tombstoneDays: 90, sessions: { idle: 30 * DAY, max: 60 * DAY } }
    const purging = purgeRegularly(database, lifetimes, { warn: (_, message) => warnings.push(message) })
    mock.timers.tick(MINUTE)
    mock.timers.tick(HOUR - MINUTE)
    mock.timers.tick(HOUR)
    purging[Symbol.dispose]()
    mock.timers.tick(HOUR)
    await Promise.resolve()
    const at = (time: string) => [
      ['deletions', new Date(`2026-01-31T${time}`)],
      ['keys', new Date(`2026-04-30T${time}`)],
      ['sessions', { lastUsed: new Date(`2026-04-01T${time}`), created: new Date(`2026-03-02T${time}`) }],
      ['API tokens', new Date(`2026-04-01T${time}`)],
      ['leavers', undefined],
    ]
    expect(purged).to.deep.equal([...at('12:01:00.000Z'), ...at('13:00:00.000Z'), ...at('14:00:00.000Z')])
    expect(warnings).to.deep.equal(Array(3).fill('Cannot purge old rows; trying again later'))
  })
})
