import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { DummyDriver, Kysely, PostgresDialect, type PostgresDialectConfig } from 'kysely'
import pg from 'pg'
import { DatabaseUnavailable, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import {
  type PoolOptions,
  postgresqlPool,
  SharedConnections,
} from '#src/adapters/mikro-orm/postgresql/postgresql-connections.ts'
import { PostgresqlServers, TIMEOUTS, type Timeouts } from '#src/adapters/mikro-orm/postgresql/postgresql-servers.ts'
import { postgresqlStore } from '#src/adapters/mikro-orm/postgresql/postgresql-store.ts'
import { type Statement, statement } from '#src/adapters/mikro-orm/prepared-query.ts'
import type { Tables } from '#src/adapters/mikro-orm/records.ts'
import { type Transaction, writing } from '#src/adapters/mikro-orm/store.ts'
import { EmailAlreadyTaken, OutcomeUnknown, StoreUnavailable } from '#src/domain/errors.ts'
import type { TaskKey } from '#src/domain/tasks/ports.ts'
import type { Task } from '#src/domain/tasks/task.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { aTaskDraft, aUserDraft } from '#test/builders.ts'
import { indexedReads, LIMIT, makeLongList, useAccounts } from '#test/contracts/indexed-reads.ts'
import { type ObservedStore, observedStore } from '#test/contracts/observed-store.ts'
import {
  anOwner,
  editTask,
  expectRejection,
  listTasks,
  outcomes,
  postgresqlTarget,
  removeTask,
  storeTask,
} from '#test/contracts/repositories.ts'
import { startProxy } from '#test/postgresql-proxy.ts'

const NOW = new Date('2026-02-01T12:00:00.000Z')
const retitle = (task: Task) => task.edit({ title: 'new' }, NOW)

const UNAVAILABLE = ['store_unavailable', 'outcome_unknown']

const OPTIONS: PoolOptions = { size: 10, preparedStatements: true }

const serversOf = (url: string, timeouts: Partial<Timeouts> = {}) =>
  new PostgresqlServers(postgresqlTarget(url), { ...TIMEOUTS, ...timeouts })

function observed(url: string, response = TIMEOUTS.response, options = OPTIONS): ObservedStore {
  const servers = serversOf(url, { response })
  const ofSize = (size: number) => new SharedConnections(servers, options, size)
  const [writer, deciders, readers] = [ofSize(1), [ofSize(1), ofSize(1)], ofSize(2)] as const
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: postgresqlPool(servers, OPTIONS) }) })
  return observedStore(postgresqlStore(kysely, { writer, deciders, readers }), {
    sql: async <Row>(text: string, parameters: readonly unknown[] = []) =>
      (await writer.run(statement<Row>(text, parameters))).rows,
    close: () => Promise.all([writer, readers, ...deciders].map((connections) => connections.end())),
  })
}

/** A dialect that builds queries but cannot run them. */
class UnconnectedDialect extends PostgresDialect {
  override createDriver = () => new DummyDriver()
}
const unconnected = new Kysely<Tables>({ dialect: new UnconnectedDialect({} as PostgresDialectConfig) })

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Actual Rows'?: number
  readonly 'Rows Removed by Filter'?: number
  readonly Plans?: readonly PlanNode[]
}

const nodesOf = (plan: PlanNode): readonly PlanNode[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]

