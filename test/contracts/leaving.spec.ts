import { expect } from 'chai'
import pg from 'pg'
import { type Database, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import type { PersistentTarget } from '#src/database-target.ts'
import type { DecideOnUser } from '#src/domain/accounts/ports.ts'
import type { Session } from '#src/domain/accounts/session.ts'
import { InvalidToken, LastAdmin, TaskNotFound } from '#src/domain/errors.ts'
import type { Task } from '#src/domain/tasks/task.ts'
import { taskQuery } from '#src/domain/tasks/task-query.ts'
import { postgresql, sqlSets } from '#test/adapter-sets.ts'
import { anAddress, anApiTokenDraft, aSessionDraft, aTaskDraft, aUserDraft } from '#test/builders.ts'
import { directSql, type Sql } from '#test/contracts/direct-sql.ts'
import {
  anOwner,
  expectRejection,
  outcomes,
  postgresqlTarget,
  storeTask,
  targetOf,
} from '#test/contracts/repositories.ts'
import { waitUntil } from '#test/wait-until.ts'

const NOW = new Date('2026-05-01T12:00:00.000Z')
const OWNED = ['tasks', 'tombstones', 'idempotency_keys', 'sessions', 'api_tokens', 'task_lists']
/** More than two portions. */
const TASKS = 1_200
const DELETIONS = 600

const remove: DecideOnUser = (user, otherAdmins) => {
  user.checkDispensable(otherAdmins)
  return { remove: user }
}

for (const { name, databaseUrl } of sqlSets) {
  describe(`Users who leave, seen by another instance (${name})`, () => {
    let one: Database
    let other: Database
    let open: () => Promise<Database>
    let sql: Sql

    beforeEach(async () => {
      const url = await databaseUrl()
      open = () => openDatabase(targetOf(url) as PersistentTarget)
      sql = directSql(url)
      one = await open()
      await one.migrate()
      other = await open()
    })

    afterEach(() => Promise.all([one.close(), other.close()]))

    /** A user with many rows of each kind. */
    async function userWithData() {
      const ownerId = await anOwner(one)
      const user = (await one.users.findById(ownerId))?.snapshot()
      if (!user) throw new Error('no user')
      const add = Array.from({ length: TASKS + DELETIONS }, () => ({ add: aTaskDraft({ ownerId }) }))
      const tasks = (await one.tasks.write(ownerId, [], () => add)) as readonly Task[]
      await one.tasks.write(
        ownerId,
        tasks.slice(TASKS).map((task) => task.snapshot().id),
        (found) => Array.from(found.values(), (task) => ({ remove: task, deletedAt: NOW })),
      )
      for (const key of ['a', 'b']) {
        const once = { scope: 'POST /tasks', key, fingerprint: 'c' }
        await one.tasks.writeOnce(ownerId, [], () => [{ add: aTaskDraft({ ownerId }) }], once, NOW)
      }
      const session = (await one.sessions.start(aSessionDraft({ ownerId }), user)) as Session
      const apiToken = await one.apiTokens.add(anApiTokenDraft({ ownerId }))
      return { ownerId, user, task: (tasks[0] as Task).snapshot(), session, apiToken }
    }

    /** Number of the user's rows in each table that has any. */
    async function rowsOf(ownerId: number): Promise<Record<string, number>> {
      const counts: Record<string, number> = {}
      for (const table of OWNED) {
        const [row] = await sql(`select cast(count(*) as integer) as rows from ${table} where owner_id = ${ownerId}`)
        if (row?.rows) counts[table] = row.rows as number
      }
      const [users] = await sql(`select cast(count(*) as integer) as rows from users where id = ${ownerId}`)
      return users?.rows ? { ...counts, users: 1 } : counts
    }

    it('are gone with the first commit, and their rows after the purge that it starts', async () => {
      const { ownerId, user, task, session, apiToken } = await userWithData()
      const stays = await userWithData()
      const before = await rowsOf(stays.ownerId)
      await one.users.write(ownerId, remove)

      const { users, sessions, apiTokens, tasks } = other
      expect(await users.findById(ownerId)).to.equal(undefined)
      expect(await users.findByEmail(anAddress(user.email))).to.equal(undefined)
      expect(await users.findByEmail(anAddress(`left ${ownerId}`))).to.equal(undefined)
      const listed = await users.list({ before: undefined, containing: undefined, limit: 9 })
      expect(listed.map(({ id }) => id)).to.deep.equal([stays.ownerId])
      expect(await sessions.find(session)).to.equal(undefined)
      expect(await apiTokens.find(apiToken)).to.equal(undefined)
      await expectRejection(tasks.get(task), TaskNotFound)
      expect((await tasks.list(ownerId, taskQuery({ count: true }))).tasks).to.deep.equal([])
      const priority = [{ field: 'priority', descending: false }] as const
      expect((await tasks.list(ownerId, taskQuery({ sort: priority }))).tasks).to.deep.equal([])
      expect((await tasks.changes(ownerId, undefined, 9)).items).to.deep.equal([])
      expect((await tasks.head(ownerId)).revision).to.equal(0)
      await expectRejection(storeTask(tasks, aTaskDraft({ ownerId })), InvalidToken)
      const next = await users.add(aUserDraft({ email: user.email }))
      expect(next.id).to.be.above(stays.ownerId)

      await one.purgeLeavers()
      expect(await rowsOf(ownerId)).to.deep.equal({})
      expect(await rowsOf(stays.ownerId)).to.deep.equal(before)
      expect((await users.findByEmail(anAddress(user.email)))?.id).to.equal(next.id)
    }).timeout(20_000)

    it('are gone even if the process ends before the purge, which the next process completes', async () => {
      const { ownerId, user, task } = await userWithData()
      await one.users.write(ownerId, remove)
      await one.close()
      const remaining = await rowsOf(ownerId)
      expect(remaining.tasks).to.be.at.least(TASKS - 1_000)
      expect(remaining).to.deep.include({ tombstones: DELETIONS, idempotency_keys: 2, users: 1 })
      expect(remaining).not.to.have.any.keys('sessions', 'api_tokens', 'task_lists')
      expect(await other.users.findById(ownerId)).to.equal(undefined)
      await expectRejection(other.tasks.get(task), TaskNotFound)
      await other.users.add(aUserDraft({ email: user.email }))
      await other.purgeLeavers()
      expect(await rowsOf(ownerId)).to.deep.equal({})
      one = await open()
    }).timeout(20_000)

    it('are purged once, even if two instances purge them', async () => {
      const leavers = [await userWithData(), await userWithData()]
      for (const { ownerId } of leavers) await one.users.write(ownerId, remove)
      await Promise.all([one.purgeLeavers(), other.purgeLeavers()])
      for (const { ownerId } of leavers) expect(await rowsOf(ownerId)).to.deep.equal({})
    }).timeout(20_000)

    it('do not keep others from writing', async () => {
      const { ownerId } = await userWithData()
      const neighbour = await anOwner(one)
      await one.users.write(ownerId, remove)
      let purged = false
      const purge = one.purgeLeavers().then(() => {
        purged = true
      })
      await Promise.all([one, other].map(({ tasks }) => storeTask(tasks, aTaskDraft({ ownerId: neighbour }))))
      expect(purged).to.equal(false)
      await purge
    }).timeout(20_000)

    it('leave one admin, even if two admins on two instances demote or remove each other', async () => {
      const demote: DecideOnUser = (user, others) => ({ save: user.administer({ role: 'user' }, others) })
      for (let round = 0; round < 10; round++) {
        const admin = (name: string) =>
          one.users.add(aUserDraft({ email: `${name}-${round}@example.com`, role: 'admin' }))
        const pair = [await admin('one'), await admin('two')]
        const { succeeded, reasons } = await outcomes(
          pair.map(({ id }, index) =>
            ([one, other][index] as Database).users.write(id, (index + round) % 3 === 0 ? remove : demote),
          ),
        )
        expect(succeeded).to.equal(1)
        expect(reasons[0]).to.be.an.instanceOf(LastAdmin)
        const users = await one.users.list({ before: undefined, containing: `-${round}@`, limit: 9 })
        const admins = users.filter((user) => user.isActiveAdmin)
        expect(admins).to.have.lengthOf(1)
        for (const { id } of admins)
          await one.users.write(id, (user) => ({ save: user.administer({ role: 'user' }, 1) }))
      }
    })
  })
}

describe('A purge of a user who left (postgresql)', () => {
  let database: Database
  let operator: pg.Client

  beforeEach(async () => {
    const url = await postgresql.databaseUrl()
    database = await openDatabase(postgresqlTarget(url))
    await database.migrate()
    operator = new pg.Client(url)
    await operator.connect()
  })

  afterEach(() => Promise.all([operator.end(), database.close()]))

  async function ownerOf(tasks: number): Promise<number> {
    const ownerId = await anOwner(database)
    await database.tasks.write(ownerId, [], () =>
      Array.from({ length: tasks }, () => ({ add: aTaskDraft({ ownerId }) })),
    )
    return ownerId
  }

  it('continues in portions after another instance has deleted the same rows', async () => {
    const ownerId = await ownerOf(TASKS)
    await operator.query(`update users set left_at = now(), email = 'left' where id = ${ownerId}`)
    await operator.query(`
      create function refuse() returns trigger language plpgsql as $$ begin
        if exists (select from tasks where owner_id = old.id) then raise exception 'tasks would go with the user'; end if;
        return old;
      end $$;
      create trigger refuse before delete on users for each row execute function refuse()`)
    await operator.query('begin')
    await operator.query(
      `delete from tasks where id in (select id from tasks where owner_id = ${ownerId} order by id limit 500)`,
    )
    const purge = database.purgeLeavers()
    await waitUntil(async () => {
      const { rows } = await operator.query(`select from pg_stat_activity
        where wait_event_type = 'Lock' and datname = current_database()`)
      return rows.length > 0
    })
    await operator.query('commit')
    await purge
    expect((await operator.query(`select from users where id = ${ownerId}`)).rowCount).to.equal(0)
  })

  it('reads few rows for each that it deletes, even if the statistics are older than the user', async () => {
    await ownerOf(TASKS)
    await operator.query('alter table tasks set (autovacuum_enabled = false)')
    await operator.query('analyze tasks')
    const ownerId = await ownerOf(TASKS)
    await operator.query(`update users set left_at = now(), email = 'left' where id = ${ownerId}`)
    await operator.query('select pg_stat_reset()')
    await database.purgeLeavers()
    // A session of PostgreSQL reports its statistics at the latest when it ends.
    await database.close()
    const read = async () => {
      const { rows } = await operator.query(`select cast(seq_tup_read + idx_tup_fetch +
        (select sum(idx_tup_read) from pg_stat_user_indexes where relname = 'tasks') as integer) as read
        from pg_stat_user_tables where relname = 'tasks'`)
      return rows[0].read
    }
    await waitUntil(async () => (await read()) >= TASKS)
    expect(await read()).to.be.below(20 * TASKS)
  })
})
