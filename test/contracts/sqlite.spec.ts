import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { MikroORM } from '@mikro-orm/core'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { CompiledQuery, Kysely } from 'kysely'
import { DatabaseUnavailable, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { mikroOrmOptions } from '#src/adapters/mikro-orm/options.ts'
import type { Statement } from '#src/adapters/mikro-orm/prepared-query.ts'
import { purgeDeletions } from '#src/adapters/mikro-orm/purge-deletions.ts'
import { purgeKeys } from '#src/adapters/mikro-orm/purge-keys.ts'
import type { Tables } from '#src/adapters/mikro-orm/records.ts'
import { ImmediateTransactionDialect } from '#src/adapters/mikro-orm/sqlite/sqlite-dialect.ts'
import { ForeignFile, OpenFiles } from '#src/adapters/mikro-orm/sqlite/sqlite-file.ts'
import {
  openSqlite,
  openSqliteReader,
  openSqliteWriter,
  sqliteStore,
} from '#src/adapters/mikro-orm/sqlite/sqlite-store.ts'
import { EmailAlreadyTaken, OutcomeUnknown, StoreUnavailable } from '#src/domain/errors.ts'
import type { TaskChanges } from '#src/domain/tasks/task.ts'
import { sqlite } from '#test/adapter-sets.ts'
import { aTaskDraft } from '#test/builders.ts'
import { indexedReads, makeLongList, useAccounts } from '#test/contracts/indexed-reads.ts'
import { type ObservedStore, observedStore } from '#test/contracts/observed-store.ts'
import { anOwner, editTask, expectRejection, listTasks, removeTask, storeTask } from '#test/contracts/repositories.ts'

const NOW = new Date('2026-02-01T12:00:00.000Z')

const freshPath = async () => (await sqlite.databaseUrl()).slice('sqlite:///'.length)

function openFiles(path: string, log: string[] = []): OpenFiles {
  const note = (_details: object, message: string) => log.push(message)
  return new OpenFiles(path, { info: note, error: note })
}

function observed(path: string, files?: OpenFiles): ObservedStore {
  const [writer, reader, stepper] = [openSqliteWriter(path), openSqliteReader(path), openSqliteReader(path)]
  const kysely = new Kysely<Tables>({ dialect: new ImmediateTransactionDialect(writer) })
  const watched = files ?? openFiles(path)
  return observedStore(sqliteStore(kysely, { writer, reader, steppers: [stepper] }, watched), {
    async sql<Row>(text: string, parameters: readonly unknown[] = []) {
      const statement = writer.prepare<unknown[], Row>(text)
      if (statement.reader) return statement.all(...parameters)
      statement.run(...parameters)
      return []
    },
    async close() {
      watched.close()
      stepper.close()
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

  const addTask = (given = {}) => storeTask(store.tasks, aTaskDraft({ ownerId, ...given }))

  async function planOf({ sql, parameters }: Statement): Promise<string> {
    const bound = parameters.map((value) =>
      typeof value === 'object' || typeof value === 'boolean' ? Number(value) : value,
    )
    return (await store.sql<{ detail: string }>(`explain query plan ${sql}`, bound))
      .map(({ detail }) => detail)
      .join('\n')
  }

  it('uses a write-ahead log that is synced at each commit, and so survives a power cut', async () => {
    expect(await store.sql('pragma journal_mode')).to.deep.equal([{ journal_mode: 'wal' }])
    expect(await store.sql('pragma synchronous')).to.deep.equal([{ synchronous: 2 }])
  })

  it('merges the log into the database after 4,000 pages', async () => {
    expect(await store.sql('pragma wal_autocheckpoint')).to.deep.equal([{ wal_autocheckpoint: 4_000 }])
  })

  it('does not report a duplicate id as a taken address', async () => {
    await store.sql(`create trigger twice before insert on users begin
      insert into users (id, email, hashed_password, created_at) values (1, 'other@example.com', 'x', 0); end`)
    await store.sql('update users set id = 1')
    const error = await anOwner(store).catch((error: unknown) => error)
    expect(error).to.include({ code: 'SQLITE_CONSTRAINT_PRIMARYKEY', message: 'UNIQUE constraint failed: users.id' })
  })

  it('does not report the violation of another unique index as a taken address', async () => {
    await store.sql('create unique index names on users (hashed_password)')
    const error = await anOwner(store).catch((error: unknown) => error)
    expect(error).to.include({ code: 'SQLITE_CONSTRAINT_UNIQUE' }).and.not.be.an.instanceOf(EmailAlreadyTaken)
  })

  it('enforces foreign keys', async () => {
    expect(await store.sql('pragma foreign_keys')).to.deep.equal([{ foreign_keys: 1 }])
  })

  it('stores dates as milliseconds and booleans as 0 and 1', async () => {
    const { id } = (await addTask({ completed: true, createdAt: NOW })).snapshot()
    expect(await store.sql('select completed, created_at from tasks where id = ?', [id])).to.deep.equal([
      { completed: 1, created_at: NOW.getTime() },
    ])
  })

  it('reads usual pages of a long list from an index, without a sort', async () => {
    const task = await makeLongList(store.tasks, ownerId)
    for (const [name, read] of Object.entries(indexedReads(store.tasks, task))) {
      await read()
      const plan = await planOf(store.ran.at(-1) as Statement)
      expect(plan, name).not.to.match(/TEMP B-TREE|SCAN (?:tasks|tombstones|list)/)
      expect(plan, name).to.match(/SEARCH \w+ USING (?:INTEGER PRIMARY KEY|INDEX)/)
    }
  })

  it('purges old deletions and idempotency keys in portions of 500 rows, which an index finds', async () => {
    const other = await anOwner(store)
    const rows = `with recursive row (n) as (select 1 union all select n + 1 from row where n < 1300)
      select iif(n % 3, ${ownerId}, ${other})`
    await store.sql(`insert into tombstones (owner_id, revision, id, deleted_at) ${rows}, n, n, n from row`)
    await store.sql(`insert into idempotency_keys (owner_id, scope, key, fingerprint, result, new_ids, created_at)
      ${rows}, 'POST /tasks', n, '', '', '', n from row`)
    const count = async () => {
      const [{ remaining }] = (await store.sql(`select (select count(*) from tombstones) +
        (select count(*) from idempotency_keys) as remaining`)) as [{ remaining: number }]
      return remaining
    }
    const { transact } = store.store
    store.store.transact = async (transaction) => {
      const before = await count()
      const result = await transact(transaction)
      expect(before - (await count())).to.be.within(1, 500)
      return result
    }
    store.ran.length = 0
    await purgeDeletions(store.store, new Date(1_250))
    await purgeKeys(store.store, new Date(1_250))
    expect(await count()).to.equal(2 * 51)
    for (const statement of new Map(store.ran.map((query) => [query.sql, query])).values()) {
      expect(await planOf(statement), statement.sql).not.to.match(/TEMP B-TREE|SCAN (?!json_each)/)
    }
    expect((await store.tasks.head(ownerId)).forgotten).to.equal(1_249)
  })

  it('scans no table for accounts', async () => {
    store.ran.length = 0
    await useAccounts(store)
    expect(store.ran).to.have.lengthOf.at.least(40)
    for (const statement of store.ran) {
      // The partial indexes hold only admins, and only users who left.
      expect(await planOf(statement), statement.sql).not.to.match(
        /SCAN (?!json_each|users USING (?:COVERING )?INDEX users_(?:admin|left_at))/,
      )
    }
  })

  it('creates a task without an idempotency key by two statements', async () => {
    store.ran.length = 0
    await addTask()
    expect(store.ran.map(({ sql }) => sql.split(' ')[0])).to.deep.equal(['insert', 'update'])
  })

  it('commits a write together with the write of a request that reads first', async () => {
    const key = (await addTask()).snapshot()
    const first = addTask()
    const second = store.tasks.get(key).then(() => addTask())
    await first
    expect(await store.sql('select count(*) as tasks from tasks')).to.deep.equal([{ tasks: 3 }])
    await second
  })

  it('does not write a task that an update leaves unchanged', async () => {
    const key = (await addTask()).snapshot()
    store.ran.length = 0
    await editTask(store.tasks, key, () => undefined)
    expect(store.ran.filter(({ sql }) => sql.startsWith('update'))).to.deep.equal([])
    await editTask(store.tasks, key, (task) => task.edit({ title: 'new' }, NOW))
    expect(store.ran.filter(({ sql }) => sql.startsWith('update'))).to.have.lengthOf(1)
  })

  it('sets only the columns that an update changes, because it would rewrite the indexes on all others', async () => {
    const key = (await addTask({ description: 'kept', due: '2026-02-28' })).snapshot()
    const columnsSetBy = async (changes: TaskChanges) => {
      store.ran.length = 0
      await editTask(store.tasks, key, (task) => task.edit(changes, NOW))
      const [, set = ''] = /^update "tasks" set (.+) where/.exec(store.ran.at(-1)?.sql ?? '') ?? []
      return Array.from(set.matchAll(/"(\w+)" =/g), ([, name]) => name)
    }
    expect(await columnsSetBy({ description: 'kept' })).to.have.members(['updated_at', 'revision'])
    expect(await columnsSetBy({ title: 'new' })).to.have.members(['title', 'search', 'updated_at', 'revision'])
    expect(await columnsSetBy({ completed: true, due: null })).to.have.members([
      ...['completed', 'completed_at', 'due', 'due_moment', 'due_all_day', 'updated_at', 'revision'],
    ])
  })

  it('lets no other process write between the read and the write of an update', async () => {
    const key = (await addTask()).snapshot()
    const other = new BetterSqlite3(path, { timeout: 0 })
    const updated = await editTask(store.tasks, key, (task) => {
      expect(() => other.exec("update tasks set title = 'theirs'")).to.throw('database is locked')
      task.edit({ completed: true }, NOW)
    })
    other.close()
    expect((await store.tasks.get(key)).snapshot()).to.deep.equal(updated.snapshot())
  })

  it('ignores a rollback after SQLite rolled back by itself, so that the original error is reported', async () => {
    const driver = new ImmediateTransactionDialect(openSqlite(path)).createDriver()
    await driver.init()
    const connection = await driver.acquireConnection()
    await driver.beginTransaction(connection)
    await connection.executeQuery(CompiledQuery.raw('rollback'))
    await driver.rollbackTransaction(connection)
    await driver.beginTransaction(connection)
    await driver.rollbackTransaction(connection)
    await driver.destroy()
  })

  it('reads on a separate connection, which sees committed rows only', async () => {
    const task = (await addTask()).snapshot()
    await store.sql('begin immediate')
    await store.sql("update tasks set title = 'half' where owner_id = ?", [ownerId])
    expect((await store.tasks.get(task)).snapshot().title).to.equal('Ship')
    await store.sql('commit')
    expect((await store.tasks.get(task)).snapshot().title).to.equal('half')
  })

  it('reads on a connection that cannot write', () => {
    const reader = openSqliteReader(path)
    expect(() => reader.exec('delete from users')).to.throw('readonly')
    reader.close()
  })

  it('locks the file from the start of a migration, so that no other process writes meanwhile', async () => {
    const driver = new ImmediateTransactionDialect(openSqlite(path)).createDriver()
    await driver.init()
    const connection = await driver.acquireConnection()
    await driver.beginTransaction(connection)
    const other = new BetterSqlite3(path, { timeout: 0 })
    expect(() => other.exec('begin immediate')).to.throw('database is locked')
    other.close()
    await driver.rollbackTransaction(connection)
    await driver.destroy()
  })

  it('reads while another process writes, and writes afterwards', async () => {
    const other = new BetterSqlite3(path)
    other.exec('begin immediate')
    let written = false
    const writing = addTask().then(() => {
      written = true
    })
    // By the second read, the write has found the file locked.
    for (const _ of [1, 2]) expect(await listTasks(store.tasks, ownerId, { skip: 0, limit: 9 })).to.deep.equal([])
    expect(written).to.equal(false)
    other.exec('rollback')
    other.close()
    await writing
    expect(await listTasks(store.tasks, ownerId, { skip: 0, limit: 9 })).to.have.lengthOf(1)
  })

  it('rejects writes with StoreUnavailable while another process keeps the file locked, and then serves again', async () => {
    const { id } = (await addTask()).snapshot()
    const other = new BetterSqlite3(path)
    other.exec('begin immediate')
    await expectRejection(
      editTask(store.tasks, { id, ownerId }, (task) => task.edit({ title: 'late' }, NOW)),
      StoreUnavailable,
    )
    await expectRejection(addTask(), StoreUnavailable)
    expect((await store.tasks.get({ id, ownerId })).snapshot().title).to.equal('Ship')
    other.exec('rollback')
    other.close()
    await editTask(store.tasks, { id, ownerId }, (task) => task.edit({ title: 'in time' }, NOW))
    expect((await store.tasks.get({ id, ownerId })).snapshot().title).to.equal('in time')
  })

  it('rejects writes with StoreUnavailable while the disk is full, keeps its data, and then serves again', async () => {
    const key = (await addTask()).snapshot()
    const [{ page_count: pages } = {}] = await store.sql('pragma page_count')
    await store.sql(`pragma max_page_count = ${pages}`)
    // Longer than a page of the file, so that storing the task needs a new page.
    const description = '🙂'.repeat(2_000)
    const fill = async () => {
      for (let index = 0; index < 100; index++) await addTask({ description })
    }
    await expectRejection(fill(), StoreUnavailable)
    await expectRejection(
      editTask(store.tasks, key, (task) => task.edit({ title: 'grown', description }, NOW)),
      StoreUnavailable,
    )
    expect((await store.tasks.get(key)).snapshot().title).to.equal('Ship')
    await store.sql('pragma max_page_count = 1000000')
    expect((await addTask({ description })).snapshot().description).to.equal(description)
  })

  it('rejects writes with StoreUnavailable while it is read-only, and serves reads', async () => {
    const key = (await addTask()).snapshot()
    await store.sql('pragma query_only = on')
    await expectRejection(addTask(), StoreUnavailable)
    await expectRejection(removeTask(store.tasks, key), StoreUnavailable)
    await expectRejection(
      editTask(store.tasks, key, (task) => task.edit({ title: 'new' }, NOW)),
      StoreUnavailable,
    )
    expect((await store.tasks.get(key)).snapshot()).to.deep.equal(key)
  })

  it('rejects with StoreUnavailable while one of its files is missing or replaced, and then serves again', async () => {
    const key = (await addTask()).snapshot()
    for (const file of [path, `${path}-wal`, `${path}-shm`]) {
      renameSync(file, `${path}.away`)
      await expectRejection(addTask({ title: 'lost' }), StoreUnavailable)
      await expectRejection(store.tasks.get(key), StoreUnavailable)
      writeFileSync(file, '')
      await expectRejection(addTask({ title: 'lost' }), StoreUnavailable)
      renameSync(`${path}.away`, file)
      await addTask({ title: file })
    }
    const titles = (await listTasks(store.tasks, ownerId, { skip: 0, limit: 9 })).map((task) => task.snapshot().title)
    expect(titles).to.deep.equal([`${path}-shm`, `${path}-wal`, path, 'Ship'])
  })

  it('rejects a write with OutcomeUnknown if the file is removed during the commit', async () => {
    const files = openFiles(path)
    const before = [true, false]
    files.compare = () => before.shift() ?? true
    const other = observed(path, files)
    await expectRejection(storeTask(other.tasks, aTaskDraft({ ownerId })), OutcomeUnknown)
    expect(await listTasks(other.tasks, ownerId, { skip: 0, limit: 9 })).to.have.lengthOf(1)
    await other.close()
  })

  it('compares its files every second, and logs each change once', async () => {
    const log: string[] = []
    const files = openFiles(path, log)
    renameSync(path, `${path}.away`)
    while (files.inPlace) await delay(10)
    expect(files.compare()).to.equal(false)
    expect(log).to.have.lengthOf(1)
    expect(log[0]).to.include(`${path} was removed or replaced`)
    renameSync(`${path}.away`, path)
    while (!files.inPlace) await delay(10)
    expect(files.compare()).to.equal(true)
    expect(log.slice(1)).to.deep.equal([`${path} is back`])
    files.close()
  })

  it('leaves other database errors unchanged', async () => {
    await store.sql('drop table tasks')
    await expectRejection(addTask(), BetterSqlite3.SqliteError)
  })
})

describe('Opening a SQLite database', () => {
  async function refusalOf(path: string): Promise<string> {
    const error = await openDatabase({ kind: 'sqlite', path }).catch((error: unknown) => error)
    expect(error).to.be.an.instanceOf(DatabaseUnavailable)
    return (error as Error).message
  }

  it('creates a missing file', async () => {
    const path = await freshPath()
    await (await openDatabase({ kind: 'sqlite', path })).close()
    expect(existsSync(path)).to.equal(true)
  })

  it('fails if the directory is missing, and does not create it', async () => {
    const path = `${await freshPath()}/tasks.db`
    expect(await refusalOf(path)).to.equal(`The SQLite database ${path} cannot be opened: its directory does not exist`)
    expect(existsSync(dirname(path))).to.equal(false)
  })

  it('fails if the file is not a SQLite database', async () => {
    const path = await freshPath()
    writeFileSync(path, 'a diary, and rather a long one\n'.repeat(100))
    expect(await refusalOf(path)).to.equal(
      `The SQLite database ${path} cannot be opened: the file is not a SQLite database`,
    )
  })

  it('fails for a directory', async () => {
    const path = await freshPath()
    mkdirSync(path)
    expect(await refusalOf(path)).to.equal(
      `The SQLite database ${path} cannot be opened: the file cannot be opened or created`,
    )
  })

  describe('of another program', () => {
    /** The content of the database and of the files beside it, except `-shm`, in which readers leave marks. */
    const contentsOf = (path: string) =>
      Object.fromEntries(
        readdirSync(dirname(path))
          .filter((name) => name.startsWith(basename(path)) && !name.endsWith('-shm'))
          .map((name) => [name, readFileSync(join(dirname(path), name), 'hex')]),
      )

    async function foreign(sql: string): Promise<{ readonly path: string; readonly database: BetterSqlite3.Database }> {
      const path = await freshPath()
      const database = new BetterSqlite3(path)
      database.exec(sql)
      return { path, database }
    }

    async function expectForeign(path: string): Promise<void> {
      const before = contentsOf(path)
      expect(await refusalOf(path)).to.equal(
        `The SQLite database ${path} cannot be opened: the file belongs to another program`,
      )
      // MikroORM's command line opens databases like this.
      const error = await MikroORM.init(mikroOrmOptions({ kind: 'sqlite', path }))
        .then((orm) => orm.connect())
        .catch((error: unknown) => error)
      expect(error).to.be.an.instanceOf(ForeignFile)
      expect(contentsOf(path)).to.deep.equal(before)
    }

    const OTHERS_MIGRATIONS = `
      create table mikro_orm_migrations (id integer primary key autoincrement, name text, executed_at datetime);
      insert into mikro_orm_migrations (name) values ('Migration20240101000000');`
    const kinds = {
      'with a rollback journal': 'create table notes (text)',
      'with a write-ahead log': 'pragma journal_mode = wal; create table notes (text)',
      'with tables of the same names': 'create table users (id); create table tasks (id)',
      'with tables of the same names and migrations of its own': `create table users (id); create table tasks (id); ${OTHERS_MIGRATIONS}`,
      'with nothing but a view': 'create view answer as select 42',
      'with an application id and nothing else': 'pragma application_id = 1196444487; pragma user_version = 1',
    }
    for (const [kind, sql] of Object.entries(kinds)) {
      it(`refuses the file unchanged and leaves nothing beside it (${kind})`, async () => {
        const { path, database } = await foreign(sql)
        database.close()
        await expectForeign(path)
        expect(Object.keys(contentsOf(path))).to.deep.equal([basename(path)])
        expect(existsSync(`${path}-shm`)).to.equal(false)
      })
    }

    it('refuses the file unchanged while that program has it open, without disturbing the program', async () => {
      const { path, database } = await foreign('pragma journal_mode = wal; create table notes (text)')
      await expectForeign(path)
      database.exec("insert into notes values ('mine')")
      expect(database.prepare('select text from notes').pluck().all()).to.deep.equal(['mine'])
      database.close()
    })

    it('refuses the file and its log unchanged after that program was killed', async () => {
      const { path, database } = await foreign('pragma journal_mode = wal; create table notes (text)')
      const copy = await freshPath()
      for (const companion of ['', '-wal', '-shm']) copyFileSync(path + companion, copy + companion)
      database.close()
      await expectForeign(copy)
      expect(Object.keys(contentsOf(copy))).to.have.lengthOf(2)
    })
  })

  it('accepts an empty file, a file without tables, and its own file with all migrations reverted', async () => {
    const [empty, bare, own] = [await freshPath(), await freshPath(), await freshPath()]
    writeFileSync(empty, '')
    const database = new BetterSqlite3(bare)
    database.pragma('user_version = 1')
    database.close()
    const { migrate, close } = await openDatabase({ kind: 'sqlite', path: own })
    await migrate()
    await close()
    const down = new BetterSqlite3(own)
    const tables = down.prepare("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'")
    for (const name of (tables.pluck().all() as string[]).reverse()) {
      down.exec(name === 'mikro_orm_migrations' ? `delete from ${name}` : `drop table ${name}`)
    }
    down.close()
    for (const path of [empty, bare, own]) {
      const database = await openDatabase({ kind: 'sqlite', path })
      expect(await database.migrate(), path).to.have.length.of.at.least(1)
      await database.close()
    }
  })

  it('cannot migrate while another process keeps the file locked, and reports that', async () => {
    const path = await freshPath()
    const database = await openDatabase({ kind: 'sqlite', path })
    const other = new BetterSqlite3(path)
    other.exec('begin immediate')
    const { message } = await expectRejection(database.migrate(), DatabaseUnavailable)
    expect(message).to.equal(`The SQLite database ${path} cannot be migrated: another process holds its lock`)
    other.exec('rollback')
    expect(await database.migrate()).to.have.length.of.at.least(1)
    await database.close()
    other.close()
  })

  it('accepts its own file with the log that a killed service left', async () => {
    const [path, copy] = [await freshPath(), await freshPath()]
    const database = await openDatabase({ kind: 'sqlite', path })
    await database.migrate()
    for (const companion of ['', '-wal']) copyFileSync(path + companion, copy + companion)
    await database.close()
    const recovered = await openDatabase({ kind: 'sqlite', path: copy })
    expect(await recovered.upToDate()).to.equal(true)
    await recovered.close()
  })

  it('reports a relative path as an absolute one', async () => {
    expect(await refusalOf('no/such/folder/tasks.db')).to.include(`${process.cwd()}/no/such/folder/tasks.db`)
  })
})