describe('The store on PostgreSQL', () => {
  let url: string
  let store: ObservedStore
  let ownerId: number
  /** A connection that locks rows. */
  let holder: pg.Client
  /** Observes from another database and without a transaction, inside which pg_stat_activity would not change. */
  let operator: pg.Client

  beforeEach(async () => {
    url = await postgresql.databaseUrl()
    const database = await openDatabase(postgresqlTarget(url))
    await database.migrate()
    await database.close()
    store = observed(url)
    ownerId = await anOwner(store)
    holder = new pg.Client({ connectionString: url, application_name: 'holder' })
    operator = new pg.Client(new URL('/postgres', url).href)
    await Promise.all([holder.connect(), operator.connect()])
  })

  afterEach(async () => {
    await Promise.all([holder.end(), operator.end(), store.close()])
  })

  const addTask = (given = {}) => storeTask(store.tasks, aTaskDraft({ ownerId, ...given }))

  const isServiceSession = () =>
    `datname = '${new URL(url).pathname.slice(1)}' and application_name = 'task-management-api'`

  /** The prepared statements of the connection for writes. */
  const namedStatements = async () =>
    (await store.sql<{ statement: string }>('select statement from pg_prepared_statements')).map((row) => row.statement)

  const signal = (call: 'pg_cancel_backend' | 'pg_terminate_backend') =>
    operator.query(`select ${call}(pid) from pg_stat_activity where ${isServiceSession()}`)

  /** Waits until as many backends of the service wait for locks of this application. */
  async function untilBlocked(count: number, by = 'holder'): Promise<void> {
    const lockers = `select pid from pg_stat_activity where application_name = '${by}'`
    const blocked = `select 1 from pg_stat_activity where ${isServiceSession()} and pg_blocking_pids(pid) && array(${lockers})`
    while ((await operator.query(blocked)).rowCount !== count);
  }

  /** Opens every connection for reads, which reads use in turn. */
  async function openEach({ tasks }: ObservedStore, task: TaskKey): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await tasks.get(task)
  }

  async function lock(id: number | undefined, locker = holder): Promise<void> {
    await locker.query('begin')
    await locker.query('select 1 from tasks where id = $1 for update', [id])
  }

  it('limits the time of statements, locks and idle transactions', async () => {
    expect(await store.sql('show statement_timeout')).to.deep.equal([{ statement_timeout: '10s' }])
    expect(await store.sql('show lock_timeout')).to.deep.equal([{ lock_timeout: '2s' }])
    expect(await store.sql('show idle_in_transaction_session_timeout')).to.deep.equal([
      { idle_in_transaction_session_timeout: '2s' },
    ])
  })

  it('does not report the violation of another constraint as a taken address or a missing owner', async () => {
    await store.sql("select setval('users_id_seq', 1, false), setval('tasks_id_seq', 1, false)")
    const { reasons } = await outcomes([anOwner(store)])
    expect(reasons[0]).to.be.an.instanceOf(pg.DatabaseError).and.include({ constraint: 'users_pkey' })
    await store.sql('alter table tasks add constraint elsewhere foreign key (id) references users (id)')
    const [other] = (await outcomes([addTask(), addTask(), addTask()])).reasons
    expect(other).to.be.an.instanceOf(pg.DatabaseError).and.include({ constraint: 'elsewhere' })
  })

  it('reports a taken address as EmailAlreadyTaken', async () => {
    const draft = aUserDraft({ email: 'taken@example.com' })
    await store.users.add(draft)
    await expectRejection(store.users.add(draft), EmailAlreadyTaken)
  })

  it('rejects with StoreUnavailable and the reason if its role may not use the tables', async () => {
    const role = `guest_${process.pid}_${Date.now()}`
    await operator.query(`create role ${role} login password 'guest'`)
    const guest = new URL(url)
    guest.username = role
    guest.password = 'guest'
    const forbidden = observed(guest.href)
    for (const access of [
      () => listTasks(forbidden.tasks, ownerId, { skip: 0, limit: 1 }),
      () => storeTask(forbidden.tasks, aTaskDraft({ ownerId })),
    ]) {
      const reason = await access().catch((error: unknown) => error)
      expect(reason).to.be.an.instanceOf(StoreUnavailable)
      expect((reason as Error).cause)
        .to.have.property('message')
        .that.matches(/^permission denied for table task/)
    }
    await forbidden.close()
    await operator.query(`drop role ${role}`)
  })

  it('reads times correctly in any time zone of the session', async () => {
    const added = (await addTask({ createdAt: NOW })).snapshot()
    for (const zone of ['Asia/Kathmandu', 'America/St_Johns', 'UTC']) {
      await store.sql(`set time zone '${zone}'`)
      expect((await store.tasks.get(added)).snapshot()).to.deep.equal(added)
      expect((await addTask({ createdAt: NOW })).snapshot().createdAt).to.deep.equal(NOW)
    }
  })

  it('returns timestamps as text, as MikroORM expects', async () => {
    expect(await store.sql("select timestamptz '2026-01-31 09:30:00+00' at time zone 'UTC' as at")).to.deep.equal([
      { at: '2026-01-31 09:30:00' },
    ])
  })

  it('reads usual pages of a long list from an index, without a sort and without reading other rows', async () => {
    const task = await makeLongList(store.tasks, ownerId)
    for (let index = 0; index < 20; index++) await makeLongList(store.tasks, await anOwner(store))
    await store.sql('analyze')
    await store.sql('set plan_cache_mode = force_generic_plan')
    for (const [name, read] of Object.entries(indexedReads(store.tasks, task))) {
      await read()
      const { sql, parameters } = store.ran.at(-1) as { sql: string; parameters: readonly unknown[] }
      await store.sql(`prepare planned as ${sql}`)
      const execute = `explain (analyze, format json) execute planned (${parameters.join()})`
      const [explained] = await store.sql<{ 'QUERY PLAN': readonly [{ Plan: PlanNode }] }>(execute)
      await store.sql('deallocate planned')
      const nodes = nodesOf((explained as { 'QUERY PLAN': readonly [{ Plan: PlanNode }] })['QUERY PLAN'][0].Plan)
      const kinds = nodes.map((node) => `${node['Node Type']} on ${node['Relation Name']}`)
      expect(
        kinds.filter((kind) => /Sort|Seq Scan on t(?:asks|ombstones)|Bitmap/.test(kind)),
        `${name}: ${kinds}`,
      ).to.deep.equal([])
      const looked = nodes.map((node) => (node['Actual Rows'] ?? 0) + (node['Rows Removed by Filter'] ?? 0))
      expect(Math.max(...looked), name).to.be.at.most(2 * (LIMIT + 1))
    }
  }).timeout(60_000)

  it('plans the query of changes once for lists whose rows are far apart', async () => {
    const owners: number[] = []
    for (let count = 0; count < 30; count++) owners.push(await anOwner(store))
    await store.sql(`insert into tasks (owner_id, revision, title, completed, priority, tags, search, due_moment,
      due_all_day, created_at, updated_at) select owner_id, revision, 'Ship', false, 0, '[]', 'SHIP', 0, false, now(), now()
      from generate_series(1, 1000) as revision, unnest(array[${owners}]) as owner_id`)
    await store.sql(`update task_lists set revision = 1000, size = 1000 where owner_id in (${owners})`)
    await store.sql('analyze')
    const ownerId = owners[0] as number
    await store.tasks.changes(ownerId, await store.tasks.head(ownerId), LIMIT)
    const { sql, parameters } = store.ran.at(-1) as { sql: string; parameters: readonly unknown[] }
    await store.sql(`prepare planned as ${sql}`)
    for (let execution = 0; execution < 20; execution++) await store.sql(`execute planned (${parameters.join()})`)
    const plans = "select generic_plans as count from pg_prepared_statements where name = 'planned'"
    // The server plans the first five executions for their parameters.
    expect(Number((await store.sql<{ count: string }>(plans))[0]?.count)).to.equal(15)
  }).timeout(60_000)

  it('scans no table for accounts', async () => {
    store.ran.length = 0
    await useAccounts(store)
    await store.sql('set enable_seqscan = off')
    await store.sql('set plan_cache_mode = force_generic_plan')
    for (const { sql, parameters } of store.ran.filter(({ sql }) => !sql.startsWith('insert'))) {
      await store.sql(`prepare planned as ${sql}`)
      const values = parameters.map(() => 'null').join()
      const execute = `explain (format json) execute planned${values && ` (${values})`}`
      const [explained] = await store.sql<{ 'QUERY PLAN': readonly [{ Plan: PlanNode }] }>(execute)
      await store.sql('deallocate planned')
      const nodes = nodesOf((explained as { 'QUERY PLAN': readonly [{ Plan: PlanNode }] })['QUERY PLAN'][0].Plan)
      const kinds = nodes.map((node) => `${node['Node Type']} on ${node['Relation Name']}`)
      expect(kinds.join(), sql).not.to.match(/Seq Scan/)
    }
  })

  it('keeps the last 100 parameterised statements prepared', async () => {
    for (let index = 0; index < 300; index++) {
      expect(await store.sql(`select ${index} as inlined`)).to.deep.equal([{ inlined: index }])
      expect(await store.sql(`select $1::int + ${index} as sum`, [1])).to.deep.equal([{ sum: index + 1 }])
    }
    const named = await namedStatements()
    expect(named).to.have.members(Array.from({ length: 100 }, (_, index) => `select $1::int + ${200 + index} as sum`))
  })

  it('creates a task without an idempotency key by one statement', async () => {
    store.ran.length = 0
    await addTask()
    expect(store.ran.map(({ sql }) => sql.split(' ')[0])).to.deep.equal(['with'])
  })

  it('does not write a task that an update leaves unchanged', async () => {
    const key = (await addTask()).snapshot()
    store.ran.length = 0
    await editTask(store.tasks, key, () => undefined)
    expect(store.ran.filter(({ sql }) => sql.startsWith('update'))).to.deep.equal([])
    await editTask(store.tasks, key, retitle)
    expect(store.ran.filter(({ sql }) => sql.startsWith('update'))).to.have.lengthOf(1)
  })

  it('completes all requests when the row for which an update waits is unlocked', async () => {
    const [locked, other] = [(await addTask()).snapshot(), (await addTask()).snapshot()]
    await lock(locked.id)
    const updates = [locked, other].map((key) => editTask(store.tasks, key, retitle))
    const read = store.tasks.get(other)
    await untilBlocked(1)
    await holder.query('commit')
    for (const update of updates) expect((await update).snapshot().title).to.equal('new')
    expect((await read).snapshot().id).to.equal(other.id)
  })

  it('runs concurrent writes in one transaction', async () => {
    await Promise.all([addTask(), addTask(), addTask()])
    expect(await store.sql('select distinct xmin from tasks')).to.have.lengthOf(1)
  })

  it('rejects a whole group if its commit fails, and runs the next one', async () => {
    await store.sql(
      `create function refuse() returns trigger language plpgsql as $$ begin raise 'not that one'; end $$`,
    )
    await store.sql(`create constraint trigger late after insert on tasks deferrable initially deferred
      for each row when (new.title = 'bad') execute function refuse()`)
    const { succeeded, reasons } = await outcomes([addTask(), addTask({ title: 'bad' }), addTask()])
    expect(succeeded).to.equal(0)
    for (const reason of reasons) expect(reason).to.have.property('message', 'not that one')
    expect(await listTasks(store.tasks, ownerId, { skip: 0, limit: 9 })).to.deep.equal([])
    await addTask()
    expect(await listTasks(store.tasks, ownerId, { skip: 0, limit: 9 })).to.have.lengthOf(1)
  })

  it('rejects with StoreUnavailable if the server cancels a statement, and leaves the task unchanged', async () => {
    const task = (await addTask()).snapshot()
    await lock(task.id)
    const rejected = expectRejection(editTask(store.tasks, task, retitle), StoreUnavailable)
    await untilBlocked(1)
    await signal('pg_cancel_backend')
    await rejected
    await holder.query('commit')
    expect((await store.tasks.get(task)).snapshot()).to.deep.equal(task)
  })

  it('rejects twenty concurrent updates if the server ends the connections, and then serves again', async () => {
    const task = (await addTask()).snapshot()
    for (let round = 0; round < 2; round++) {
      await lock(task.id)
      let settled = false
      const updates = Array.from({ length: 20 }, () => editTask(store.tasks, task, retitle))
      const waiting = Promise.allSettled(updates).finally(() => {
        settled = true
      })
      await untilBlocked(1)
      // The updates are sent in groups, and the next group waits for the row as well.
      while (!settled) await signal('pg_terminate_backend')
      for (const { status, reason } of (await waiting) as PromiseRejectedResult[]) {
        expect(status).to.equal('rejected')
        // A connection may end before the server responds to the commit.
        expect(reason.code).to.be.oneOf(UNAVAILABLE)
      }
      await holder.query('commit')
    }
    expect((await store.tasks.get(task)).snapshot()).to.deep.equal(task)
    expect((await editTask(store.tasks, task, retitle)).snapshot().title).to.equal('new')
  })

  it('retries the job that the server rolled back to end a deadlock', async () => {
    const tasks = [await addTask(), await addTask(), await addTask()].map((task) => task.snapshot())
    const [first, second, third] = tasks as readonly TaskKey[] as [TaskKey, TaskKey, TaskKey]
    await operator.query(`alter database ${holder.database} set deadlock_timeout = '50ms'`)
    const fresh = observed(url)
    const locker = new pg.Client({ connectionString: url, application_name: 'locker' })
    await locker.connect()
    await lock(second.id, locker)
    await holder.query("set deadlock_timeout = '1h'")
    await lock(third.id)
    const removals = Promise.all(tasks.map((task) => removeTask(fresh.tasks, task)))
    await untilBlocked(1, 'locker')
    // A session checks for a deadlock once per wait, so the group must be the last to wait in the cycle.
    const update = holder.query('update tasks set completed = true where id = $1', [first.id])
    const waiting = `select 1 from pg_stat_activity where application_name = 'holder' and cardinality(pg_blocking_pids(pid)) > 0`
    while ((await operator.query(waiting)).rowCount !== 1);
    await locker.end()
    await update
    await holder.query('commit')
    await removals
    expect(await store.sql('select id from tasks')).to.deep.equal([])
    await fresh.close()
  })

  it('runs statements that were sent before an earlier one turned out to be impossible to prepare', async () => {
    const ids = await Promise.all(Array.from({ length: 6 }, async () => (await addTask()).snapshot().id))
    const run = (sql: string, index: number) => store.write(statement(sql, [ids[index]]))
    const edit = (index: number) => run("update tasks set title = 'edited' where id = $1 returning id", index)
    const orphan = (index: number) => run('update tasks set owner_id = 0 where id = $1 returning id', index)
    const remove = (index: number) => run('delete from tasks where id = $1 returning id', index)
    await edit(0)
    const lockers = [0, 1, 2].map(
      (index) => new pg.Client({ connectionString: url, application_name: `locker ${index}` }),
    )
    for (const [index, locker] of lockers.entries()) {
      await locker.connect()
      await lock(ids[index], locker)
    }

    const group = Promise.allSettled([edit(0), orphan(3), edit(2), remove(4)])
    await untilBlocked(1, 'locker 0')
    const next = Promise.allSettled([edit(1), remove(5)])
    // The first group fails after the second was sent, and the second after the retries of the first were sent.
    for (const [index, locker] of lockers.entries()) {
      await untilBlocked(1, `locker ${index}`)
      await locker.end()
    }

    const statuses = [...(await group), ...(await next)].map(({ status }) => status)
    expect(statuses).to.deep.equal(['fulfilled', 'rejected', ...Array(4).fill('fulfilled')])
    expect(await store.sql('select id from tasks order by id')).to.deep.equal(ids.slice(0, 4).map((id) => ({ id })))
  })

  /** A task of another user. */
  const taskOfAnother = async () =>
    (await storeTask(store.tasks, aTaskDraft({ ownerId: await anOwner(store) }))).snapshot()

  const lockList = async (owner: number) => {
    await holder.query('begin')
    await holder.query('select 1 from task_lists where owner_id = $1 for update', [owner])
  }

  it('locks lists in the order of their owners, so that instances cannot deadlock', async () => {
    const [first, second, third] = [await taskOfAnother(), await taskOfAnother(), await taskOfAnother()]
    await lockList(third.ownerId)
    const removals = Promise.all([second, third, first].map((task) => removeTask(store.tasks, task)))
    await untilBlocked(1)
    const unlocked = 'select owner_id from task_lists where owner_id <> $1 for update skip locked'
    expect((await holder.query(unlocked, [ownerId])).rows).to.deep.equal([{ owner_id: third.ownerId }])
    await holder.query('commit')
    await removals
  })

  it('rejects the writes of an owner whose list stays locked, and runs those of other owners', async () => {
    const [held, free, together] = [await taskOfAnother(), await taskOfAnother(), await taskOfAnother()]
    await lockList(held.ownerId)
    const refusals = Promise.all(Array.from({ length: 8 }, () => expectUnavailable(removeTask(store.tasks, held))))
    const removal = removeTask(store.tasks, together)
    await untilBlocked(1)
    expect((await editTask(store.tasks, free, retitle)).snapshot().title).to.equal('new')
    await Promise.all([removal, refusals])
    await holder.query('commit')
    await removeTask(store.tasks, held)
  })

  it('rejects all additions to a list that stays locked together, and runs the writes behind them', async () => {
    await lockList(ownerId)
    const refusals = Promise.all(Array.from({ length: 8 }, () => expectUnavailable(addTask())))
    await taskOfAnother()
    await refusals
    await holder.query('commit')
    await addTask()
  })

  it('rejects a whole group that finds a lock for the second time, because others wait behind it', async () => {
    await operator.query(`alter database ${holder.database} set lock_timeout = '100ms'`)
    const pooled = observed(url, undefined, { ...OPTIONS, preparedStatements: false })
    const owners = await Promise.all(Array.from({ length: 8 }, () => anOwner(store)))
    await holder.query('begin')
    await holder.query('lock table tasks')
    const { reasons } = await outcomes(owners.map((owner) => storeTask(pooled.tasks, aTaskDraft({ ownerId: owner }))))
    expect(reasons).to.have.lengthOf(8)
    for (const reason of reasons) expect(reason).to.be.an.instanceOf(StoreUnavailable)
    // The first try fails one job; the second fails all others, which share its cause.
    expect(new Set(reasons.map((reason) => (reason as Error).cause)).size).to.equal(2)
    await holder.query('commit')
    await storeTask(pooled.tasks, aTaskDraft({ ownerId }))
    await pooled.close()
  })

  it('serves again after a newer release changed the type of a column', async () => {
    const task = (await addTask()).snapshot()
    await openEach(store, task)
    await holder.query('alter table tasks alter column title type text')
    // There are two connections for reads.
    for (let turn = 0; turn < 2; turn++) await expectUnavailable(store.tasks.get(task))
    await openEach(store, task)
    await addTask()
  })

  it('recovers from connections that are ended while idle', async () => {
    const task = (await addTask()).snapshot()
    await openEach(store, task)
    await signal('pg_terminate_backend')
    for (let cut = 0; cut < 10; cut++) {
      await store.tasks.get(task).catch((error) => expect(error).to.be.an.instanceOf(StoreUnavailable))
    }
    expect((await store.tasks.get(task)).snapshot()).to.deep.equal(task)
  })

  it('rejects with StoreUnavailable while the server is unreachable, and then serves again', async () => {
    const proxy = await startProxy(new URL(url))
    const proxied = observed(proxy.url.href)
    const task = (await addTask()).snapshot()
    expect((await proxied.tasks.get(task)).snapshot()).to.deep.equal(task)

    await proxy.cut()
    for (let index = 0; index < 12; index++) {
      await expectRejection(editTask(proxied.tasks, task, retitle), StoreUnavailable)
      await expectRejection(proxied.tasks.get(task), StoreUnavailable)
      await expectRejection(proxied.users.findById(ownerId), StoreUnavailable)
    }
    await proxy.restore()
    expect((await editTask(proxied.tasks, task, retitle)).snapshot().title).to.equal('new')
    await proxied.close()
    await proxy.cut()
  })

  it('rejects with OutcomeUnknown if the responses to writes are lost, although the writes were stored', async () => {
    const proxy = await startProxy(new URL(url))
    const proxied = observed(proxy.url.href)
    const edited = (await addTask()).snapshot()
    await storeTask(proxied.tasks, aTaskDraft({ ownerId, title: 'connected' }))
    const untilStored = async (count: number) => {
      const stored = () => store.sql("select 1 from tasks where title in ('one', 'two', 'alone')")
      for (let asked = 0; (await stored()).length < count; asked++) expect(asked).to.be.below(1_000)
    }

    proxy.dropResponses()
    const group = ['one', 'two'].map((title) => storeTask(proxied.tasks, aTaskDraft({ ownerId, title })))
    const unknown = Promise.all(group.map((write) => expectRejection(write, OutcomeUnknown)))
    await untilStored(2)
    await proxy.cut()
    await unknown
    await expectRejection(storeTask(proxied.tasks, aTaskDraft({ ownerId })), StoreUnavailable)

    await proxy.restore()
    await proxied.tasks.get(edited)
    await storeTask(proxied.tasks, aTaskDraft({ ownerId, title: 'connected' }))
    proxy.dropResponses()
    const alone = expectRejection(storeTask(proxied.tasks, aTaskDraft({ ownerId, title: 'alone' })), OutcomeUnknown)
    await untilStored(3)
    await proxy.cut()
    await alone
    await proxied.close()
  })

  it('rejects an edit with OutcomeUnknown if the response to its commit is lost', async () => {
    const proxy = await startProxy(new URL(url))
    const proxied = observed(proxy.url.href)
    const task = (await addTask()).snapshot()
    const edit = editTask(proxied.tasks, task, (each) => {
      proxy.dropResponses()
      retitle(each)
    })
    const unknown = expectRejection(edit, OutcomeUnknown)
    while ((await store.tasks.get(task)).snapshot().title !== 'new');
    await proxy.cut()
    await unknown
    await proxied.close()
  })

  it('makes a write with an idempotency key once although the response to its commit was lost', async () => {
    const proxy = await startProxy(new URL(url))
    const proxied = observed(proxy.url.href)
    const key = { scope: 'POST /tasks', key: 'lost response', fingerprint: 'of the body' }
    const stored = () => store.sql("select 1 from tasks where title = 'lost response'")
    const write = (drop: () => void) => {
      const add = aTaskDraft({ ownerId, title: 'lost response' })
      const decide = () => {
        drop()
        return [{ add }]
      }
      return proxied.tasks.writeOnce(ownerId, [], decide, key, add.createdAt)
    }
    const unknown = expectRejection(
      write(() => proxy.dropResponses()),
      OutcomeUnknown,
    )
    while ((await stored()).length === 0);
    await proxy.cut()
    await unknown
    await proxy.restore()
    await proxied.tasks.head(ownerId)
    const { replayed } = await write(() => expect.fail('decided again'))
    expect(replayed).to.equal(true)
    expect(await stored()).to.have.lengthOf(1)
    await proxied.close()
    await proxy.cut()
  })

  it('writes nothing if the connection breaks between the lock and the writes', async () => {
    const proxy = await startProxy(new URL(url))
    const proxied = observed(proxy.url.href)
    const task = (await addTask()).snapshot()
    let decided = 0
    const edit = editTask(proxied.tasks, task, (each) => {
      // On another connection, the server would commit each statement separately.
      void proxy.cut()
      decided++
      retitle(each)
    })
    expect(await edit.catch((error: Error) => error))
      .to.have.property('code')
      .that.is.oneOf(UNAVAILABLE)
    expect(decided).to.equal(1)
    expect((await store.tasks.get(task)).snapshot()).to.deep.equal(task)
    await proxy.restore()
    expect((await editTask(proxied.tasks, task, retitle)).snapshot().title).to.equal('new')
    await proxied.close()
    await proxy.cut()
  })

  it('stores no write that it rejects with StoreUnavailable, even if the connection breaks repeatedly', async () => {
    const proxy = await startProxy(new URL(url))
    const proxied = observed(proxy.url.href)
    const titles = { stored: [] as string[], refused: [] as string[], unknown: [] as string[] }
    const add = async (title: string) => {
      try {
        await storeTask(proxied.tasks, aTaskDraft({ ownerId, title }))
        titles.stored.push(title)
      } catch (error) {
        titles[error instanceof OutcomeUnknown ? 'unknown' : 'refused'].push(title)
        expect((error as StoreUnavailable).code).to.be.oneOf(UNAVAILABLE)
      }
    }
    const untilStored = async (title: string) => {
      while ((await store.sql('select 1 from tasks where title like $1 limit 1', [title])).length === 0);
    }
    for (let round = 0; round < 30; round++) {
      await add(`first of ${round}`)
      const writes: Promise<void>[] = []
      for (let turn = 0; turn < 6; turn++) {
        for (let index = 0; index < 8; index++) writes.push(add(`${round}/${turn}/${index}`))
        // In the first round, responses are dropped before any write is sent, so no stored write is acknowledged.
        if (turn === round % 6) proxy.dropResponses()
        await nextTurn()
      }
      if (round === 0) await untilStored('0/%')
      await proxy.cut()
      await Promise.all([...writes, add(`late in ${round}`)])
      await proxy.restore()
    }
    await proxied.close()
    await proxy.cut()
    const there = new Set((await store.sql<{ title: string }>('select title from tasks')).map(({ title }) => title))
    expect(titles.refused.filter((title) => there.has(title))).to.deep.equal([])
    expect(titles.stored.filter((title) => !there.has(title))).to.deep.equal([])
    expect(titles.unknown.filter((title) => there.has(title))).to.not.deep.equal([])
    expect(titles.refused).to.include('late in 0')
  })

  it('rejects with StoreUnavailable if the server stops responding, and serves again over new connections', async () => {
    const proxy = await startProxy(new URL(url))
    const proxied = observed(proxy.url.href, 1_000)
    const task = (await addTask()).snapshot()
    await openEach(proxied, task)
    const others = [task, await taskOfAnother()]
    await Promise.all(others.map((each) => editTask(proxied.tasks, each, retitle)))

    proxy.silence()
    const answers: Promise<unknown>[] = [expectUnavailable(editTask(proxied.tasks, task, retitle))]
    for (let turn = 0; turn < 10; turn++) {
      answers.push(expectUnavailable(proxied.tasks.get(task)))
      await nextTurn()
    }
    await Promise.all(answers)
    for (let index = 0; index < 12; index++) await editTask(proxied.tasks, task, retitle)
    await proxied.close()
    await proxy.cut()
  })

  it('rejects a group with OutcomeUnknown if its commit takes too long', async () => {
    await store.sql(
      `create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(5); return null; end $$`,
    )
    await store.sql(`create constraint trigger late after insert on tasks deferrable initially deferred
      for each row execute function linger()`)
    const hasty = observed(url, 100)
    await Promise.all(
      [1, 2].map(() => expectRejection(storeTask(hasty.tasks, aTaskDraft({ ownerId })), OutcomeUnknown)),
    )
    await hasty.close()
  })

  it('waits for the migrations of another instance beyond statement_timeout', async () => {
    await operator.query(`alter database ${holder.database} set statement_timeout = '200ms'`)
    const database = await openDatabase(postgresqlTarget(url))
    await holder.query('select pg_advisory_lock(7235174)')
    const applied = database.migrate()
    await untilBlocked(1)
    await holder.query('select pg_sleep(0.5)')
    await holder.query('select pg_advisory_unlock(7235174)')
    expect(await applied).to.deep.equal([])
    await database.close()
  })

  it('rejects a migration with DatabaseUnavailable if the server ends the connection meanwhile', async () => {
    const database = await openDatabase(postgresqlTarget(url))
    await holder.query('select pg_advisory_lock(7235174)')
    const rejected = expectRejection(database.migrate(), DatabaseUnavailable)
    await untilBlocked(1)
    await signal('pg_terminate_backend')
    await rejected
    await database.close()
  })

  it('can be closed after the connection broke before a migration began its transaction', async () => {
    const proxy = await startProxy(new URL(url))
    const database = await openDatabase(postgresqlTarget(proxy.url.href))
    proxy.silence()
    const rejected = expectRejection(database.migrate(), DatabaseUnavailable)
    await nextTurn()
    await proxy.cut()
    await rejected
    await database.close()
  })

  it('rejects with StoreUnavailable after its database was dropped', async () => {
    await holder.end()
    await operator.query(`drop database ${new URL(url).pathname.slice(1)} with (force)`)
    for (let index = 0; index < 12; index++) await expectRejection(store.users.findById(ownerId), StoreUnavailable)
  })

  it('rejects writes with StoreUnavailable while the server is read-only, and serves reads', async () => {
    await operator.query(`alter database ${holder.database} set default_transaction_read_only = on`)
    const replica = observed(url)
    await expectRejection(storeTask(replica.tasks, aTaskDraft({ ownerId })), StoreUnavailable)
    expect(await listTasks(replica.tasks, ownerId, { skip: 0, limit: 1 })).to.deep.equal([])
    await replica.close()
  })

  it('leaves other database errors unchanged', async () => {
    await store.sql('drop table tasks')
    await expectRejection(addTask(), pg.DatabaseError)
  })
})

