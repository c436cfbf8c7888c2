import { expect } from 'chai'
import { allowProcesses, Service } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client, WriteLoad } from './client.ts'
import { EditHistory, EditLoad } from './edit-load.ts'
import { ReplicatedPostgresql } from './replicated-postgresql.ts'

const WRITERS = 16

/** Milliseconds from the promotion to the first write: 2,000 as documented, the rest for a busy machine. */
const MAX_RECOVERY = 5_000

const SERVICE_CONNECTIONS = "select 1 from pg_stat_activity where application_name = 'task-management-api'"

describe('Failover to a PostgreSQL standby', () => {
  allowProcesses()

  let servers: ReplicatedPostgresql
  let client: Client
  let load: WriteLoad
  let history: EditHistory
  let edits: EditLoad

  beforeEach(async () => {
    servers = await ReplicatedPostgresql.start()
    const service = new Service({ DATABASE_URL: servers.url, RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_USER: '1000000' })
    client = await Client.signUp(await service.url())
    history = new EditHistory()
    edits = new EditLoad(history, [client, client, client, client], await EditLoad.createTasks(client, history))
    load = new WriteLoad(client, WRITERS)
    await Promise.all([load.waitForAcknowledged(200), edits.waitForAcknowledged(20)])
  })
  afterEach(() => servers.remove())

  async function readiness() {
    const answer = await client.send('GET', '/readyz')
    return `${answer.status} ${((await answer.json()) as { code?: string }).code ?? 'ok'}`
  }

  /** Promotes the standby. @returns the milliseconds until a write is acknowledged */
  async function promoteAndMeasure(): Promise<number> {
    await servers.promote()
    const promoted = performance.now()
    await load.waitForAcknowledged(1)
    return performance.now() - promoted
  }

  async function expectNothingLost(): Promise<void> {
    await Promise.all([load.waitForAcknowledged(200), edits.waitForAcknowledged(20)])
    await Promise.all([load.stop(), edits.stop()])
    for (const { status, code, retryAfter } of load.refusals) {
      expect(status).to.equal(503)
      if (code === 'outcome_unknown') expect(retryAfter).to.equal(null)
      else {
        expect(code).to.equal('store_unavailable')
        expect(retryAfter).to.match(/^\d+$/)
      }
    }
    expect(await client.findLost(load.acknowledged)).to.deep.equal([])
    expect(history.violations(await client.listTasks())).to.deep.equal([])
  }

  it('loses no acknowledged task or edit when the primary is killed', async () => {
    const before = load.refusals.length
    await servers.killPrimary()
    await waitUntil(() => load.refusals.length > before + 100)
    expect(await readiness()).to.equal('503 store_unavailable')
    const recovery = await promoteAndMeasure()
    console.log(`      first write ${Math.round(recovery)} ms after the promotion`)
    expect(recovery).to.be.below(MAX_RECOVERY)
    expect(await readiness()).to.equal('200 ok')
    expect((await Client.logIn(client.url)).token).to.be.a('string')

    // The old primary accepts writes and is named first in the URL.
    await servers.restartPrimary()
    await expectNothingLost()
    expect(await servers.onPrimary(SERVICE_CONNECTIONS)).to.deep.equal([])
  })

  it('moves reads and writes away from a primary that becomes read-only', async () => {
    await servers.onPrimary('alter system set default_transaction_read_only = on')
    await servers.onPrimary('select pg_reload_conf()')
    await waitUntil(async () => (await readiness()) === '503 store_unavailable')
    await waitUntil(async () => (await servers.onPrimary(SERVICE_CONNECTIONS)).length === 0)
    expect((await client.send('GET', '/api/v1/tasks')).status).to.equal(503)

    const recovery = await promoteAndMeasure()
    console.log(`      first write ${Math.round(recovery)} ms after the promotion`)
    expect(recovery).to.be.below(MAX_RECOVERY)
    expect(await readiness()).to.equal('200 ok')
    await expectNothingLost()
    expect(await servers.onPrimary(SERVICE_CONNECTIONS)).to.deep.equal([])
  })
})
