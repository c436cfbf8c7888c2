import { expect } from 'chai'
import pg from 'pg'
import { type Database, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { RATE_LIMITS_TABLE } from '#src/adapters/mikro-orm/records.ts'
import { CountingLoginThrottle } from '#src/adapters/rate-limits/rate-limits.ts'
import { type Queryable, SharedCounts } from '#src/adapters/rate-limits/shared-counts.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { postgresqlTarget } from '#test/contracts/repositories.ts'
import { waitUntil } from '#test/wait-until.ts'

/** https://www.postgresql.org/docs/current/errcodes-appendix.html */
const LOCK_TIMEOUT = '55P03'

const logIn = async () => 'a token'

describe('Counts while their table is locked', () => {
  let database: Database & { readonly pool: pg.Pool }
  let locker: pg.Client
  before(async () => {
    const url = await postgresql.databaseUrl()
    const options = { size: 10, preparedStatements: true }
    database = (await openDatabase(postgresqlTarget(url), options)) as typeof database
    await database.migrate()
    locker = new pg.Client(url)
    await locker.connect()
  })
  after(() => Promise.all([database.close(), locker.end()]))

  it('delay a correct login once, and occupy no backend', async () => {
    let statements = 0
    const failures: unknown[] = []
    const pool: Queryable = {
      async query(statement) {
        statements++
        try {
          return await database.pool.query(statement)
        } catch (error) {
          failures.push((error as { code?: string }).code)
          throw error
        }
      },
    }
    const logins = new CountingLoginThrottle(
      3,
      900,
      new SharedCounts(pool, () => undefined, { table: RATE_LIMITS_TABLE, timeout: 100 }),
    )
    await locker.query('begin')
    await locker.query(`lock table ${RATE_LIMITS_TABLE}`)
    for (let login = 0; login < 5; login++)
      expect(await logins.attempt('jane@example.com', '192.0.2.1', logIn)).to.equal('a token')
    // The three counts that a login reads first.
    expect(statements).to.equal(3)
    const waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    await waitUntil(async () => (await locker.query(waiting)).rowCount === 0)
    await waitUntil(() => database.pool.idleCount === database.pool.totalCount)
    expect(failures).to.deep.equal([LOCK_TIMEOUT, LOCK_TIMEOUT, LOCK_TIMEOUT])
    await locker.query('rollback')
  })
})