describe('Writes on PostgreSQL', () => {
  /** A store whose connections respond as the test decides. */
  function overConnection(run: (sent: Statement) => Promise<unknown>) {
    const connections = { run, pinned: (use: (connection: object) => unknown) => use(connections) }
    const shared = connections as unknown as SharedConnections
    const store = postgresqlStore(unconnected, { writer: shared, deciders: [shared], readers: shared })
    return { ...store, write: <Row>(query: Statement<Row>) => store.transact(writing(query)) }
  }

  it('send one further group while the server executes one', async () => {
    const sent: string[] = []
    const { promise: answered, resolve: answer } = Promise.withResolvers<unknown>()
    const store = overConnection(({ sql }) => {
      sent.push(sql)
      return answered
    })
    const writes: Promise<unknown>[] = []
    for (const group of ['one', 'two', 'three', 'four']) {
      writes.push(store.write(statement(group)))
      await nextTurn()
    }
    expect(sent).to.deep.equal(['one', 'two'])
    answer({ rows: [], command: 'INSERT' })
    await Promise.all(writes)
    expect(sent).to.deep.equal(['one', 'two', 'begin', 'three', 'four', 'commit'])
  })

  const failure = (code: string) => Object.assign(new Error(`the server says ${code}`), { code })

  /** A store whose statements fail with the code that `codeOf` returns, and the number of times that each was sent. */
  function failing(codeOf: (sql: string, times: number) => string | undefined) {
    const counts = new Map<string, number>()
    let transaction: 'none' | 'open' | 'aborted' = 'none'
    const store = overConnection(async ({ sql }) => {
      const times = (counts.get(sql) ?? 0) + 1
      counts.set(sql, times)
      const [before, code] = [transaction, codeOf(sql, times)]
      if (sql === 'begin') transaction = 'open'
      if (sql === 'commit') transaction = 'none'
      if (sql === 'begin' || sql === 'commit') return { rows: [], command: before === 'aborted' ? 'ROLLBACK' : sql }
      if (before === 'aborted') throw failure('25P02')
      if (code === undefined) return { rows: [sql], command: 'INSERT' }
      if (before === 'open') transaction = 'aborted'
      throw failure(code)
    })
    const write = (sql: string) => store.write(statement(sql))
    return { counts: () => Object.fromEntries(counts), write }
  }

  for (const code of ['25006', '53100', '53200', '53300', '57P01', '57P02', '57P03', '58030']) {
    it(`are sent once and rejected together if the server cannot serve any write (${code})`, async () => {
      const { counts, write } = failing(() => code)
      const { succeeded, reasons } = await outcomes(['one', 'two', 'three', 'four'].map(write))
      expect(succeeded).to.equal(0)
      for (const reason of reasons) expect(reason).to.be.an.instanceOf(StoreUnavailable)
      expect(counts()).to.deep.equal({ begin: 1, one: 1, two: 1, three: 1, four: 1, commit: 1 })
    })
  }

  for (const code of ['40001', '40P01']) {
    it(`retry a conflicting one alone, and the others together (${code})`, async () => {
      const { counts, write } = failing((sql, times) => (sql === 'two' && times < 4 ? code : undefined))
      expect(await Promise.all(['one', 'two', 'three'].map(write))).to.deep.equal([['one'], ['two'], ['three']])
      expect(counts()).to.deep.equal({ begin: 2, one: 2, two: 4, three: 2, commit: 2 })
    })

    it(`reject one that conflicts six times (${code})`, async () => {
      const { counts, write } = failing(() => code)
      await expectRejection(write('one'), StoreUnavailable)
      expect(counts()).to.deep.equal({ one: 6 })
    })
  }

  it('are not retried if the server does not know whether a statement was completed', async () => {
    const { counts, write } = failing(() => '40003')
    await expectRejection(write('one'), OutcomeUnknown)
    expect(counts()).to.deep.equal({ one: 1 })
  })

  const LOST = [
    new Error('Connection terminated unexpectedly'),
    new Error('Query read timeout'),
    failure('ECONNRESET'),
    failure('08006'),
    failure('08P01'),
    failure('40003'),
  ]

  for (const lost of LOST) {
    it(`reject with OutcomeUnknown if only the commit has no response (${lost.message})`, async () => {
      const store = overConnection(async ({ sql }) => {
        if (sql === 'commit') throw lost
        return { rows: [], command: 'INSERT' }
      })
      const { reasons } = await outcomes(['one', 'two'].map((sql) => store.write(statement(sql))))
      expect(reasons).to.have.lengthOf(2)
      for (const reason of reasons) expect(reason).to.be.an.instanceOf(OutcomeUnknown).and.have.property('cause', lost)
    })

    it(`reject with StoreUnavailable if a statement was refused and the commit has no response (${lost.message})`, async () => {
      const store = overConnection(async ({ sql }) => {
        if (sql === 'two') throw failure('57P01')
        if (sql !== 'begin') throw lost
        return { rows: [], command: 'BEGIN' }
      })
      const { reasons } = await outcomes(['one', 'two', 'three'].map((sql) => store.write(statement(sql))))
      expect(reasons).to.have.lengthOf(3)
      for (const reason of reasons) expect(reason).to.be.an.instanceOf(StoreUnavailable)
    })

    it(`reject a single write without a response with OutcomeUnknown, and a read with StoreUnavailable (${lost.message})`, async () => {
      const store = overConnection(async ({ sql }) => {
        if (sql === 'save') throw lost
        return { rows: [], command: 'SELECT' }
      })
      await expectRejection(store.write(statement('save')), OutcomeUnknown)
      await expectRejection(store.read(statement('save')), StoreUnavailable)
    })
  }

  it('reject with StoreUnavailable if they were not sent or the server refused the commit', async () => {
    for (const reason of [new Error('Client was closed and is not queryable'), failure('57P01'), failure('53100')]) {
      const store = overConnection(async ({ sql }) => {
        if (sql === 'commit') throw reason
        return { rows: [], command: 'INSERT' }
      })
      const { reasons } = await outcomes(['one', 'two'].map((sql) => store.write(statement(sql))))
      for (const reason of reasons) expect(reason).to.be.an.instanceOf(StoreUnavailable)
    }
  })

  /** A store on a server that refuses `begin` and commits each statement separately. */
  const withoutTransaction = (begun: Error, answer: (sql: string) => Error | undefined) =>
    overConnection(async ({ sql }) => {
      const error = sql === 'begin' ? begun : answer(sql)
      if (error) throw error
      return { rows: [sql], command: 'INSERT' }
    })

  it('succeed or fail separately if the server cancels `begin`', async () => {
    const store = withoutTransaction(failure('57014'), (sql) => (sql === 'two' ? failure('53100') : undefined))
    const [one, two, three] = ['one', 'two', 'three'].map((sql) => store.write(statement(sql)))
    await expectRejection(two as Promise<unknown>, StoreUnavailable)
    expect(await Promise.all([one, three])).to.deep.equal([['one'], ['three']])
  })

  it('reject with OutcomeUnknown if the connection breaks after `begin` was cancelled', async () => {
    const store = withoutTransaction(failure('57014'), (sql) => (sql === 'one' ? undefined : LOST[0]))
    const [one, two] = ['one', 'two'].map((sql) => store.write(statement(sql)))
    await expectRejection(two as Promise<unknown>, OutcomeUnknown)
    expect(await one).to.deep.equal(['one'])
  })

  it('reject with StoreUnavailable if the server ends the connection at `begin`', async () => {
    for (const begun of [failure('57P01'), Object.assign(failure('08P01'), { message: 'query_wait_timeout' })]) {
      const store = withoutTransaction(begun, () => LOST[0])
      const { reasons } = await outcomes(['one', 'two'].map((sql) => store.write(statement(sql))))
      for (const reason of reasons)
        expect(reason).to.be.an.instanceOf(StoreUnavailable).and.have.property('cause', begun)
      expect(reasons).to.have.lengthOf(2)
    }
  })

  it('reject with OutcomeUnknown if a pooler lost its server, even if it reports that for `begin`', async () => {
    const crashed = Object.assign(failure('08P01'), { message: 'server conn crashed?', severity: 'FATAL' })
    const store = withoutTransaction(crashed, () => LOST[0])
    const { reasons } = await outcomes(['one', 'two'].map((sql) => store.write(statement(sql))))
    for (const reason of reasons) expect(reason).to.be.an.instanceOf(OutcomeUnknown)
    expect(reasons).to.have.lengthOf(2)
  })

  it('leave no transaction open if the server cancels the commit', async () => {
    let aborted = false
    const store = overConnection(async ({ sql }) => {
      // Delays each response, so that the third write is sent before the commit fails.
      for (let turn = 0; turn < 3; turn++) await nextTurn()
      if (sql === 'rollback') aborted = false
      if (aborted) throw failure('25P02')
      if (sql === 'commit') {
        aborted = true
        throw failure('57014')
      }
      return { rows: [sql], command: 'INSERT' }
    })
    const group = outcomes(['one', 'two'].map((sql) => store.write(statement(sql))))
    await nextTurn()
    const meanwhile = store.write(statement('three'))
    const { reasons } = await group
    for (const reason of [...reasons, await meanwhile.catch((error: unknown) => error)])
      expect(reason).to.be.an.instanceOf(StoreUnavailable)
    expect(await store.write(statement('four'))).to.deep.equal(['four'])
  })

  it('are sent in the async context of their request, as traces need', async () => {
    const request = new AsyncLocalStorage<string>()
    const seen: Record<string, string | undefined> = {}
    const store = overConnection(async ({ sql }) => {
      seen[sql] = request.getStore()
      return { rows: [], command: 'COMMIT' }
    })
    await Promise.all(['one', 'two'].map((name) => request.run(name, () => store.write(statement(name)))))
    expect(seen).to.include({ one: 'one', two: 'two' })
  })
})

