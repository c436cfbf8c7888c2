import { expect } from 'chai'
import pg from 'pg'
import { DatabaseUnavailable, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { type PoolOptions, SharedConnections } from '#src/adapters/mikro-orm/postgresql/postgresql-connections.ts'
import { PostgresqlServers } from '#src/adapters/mikro-orm/postgresql/postgresql-servers.ts'
import { statement } from '#src/adapters/mikro-orm/prepared-query.ts'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { expectRejection, postgresqlTarget } from '#test/contracts/repositories.ts'
import { ALTERNATIVES, alterDatabase, DANGEROUS, expectConcurrentEdits, expectContract } from './operator-settings.ts'

/** The settings of the service's own sessions, in PostgreSQL's names and forms. */
const OURS = {
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  TimeZone: 'UTC',
  default_transaction_isolation: 'read committed',
  idle_session_timeout: '0',
  standard_conforming_strings: 'on',
  synchronous_commit: 'on',
}

const PREPARED: PoolOptions = { size: 3, preparedStatements: true }
const UNPREPARED: PoolOptions = { size: 3, preparedStatements: false }

let url: string
let name: string
let operator: pg.Client

async function createDatabase(): Promise<void> {
  url = await postgresql.databaseUrl()
  name = new URL(url).pathname.slice(1)
  operator = new pg.Client(new URL('/postgres', url).href)
  await operator.connect()
  const database = await open()
  await database.migrate()
  await database.close()
}

const open = (options?: PoolOptions) => openDatabase(postgresqlTarget(url), options)

const set = (setting: string, value: string) => alterDatabase(operator, name, { [setting]: value })

/** Ends every session of the database, so that new ones begin with its current settings. */
const disconnect = () =>
  operator.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [name])

describe('PostgreSQL whose settings an operator changed', () => {
  before(createDatabase)
  after(() => operator.end())
  afterEach(() => operator.query(`alter database ${name} reset all`))

  for (const options of [PREPARED, UNPREPARED]) {
    const mode = options.preparedStatements ? 'prepared statements' : 'no prepared statements'
    for (const [index, settings] of [DANGEROUS, ...ALTERNATIVES].entries()) {
      it(`keeps the contract (settings ${index + 1}, ${mode})`, async () => {
        await alterDatabase(operator, name, settings)
        const databases = await Promise.all([open(options), open(options)])
        await Promise.all(databases.map(expectContract))
        await expectConcurrentEdits(databases)
        await Promise.all(databases.map((database) => database.close()))
      })
    }

    it(`runs every session with the service’s settings (${mode})`, async () => {
      await alterDatabase(operator, name, DANGEROUS)
      const names = Object.keys(OURS).map((setting) => `current_setting('${setting}') as "${setting}"`)
      const query = `select ${names.join()}`
      const connections = new SharedConnections(new PostgresqlServers(postgresqlTarget(url)), options, 1)
      expect((await connections.run(statement(query))).rows).to.deep.equal([OURS])
      await connections.end()
      const database = await open(options)
      expect((await database.pool?.query(query))?.rows).to.deep.equal([OURS])
      await database.close()
    })
  }

  it('keeps a synchronous_commit that is stricter than the service’s', async () => {
    await set('synchronous_commit', 'remote_apply')
    const connections = new SharedConnections(new PostgresqlServers(postgresqlTarget(url)), PREPARED, 1)
    expect((await connections.run(statement('show synchronous_commit'))).rows).to.deep.equal([
      { synchronous_commit: 'remote_apply' },
    ])
    await connections.end()
  })

  it('uses the schema found at start-up for later connections', async () => {
    const database = await open(PREPARED)
    await operator.query(`alter database ${name} set search_path = elsewhere`)
    await disconnect()
    const ready = () =>
      database.ping().then(
        () => true,
        () => false,
      )
    while (!(await ready()));
    await expectContract(database)
    await database.close()
  })

  it('is not opened with session_replication_role = replica, which disables foreign keys', async () => {
    await set('session_replication_role', 'replica')
    const error = await open(PREPARED).catch((error: unknown) => error)
    expect(error).to.be.an.instanceOf(DatabaseUnavailable)
    expect(error).to.have.property('message').that.includes('session_replication_role must be origin')
  })

  it('becomes unavailable when session_replication_role becomes replica', async () => {
    const database = await open(PREPARED)
    await set('session_replication_role', 'replica')
    await disconnect()
    for (let turn = 0; turn < 5; turn++) await expectRejection(database.ping(), StoreUnavailable)
    await database.close()
  })

  it('is migrated once by three concurrent instances, even with repeatable read', async () => {
    const fresh = new URL(await postgresql.databaseUrl())
    await operator.query(
      `alter database ${fresh.pathname.slice(1)} set default_transaction_isolation = 'repeatable read'`,
    )
    const target = postgresqlTarget(fresh.href)
    const databases = await Promise.all([1, 2, 3].map(() => openDatabase(target)))
    const applied = await Promise.all(databases.map((database) => database.migrate()))
    expect(applied.filter((migrations) => migrations.length > 0)).to.have.lengthOf(1)
    await Promise.all(databases.map((database) => database.close()))
  })
})
