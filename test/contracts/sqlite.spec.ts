import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { CompiledQuery, Kysely } from 'kysely'
import { DatabaseUnavailable, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import type { Tables } from '#src/adapters/mikro-orm/records.ts'
import { OneWriterDialect } from '#src/adapters/mikro-orm/sqlite-dialect.ts'
import { openSqlite, openSqliteReader, openSqliteWriter, sqliteStore } from '#src/adapters/mikro-orm/sqlite-store.ts'
import { InvalidToken, StoreUnavailable, TaskNotFound } from '#src/domain/errors.ts'
import { sqlite } from '#test/adapter-sets.ts'
import { aTaskDraft } from '#test/builders.ts'
import { type ObservedStore, observedStore } from '#test/contracts/observed-store.ts'
import { anOwner, expectRejection } from '#test/contracts/repositories.ts'

const NOW = new Date('2026-02-01T12:00:00.000Z')

const freshPath = async () => (await sqlite.databaseUrl()).slice('sqlite:///'.length)

function observed(path: string): ObservedStore {
  const [writer, reader] = [openSqliteWriter(path), openSqliteReader(path)]
  const kysely = new Kysely<Tables>({ dialect: new OneWriterDialect(writer) })
  return observedStore(sqliteStore(kysely, writer, reader), {
    async sql<Row>(text: string, parameters: readonly unknown[] = []) {
      const statement = writer.prepare<unknown[], Row>(text)
      if (statement.reader) return statement.all(...parameters)
      statement.run(...parameters)
      return []
    },
    async close() {
      reader.close()
      writer.close()
    },
  })
}

describe('The store on SQLite', () => {
  let path: string
  let store: ObservedStore
  let ownerId: number

  beforeEach(async () => {
    path = await freshPath()
    const database = await openDatabase({ kind: 'sqlite', path })
    await database.migrate()
    await database.close()
    store = observed(path)
    ownerId = await anOwner(store)
  })

  afterEach(() => store.close())

  const addTask = (given = {}) => store.tasks.add(aTaskDraft({ ownerId, ...given }))

  it('survives a power cut: a log that is written ahead, and synced at each commit', async () => {
    expect(await store.sql('pragma journal_mode')).to.deep.equal([{ journal_mode: 'wal' }])
    expect(await store.sql('pragma synchronous')).to.deep.equal([{ synchronous: 2 }])
  })

  it('enforces foreign keys', async () => {
    expect(await store.sql('pragma foreign_keys')).to.deep.equal([{ foreign_keys: 1 }])
  })

  it('keeps dates as milliseconds and booleans as 0 and 1', async () => {
    const { id } = (await addTask({ completed: true, createdAt: NOW })).snapshot()
    expect(await store.sql('select completed, created_at from tasks where id = ?', [id])).to.deep.equal([
      { completed: 1, created_at: NOW.getTime() },
    ])
  })

  it('removes the tasks of a user who is removed', async () => {
    const { id } = (await addTask()).snapshot()
    await store.sql('delete from users where id = ?', [ownerId])
    await expectRejection(store.tasks.get({ id, ownerId }), TaskNotFound)
    expect(await store.sql('select id from tasks')).to.deep.equal([])
  })

  it('refuses a task of an owner who is gone as it would their token', async () => {
    await store.sql('delete from users where id = ?', [ownerId])
    await expectRejection(addTask(), InvalidToken)
  })

  it('serves every page from the index, without a sort', async () => {
    for (const side of [{}, { newerThan: 1 }, { olderThan: 9 }]) {
      await store.tasks.list(ownerId, { ...side, skip: 1, limit: 10 })
      const { sql, parameters } = store.ran.at(-1) as { sql: string; parameters: readonly unknown[] }
      const plan = await store.sql<{ detail: string }>(`explain query plan ${sql}`, parameters)
      expect(plan.map(({ detail }) => detail)).to.have.lengthOf(1)
      expect(plan[0]?.detail).to.match(
        /^SEARCH tasks USING INDEX tasks_owner_id_id_index \(owner_id=\? AND id[<>]\?\)$/,
      )
    }
  })

  it('does not write a task that a change leaves alone', async () => {
    const key = (await addTask()).snapshot()
    store.ran.length = 0
    await store.tasks.update(key, () => undefined)
    expect(store.ran.filter(({ sql }) => sql.startsWith('update'))).to.deep.equal([])
    await store.tasks.update(key, (task) => task.edit({ title: 'new' }, NOW))
    expect(store.ran.filter(({ sql }) => sql.startsWith('update'))).to.have.lengthOf(1)
  })

  it('lets no other process write between the reading and the writing of an update', async () => {
    const key = (await addTask()).snapshot()
    const other = new BetterSqlite3(path, { timeout: 0 })
    const updated = await store.tasks.update(key, (task) => {
      expect(() => other.exec("update tasks set title = 'theirs'")).to.throw('database is locked')
      task.edit({ completed: true }, NOW)
    })
    other.close()
    expect((await store.tasks.get(key)).snapshot()).to.deep.equal(updated.snapshot())
  })

  it('rolls back what SQLite has rolled back by itself, without a complaint that would hide the reason', async () => {
    const driver = new OneWriterDialect(openSqlite(path)).createDriver()
    await driver.init()
    const connection = await driver.acquireConnection()
    await driver.beginTransaction(connection)
    await connection.executeQuery(CompiledQuery.raw('rollback'))
    await driver.rollbackTransaction(connection)
    await driver.beginTransaction(connection)
    await driver.rollbackTransaction(connection)
    await driver.destroy()
  })

  it('reads over a connection of its own, which sees nothing that is not committed', async () => {
    await store.sql('begin immediate')
    await store.sql("insert into tasks select null, 'half', null, 0, ?, 0, 0", [ownerId])
    expect(await store.tasks.list(ownerId, { skip: 0, limit: 9 })).to.deep.equal([])
    await store.sql('commit')
    expect(await store.tasks.list(ownerId, { skip: 0, limit: 9 })).to.have.lengthOf(1)
  })

  it('reads over a connection that cannot write', () => {
    const reader = openSqliteReader(path)
    expect(() => reader.exec('delete from users')).to.throw('readonly')
    reader.close()
  })

  it('begins a migration as a writer, so that none in another process writes meanwhile', async () => {
    const driver = new OneWriterDialect(openSqlite(path)).createDriver()
    await driver.init()
    const connection = await driver.acquireConnection()
    await driver.beginTransaction(connection)
    const other = new BetterSqlite3(path, { timeout: 0 })
    expect(() => other.exec('begin immediate')).to.throw('database is locked')
    other.close()
    await driver.rollbackTransaction(connection)
    await driver.destroy()
  })

  it('reads while another process writes, and writes when that is done', async () => {
    const other = new BetterSqlite3(path)
    other.exec('begin immediate')
    let written = false
    const writing = addTask().then(() => {
      written = true
    })
    // It has met the lock by the second.
    for (const _ of [1, 2]) expect(await store.tasks.list(ownerId, { skip: 0, limit: 9 })).to.deep.equal([])
    expect(written).to.equal(false)
    other.exec('rollback')
    other.close()
    await writing
    expect(await store.tasks.list(ownerId, { skip: 0, limit: 9 })).to.have.lengthOf(1)
  })

  it('is unavailable while another process writes, and serves again after it', async () => {
    const { id } = (await addTask()).snapshot()
    const other = new BetterSqlite3(path)
    other.exec('begin immediate')
    await expectRejection(
      store.tasks.update({ id, ownerId }, (task) => task.edit({ title: 'late' }, NOW)),
      StoreUnavailable,
    )
    await expectRejection(addTask(), StoreUnavailable)
    expect((await store.tasks.get({ id, ownerId })).snapshot().title).to.equal('Ship')
    other.exec('rollback')
    other.close()
    await store.tasks.update({ id, ownerId }, (task) => task.edit({ title: 'in time' }, NOW))
    expect((await store.tasks.get({ id, ownerId })).snapshot().title).to.equal('in time')
  })

  it('is unavailable while it has no room, keeps what it had, and serves again after it', async () => {
    const key = (await addTask()).snapshot()
    const [{ page_count: pages } = {}] = await store.sql('pragma page_count')
    await store.sql(`pragma max_page_count = ${pages}`)
    const description = 'x'.repeat(2_000)
    const fill = async () => {
      for (let index = 0; index < 100; index++) await addTask({ description })
    }
    await expectRejection(fill(), StoreUnavailable)
    await expectRejection(
      store.tasks.update(key, (task) => task.edit({ title: 'grown', description }, NOW)),
      StoreUnavailable,
    )
    expect((await store.tasks.get(key)).snapshot().title).to.equal('Ship')
    await store.sql('pragma max_page_count = 1000000')
    expect((await addTask({ description })).snapshot().description).to.equal(description)
  })

  it('is unavailable for writers while it is read-only, and serves readers', async () => {
    const key = (await addTask()).snapshot()
    await store.sql('pragma query_only = on')
    await expectRejection(addTask(), StoreUnavailable)
    await expectRejection(store.tasks.remove(key), StoreUnavailable)
    await expectRejection(
      store.tasks.update(key, (task) => task.edit({ title: 'new' }, NOW)),
      StoreUnavailable,
    )
    expect((await store.tasks.get(key)).snapshot()).to.deep.equal(key)
  })

  it('passes an error that is not of the moment as it is', async () => {
    await store.sql('drop table tasks')
    await expectRejection(addTask(), BetterSqlite3.SqliteError)
  })
})

describe('Opening an SQLite database', () => {
  async function refusalOf(path: string): Promise<string> {
    const error = await openDatabase({ kind: 'sqlite', path }).catch((error: unknown) => error)
    expect(error).to.be.an.instanceOf(DatabaseUnavailable)
    return (error as Error).message
  }

  it('makes a file that is not there', async () => {
    const path = await freshPath()
    await (await openDatabase({ kind: 'sqlite', path })).close()
    expect(existsSync(path)).to.equal(true)
  })

  it('makes no folder that is not there, and says so', async () => {
    const path = `${await freshPath()}/tasks.db`
    expect(await refusalOf(path)).to.equal(`The SQLite database ${path} cannot be opened: its folder does not exist`)
    expect(existsSync(dirname(path))).to.equal(false)
  })

  it('says that a file is none of SQLite, and leaves it alone', async () => {
    const path = await freshPath()
    writeFileSync(path, 'a diary, and rather a long one\n'.repeat(100))
    expect(await refusalOf(path)).to.equal(
      `The SQLite database ${path} cannot be opened: the file is no SQLite database`,
    )
  })

  it('says that a folder is no file', async () => {
    const path = await freshPath()
    mkdirSync(path)
    expect(await refusalOf(path)).to.equal(
      `The SQLite database ${path} cannot be opened: the file can be neither opened nor made`,
    )
  })

  it('names a relative path in full', async () => {
    expect(await refusalOf('no/such/folder/tasks.db')).to.include(`${process.cwd()}/no/such/folder/tasks.db`)
  })
})