describe('Transactions that read, on PostgreSQL', () => {
  const LOCK = /^select "owner_id", "revision", "size" from "task_lists"/

  /** A store, and the statements that each of its connections sent; `answer` may fail them. */
  function lockingStore(answer: (sql: string) => Promise<unknown> | undefined = () => undefined) {
    const sent: string[][] = []
    const connectionOf = (texts: string[]) => {
      const run = async ({ sql, parameters }: Statement) => {
        texts.push(LOCK.test(sql) ? 'lock' : sql.startsWith('update "task_lists"') ? 'raise' : sql)
        await answer(sql)
        const owners = (LOCK.test(sql) ? parameters[0] : []) as number[]
        return { rows: owners.map((owner_id) => ({ owner_id, revision: 7, size: 1 })), command: sql.toUpperCase() }
      }
      const connection = { run }
      return { run, pinned: (use: (connection: object) => unknown) => use(connection) } as unknown as SharedConnections
    }
    const [writer, ...deciders] = [1, 2, 3].map(() => {
      const texts: string[] = []
      sent.push(texts)
      return connectionOf(texts)
    }) as [SharedConnections, SharedConnections, SharedConnections]
    return { store: postgresqlStore(unconnected, { writer, deciders, readers: writer }), sent }
  }

  const edit = (owner: number, key: number, decide = () => {}): Transaction<{ row: unknown }, number | undefined> => ({
    owner,
    keys: [key],
    reads: { row: statement(`read ${key}`) },
    decide(_seen, list = { revision: 0, size: 0 }) {
      decide()
      const { revision, size } = list
      return { writes: [statement(`save ${key}`)], list: { revision: revision + 1, size }, result: () => revision }
    },
  })

  it('with different keys share a group: lock and reads in one packet, then all writes and one raise', async () => {
    const { store, sent } = lockingStore()
    expect(await Promise.all([1, 2].map((key) => store.transact(edit(1, key))))).to.deep.equal([7, 8])
    expect(sent.flat()).to.deep.equal([
      ...['begin', 'lock', 'read 1', 'read 2'],
      ...['save 1', 'save 2', 'raise', 'commit'],
    ])
  })

  it('with the same key run one after the other, and wait in the process', async () => {
    const order: string[] = []
    const { store } = lockingStore(async (sql) => {
      if (/^(?:begin|read|commit)/.test(sql)) order.push(sql)
      await nextTurn()
    })
    await Promise.all([1, 1, 2].map((key) => store.transact(edit(1, key))))
    expect(order).to.deep.equal(['begin', 'read 1', 'commit', 'begin', 'read 1', 'read 2', 'commit'])
  })

  it('of different owners run on at most two connections at a time', async () => {
    const { promise: answered, resolve } = Promise.withResolvers<void>()
    const { store, sent } = lockingStore(() => answered)
    const edits: Promise<unknown>[] = []
    for (const owner of [1, 2, 3]) {
      edits.push(store.transact(edit(owner, owner)))
      await nextTurn()
    }
    expect(sent.filter((texts) => texts.includes('begin'))).to.have.lengthOf(2)
    expect(store.pending()).to.include({ writes: 3 })
    resolve()
    await Promise.all(edits)
    expect(store.pending()).to.include({ writes: 0 })
  })

  it('that throw write nothing, and the others in their group succeed', async () => {
    const { store, sent } = lockingStore()
    const failing = edit(1, 1, () => {
      throw new RangeError('no')
    })
    const [failed, done] = await Promise.allSettled([store.transact(failing), store.transact(edit(1, 2))])
    expect(failed).to.include({ status: 'rejected' })
    expect(done).to.deep.equal({ status: 'fulfilled', value: 7 })
    expect(sent.flat()).to.not.include('save 1')
  })

  it('are rolled back if none of them writes', async () => {
    const { store, sent } = lockingStore()
    const look = { ...edit(1, 1), decide: () => ({ writes: [], result: () => 'seen' }) }
    expect(await store.transact(look)).to.equal('seen')
    expect(sent.flat()).to.deep.equal(['begin', 'lock', 'read 1', 'rollback'])
  })

  it('are retried without the one whose read the server refused', async () => {
    const { store, sent } = lockingStore((sql) =>
      sql === 'read 1' ? Promise.reject(new Error('no such row')) : undefined,
    )
    const [failed, done] = await Promise.allSettled([1, 2].map((key) => store.transact(edit(1, key))))
    expect(failed).to.have.nested.property('reason.message', 'no such row')
    expect(done).to.deep.equal({ status: 'fulfilled', value: 7 })
    expect(sent.flat().slice(0, 5)).to.deep.equal(['begin', 'lock', 'read 1', 'read 2', 'rollback'])
  })

  it('reject with OutcomeUnknown only if the connection breaks after the writes were sent', async () => {
    for (const [lost, kind] of [
      ['read 1', StoreUnavailable],
      ['save 1', OutcomeUnknown],
    ] as const) {
      let broken = false
      const { store } = lockingStore((sql) => {
        broken ||= sql === lost
        return broken ? Promise.reject(new Error('Connection terminated unexpectedly')) : undefined
      })
      await expectRejection(store.transact(edit(1, 1)), kind)
    }
  })

  it('decide and send in the async context of their request, as traces need', async () => {
    const request = new AsyncLocalStorage<string>()
    const seen: Record<string, string | undefined> = {}
    const { store } = lockingStore(async (sql) => {
      seen[sql] = request.getStore()
    })
    const decided: (string | undefined)[] = []
    const transact = (key: number) => store.transact(edit(1, key, () => decided.push(request.getStore())))
    await Promise.all([1, 2].map((key) => request.run(`request ${key}`, () => transact(key))))
    expect(decided).to.deep.equal(['request 1', 'request 2'])
    expect(seen).to.include({ 'read 1': 'request 1', 'save 1': 'request 1', 'save 2': 'request 2' })
  })
})

