import { expect } from 'chai'
import { type Database, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { backupSqlite, restoreSqlite } from '#src/adapters/mikro-orm/sqlite/sqlite-backup.ts'
import type { PersistentTarget } from '#src/database-target.ts'
import type { Session } from '#src/domain/accounts/session.ts'
import type { User } from '#src/domain/accounts/user.ts'
import { SyncExpired } from '#src/domain/errors.ts'
import type { SyncPosition } from '#src/domain/tasks/change-feed.ts'
import type { Task } from '#src/domain/tasks/task.ts'
import { postgresql, sqlite } from '#test/adapter-sets.ts'
import { anApiTokenDraft, aSessionDraft, aTaskDraft } from '#test/builders.ts'
import { anOwner, editTask, expectRejection, listTasks, storeTask, targetOf } from '#test/contracts/repositories.ts'
import { allowProcesses, Process } from '#test/process.ts'
import { query } from '#test/query.ts'

const NOW = new Date('2026-02-01T12:00:00.000Z')

async function startSession({ users, sessions }: Database, ownerId: number): Promise<Session> {
  const user = (await users.findById(ownerId)) as User
  return (await sessions.start(aSessionDraft({ ownerId }), user.snapshot())) as Session
}

interface Backup {
  /** Replaces the current database. */
  restore(): Promise<void>
}

/** Call these while no instance has the database open. */
const backUp: Readonly<Record<string, (url: string) => Promise<Backup>>> = {
  async SQLite(url) {
    const path = url.slice('sqlite:///'.length)
    await backupSqlite(path, `${path}.backup`, () => {})
    return {
      async restore() {
        await restoreSqlite(path, `${path}.backup`, NOW, () => {})
      },
    }
  },
  async PostgreSQL(url) {
    const name = new URL(url).pathname.slice(1)
    const maintenance = new URL(url)
    maintenance.pathname = '/postgres'
    await query(maintenance.href, `create database ${name}_backup template ${name}`)
    return {
      async restore() {
        await query(maintenance.href, `drop database ${name}`)
        await query(maintenance.href, `create database ${name} template ${name}_backup`)
        const database = await openDatabase(targetOf(url) as PersistentTarget)
        await database.raiseCounters()
        await database.close()
      },
    }
  },
}

describe('The restored command', () => {
  allowProcesses()

  const restored = (databaseUrl: string) =>
    new Process('src/adapters/cli/restored.ts', { ENVIRONMENT: 'test', DATABASE_URL: databaseUrl })

  it('raises ids and revisions by a million and ends sync positions (PostgreSQL)', async () => {
    const url = await postgresql.databaseUrl()
    const target = targetOf(url) as PersistentTarget
    const before = await openDatabase(target)
    await before.migrate()
    const ownerId = await anOwner(before)
    const task = (await storeTask(before.tasks, aTaskDraft({ ownerId }))).snapshot()
    const session = await startSession(before, ownerId)
    const apiToken = await before.apiTokens.add(anApiTokenDraft({ ownerId }))
    const { epoch } = await before.tasks.head(ownerId)
    await before.close()
    const command = restored(url)
    expect(await command.exitCode(), command.output).to.equal(0)
    const after = await openDatabase(target)
    const next = (await storeTask(after.tasks, aTaskDraft({ ownerId }))).snapshot()
    expect([next.id - task.id, next.revision - task.revision].map((raise) => raise >= 1_000_000)).to.deep.equal([
      true,
      true,
    ])
    expect((await after.tasks.head(ownerId)).epoch).to.not.equal(epoch)
    expect((await anOwner(after)) - ownerId).to.be.above(1_000_000)
    expect((await startSession(after, ownerId)).id - session.id).to.be.above(1_000_000)
    expect((await after.apiTokens.add(anApiTokenDraft({ ownerId }))).id - apiToken.id).to.be.above(1_000_000)
    await after.close()
  })

  it('refuses a database that is not PostgreSQL, in one line', async () => {
    for (const url of [await sqlite.databaseUrl(), 'memory:']) {
      expect(await restored(url).failureMessage()).to.match(/^DATABASE_URL does not name a PostgreSQL database; .*$/)
    }
  })
})

for (const { name, databaseUrl } of [sqlite, postgresql]) {
  describe(`A replica (${name})`, () => {
    let url: string
    let database: Database
    let ownerId: number
    const open = async () => {
      database = await openDatabase(targetOf(url) as PersistentTarget)
      await database.migrate()
    }

    beforeEach(async () => {
      url = await databaseUrl()
      await open()
      ownerId = await anOwner(database)
    })

    afterEach(() => database.close())

    const addTask = (title: string) => storeTask(database.tasks, aTaskDraft({ ownerId, title }))
    const changesSince = (since: SyncPosition | undefined) => database.tasks.changes(ownerId, since, 100)
    const snapshots = (tasks: readonly Task[]) => tasks.map((task) => task.snapshot())

    it('starts again after a restore, and meets no id and no revision twice', async () => {
      const kept = await addTask('kept')
      const { next: backedUp } = await changesSince(undefined)
      await database.close()
      const backup = await (backUp[name] as (url: string) => Promise<Backup>)(url)
      await open()
      await addTask('lost')
      const lostTask = await addTask('lost')
      await editTask(database.tasks, kept.snapshot(), (task) => task.edit({ title: 'lost edit' }, NOW))
      const { next: lost } = await changesSince(undefined)
      await database.close()

      await backup.restore()
      await open()
      const added = await addTask('after')
      expect(added.snapshot().id).to.be.above(lostTask.snapshot().id)
      expect(added.snapshot().revision).to.be.above(lost.revision)
      for (const position of [backedUp, lost]) await expectRejection(changesSince(position), SyncExpired)
      const { items, deleted, next } = await changesSince(undefined)
      expect(snapshots(items)).to.deep.equal([kept.snapshot(), added.snapshot()])
      expect(snapshots(items).reverse()).to.deep.equal(snapshots(await listTasks(database.tasks, ownerId)))
      expect(deleted).to.deep.equal([])
      expect(await changesSince(next)).to.deep.equal({ items: [], deleted: [], next, hasMore: false })
    })
  })
}