describe('Shared connections', () => {
  const pid = statement<{ pid: number }>('select pg_backend_pid() as pid where $1 = 1', [1])
  const pidOf = async (connections: SharedConnections) => (await connections.run(pid)).rows[0]?.pid as number

  it('are used in turn, and send concurrent statements together', async () => {
    const connections = new SharedConnections(serversOf(await postgresql.databaseUrl()), OPTIONS, 2)
    const pids: number[][] = []
    for (let turn = 0; turn < 4; turn++) {
      pids.push(await Promise.all([pidOf(connections), pidOf(connections)]))
      await nextTurn()
    }
    const [[one], [other]] = pids as [number[], number[]]
    expect(one).to.not.equal(other)
    expect(pids).to.deep.equal([
      [one, one],
      [other, other],
      [one, one],
      [other, other],
    ])
    await connections.end()
  })

  it('pin one connection for a transaction, whose statements fail after it was lost', async () => {
    const connections = new SharedConnections(serversOf(await postgresql.databaseUrl()), OPTIONS, 1)
    const other = new SharedConnections(serversOf(await postgresql.databaseUrl()), OPTIONS, 1)
    await connections.pinned(async (connection) => {
      const lost = (await connection.run(pid)).rows[0]?.pid
      await other.run(statement('select pg_terminate_backend($1)', [lost]))
      while ((await other.run(statement('select 1 from pg_stat_activity where pid = $1', [lost]))).rows.length > 0);
      expect(await pidOf(connections).catch(() => pidOf(connections))).to.not.equal(lost)
      await expectRejection(connection.run(pid), Error)
    })
    await Promise.all([connections.end(), other.end()])
  })

  it('replace a connection over its maximum age only after its transaction', async () => {
    const connections = new SharedConnections(serversOf(await postgresql.databaseUrl()), OPTIONS, 1, 0)
    const old = await connections.pinned(async (connection) => {
      const [{ pid: own = 0 } = {}] = (await connection.run(pid)).rows
      while ((await pidOf(connections)) === own);
      expect((await connection.run(pid)).rows).to.deep.equal([{ pid: own }])
      return own
    })
    const open = statement('select 1 from pg_stat_activity where pid = $1', [old])
    while ((await connections.run(open)).rows.length > 0);
    await connections.end()
  })

  it('reject with StoreUnavailable if the server accepts a connection but never responds', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const servers = serversOf(`postgresql://127.0.0.1:${port}/tasks`, { connect: 50 })
    const connections = new SharedConnections(servers, OPTIONS, 1)
    await expectRejection(pidOf(connections), StoreUnavailable)
    await connections.end()
    silent.close()
  })

  it('keep the connection that replaced one without a response', async () => {
    const proxy = await startProxy(new URL(await postgresql.databaseUrl()))
    const connections = new SharedConnections(serversOf(proxy.url.href, { response: 200 }), OPTIONS, 1)
    const before = await pidOf(connections)
    proxy.silence()
    // Immediately, before the silent connection is closed.
    const after = await pidOf(connections).catch(() => pidOf(connections))
    expect(after).to.not.equal(before)
    expect(await pidOf(connections)).to.equal(after)
    await connections.end()
    await proxy.cut()
  })
})

describe('Opening a PostgreSQL database', () => {
  async function refusalOf(url: URL): Promise<string> {
    const error = await openDatabase(postgresqlTarget(url.href)).catch((error: unknown) => error)
    expect(error).to.be.an.instanceOf(DatabaseUnavailable)
    return (error as Error).message
  }

  let url: URL

  beforeEach(async () => {
    url = new URL(await postgresql.databaseUrl())
  })

  it('fails with "no such database"', async () => {
    url.pathname = '/nowhere'
    expect(await refusalOf(url)).to.equal(`The PostgreSQL database at ${url.host} cannot be opened: no such database`)
  })

  it('fails if its encoding is not UTF8', async () => {
    const { rows } = await query(url, "select 'latin1_' || substr(current_database(), 12, 20) as name")
    await query(url, `create database ${rows[0].name} template template0 encoding 'LATIN1' locale 'C'`)
    url.pathname = `/${rows[0].name}`
    expect(await refusalOf(url)).to.equal(
      `The PostgreSQL database at ${url.host} cannot be opened: its encoding is not UTF8`,
    )
    url.pathname = '/postgres'
    await query(url, `drop database ${rows[0].name}`)
  })

  it('fails with a wrong password, without repeating it', async () => {
    url.password = 'not-the-one'
    expect(await refusalOf(url)).to.equal(
      `The PostgreSQL database at ${url.host} cannot be opened: wrong user or password`,
    )
  })

  it('fails with "connection refused" if no server listens', async () => {
    const proxy = await startProxy(url)
    await proxy.cut()
    expect(await refusalOf(proxy.url)).to.equal(
      `The PostgreSQL database at ${proxy.url.host} cannot be opened: connection refused`,
    )
  })

  it('fails for an unknown host', async () => {
    url.host = 'nowhere.invalid'
    url.searchParams.set('port', '5433')
    expect(await refusalOf(url)).to.match(
      /^The PostgreSQL database at nowhere\.invalid:5433 cannot be opened: (?:unknown host name|host name lookup failed)$/,
    )
  })
})

async function query(url: URL, sql: string) {
  const client = new pg.Client(url.href)
  await client.connect()
  try {
    return await client.query(sql)
  } finally {
    await client.end()
  }
}

const expectUnavailable = (answer: Promise<unknown>) => expectRejection(answer, StoreUnavailable)
