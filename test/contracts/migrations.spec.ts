import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MikroORM } from '@mikro-orm/core'
import type { AbstractSqlDriver } from '@mikro-orm/sqlite'
import { expect } from 'chai'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { mikroOrmOptions } from '#src/adapters/mikro-orm/options.ts'
import { NUMBERED_TABLES } from '#src/adapters/mikro-orm/records.ts'
import type { PersistentTarget } from '#src/database-target.ts'
import { fold } from '#src/domain/tasks/task-filter.ts'
import { taskQuery } from '#src/domain/tasks/task-query.ts'
import { postgresql, sqlite } from '#test/adapter-sets.ts'
import { aTaskDraft } from '#test/builders.ts'
import {
  anOwner,
  listTasks,
  MIGRATIONS,
  postgresqlTarget,
  removeTask,
  storeTask,
  targetOf,
} from '#test/contracts/repositories.ts'

for (const { name, databaseUrl } of [sqlite, postgresql]) {
  describe(`The migrations (${name})`, () => {
    let target: PersistentTarget
    let orm: MikroORM<AbstractSqlDriver>

    beforeEach(async () => {
      target = targetOf(await databaseUrl()) as PersistentTarget
      orm = await MikroORM.init(mikroOrmOptions(target))
    })

    afterEach(() => orm.close())

    /** The table that only instances on several machines need. */
    const shared = name === 'PostgreSQL' ? ['rate_limits'] : []
    const difference = () => orm.schema.getUpdateSchemaSQL({ wrap: false })
    const tables = async () => (await orm.em.fork().execute(tableNames[name] as string)).map((row) => row.name)

    it('create exactly the tables that the records describe', async () => {
      expect(await difference()).not.to.equal('')
      await orm.migrator.up()
      expect(await difference()).to.equal('')
      await orm.em.fork().execute('drop index tasks_owner_id_id_index')
      expect(await difference()).to.include('tasks_owner_id_id_index')
    })

    it('count the ids of exactly the numbered tables', async () => {
      await orm.migrator.up()
      const counted = Array.from(orm.getMetadata().getAll().values()).filter(({ properties }) =>
        Object.values(properties).some(({ autoincrement }) => autoincrement),
      )
      expect(counted.map(({ tableName }) => tableName)).to.have.members([...NUMBERED_TABLES])
    })

    it('can be applied, reverted completely, and applied again', async () => {
      await orm.migrator.up()
      const records = [...orm.getMetadata().getAll().values()].map(({ tableName }) => tableName)
      expect(await tables()).to.have.members(['mikro_orm_migrations', ...records, ...shared])
      await orm.migrator.down({ to: 0 })
      expect(await tables()).to.deep.equal(['mikro_orm_migrations'])
      await orm.migrator.up()
      expect(await difference()).to.equal('')
    })

    it('add a task list for each user who registered before task lists existed', async () => {
      await orm.migrator.up({ to: 'migration-20260201000000-rate-limits' })
      await orm.em.fork().execute(`insert into users (email, hashed_password, created_at)
        values ('jane@example.com', 'x', '2026-01-31 09:30:00')`)
      await orm.migrator.up()
      const lists = await orm.em
        .fork()
        .execute('select owner_id, cast(revision as integer) as revision from task_lists')
      expect(lists).to.deep.equal([{ owner_id: 1, revision: 0 }])
    })

    it('number the tasks of each owner by id, and keep all members of the previous release', async () => {
      await orm.migrator.up({ to: 'migration-20260301000000-task-lists' })
      const execute = (sql: string) => orm.em.fork().execute<Record<string, unknown>[]>(sql)
      const time = (index: number) => (name === 'SQLite' ? `${1_000 * index}` : `to_timestamp(${index})`)
      const longest = 'ß'.repeat(2_000)
      await execute(`insert into users (email, hashed_password, created_at) values
        ('jane@example.com', 'x', ${time(0)}), ('john@example.com', 'x', ${time(0)}), ('new@example.com', 'x', ${time(0)})`)
      for (let start = 1; start <= 2_500; start += 500) {
        const rows = Array.from({ length: 500 }, (_, offset) => {
          const index = start + offset
          const description = index % 10 === 0 ? `'${longest}'` : 'null'
          return `('Straße ${index}', ${description}, ${index % 3 === 0}, ${1 + (index % 2)}, ${time(index)}, ${time(index + 1)})`
        })
        await execute(
          `insert into tasks (title, description, completed, owner_id, created_at, updated_at) values ${rows.join()}`,
        )
      }
      await execute('delete from tasks where id in (7, 2500)')
      await orm.migrator.up()

      const database = await openDatabase(target)
      const { tasks } = database
      const one = await listTasks(tasks, 1)
      expect(one).to.have.lengthOf(1_249)
      expect(one.at(-1)?.snapshot()).to.deep.equal({
        ...aTaskDraft({ ownerId: 1, title: 'Straße 2', createdAt: new Date(2_000), updatedAt: new Date(3_000) }),
        id: 2,
        revision: 1,
      })
      const john = (await listTasks(tasks, 2)).map((task) => task.snapshot()).reverse()
      expect(john.map(({ revision }) => revision)).to.deep.equal(john.map((_, index) => index + 1))
      expect(john.filter(({ id, completed }) => completed !== (id % 3 === 0))).to.deep.equal([])
      expect(john.find(({ id }) => id === 9)).to.deep.include({ completed: true, completedAt: new Date(10_000) })
      const query = taskQuery({ conditions: [{ name: 'containing', value: fold('straße 11') }], count: true })
      expect((await tasks.list(2, query)).total).to.equal(56)
      const described = taskQuery({ conditions: [{ name: 'containing', value: fold(longest) }], count: true })
      expect((await tasks.list(1, described)).total).to.equal(249)

      const heads = await Promise.all([1, 2, 3].map((ownerId) => tasks.head(ownerId)))
      expect(heads.map(({ revision }) => revision)).to.deep.equal([1_249, 1_249, 0])
      expect(new Set(heads.map(({ epoch }) => epoch)).size).to.equal(3)
      for (const { epoch } of heads) expect(epoch).to.match(/^[0-9a-f]{8}$/)
      const added = await storeTask(tasks, aTaskDraft({ ownerId: 1 }))
      expect(added.snapshot()).to.include({ id: 2_501, revision: 1_250 })
      expect((await tasks.list(1, taskQuery({ count: true }))).total).to.equal(1_250)
      await database.close()
    }).timeout(30_000)

    it('give the key of an address to the oldest of its users', async () => {
      await orm.migrator.up({ to: 'migration-20260402000000-idempotency-keys' })
      const execute = (sql: string) => orm.em.fork().execute<Record<string, unknown>[]>(sql)
      const time = name === 'SQLite' ? '1000' : 'to_timestamp(1)'
      const first = ['Jane@Bücher.example', 'jane@bücher.example', 'JANE@xn--bcher-kva.example', "o'neil@127.1"]
      const emails = [...first, ...Array.from({ length: 1_100 }, (_, index) => `${index}@example.com`), '9@EXAMPLE.com']
      const rows = emails.map((email) => `('${email.replaceAll("'", "''")}', 'x', ${time})`)
      await execute(`insert into users (email, hashed_password, created_at) values ${rows.join()}`)
      await execute('delete from users where id = 100')
      await orm.migrator.up()

      const database = await openDatabase(target)
      const user = async (id: number) => (await database.users.findById(id))?.snapshot()
      expect(await user(1)).to.deep.equal({
        id: 1,
        email: 'Jane@Bücher.example',
        emailKey: 'jane@xn--bcher-kva.example',
        hashedPassword: 'x',
        role: 'user',
        disabled: false,
        timeZone: 'UTC',
        createdAt: new Date(1_000),
      })
      expect((await user(2))?.emailKey).to.equal(null)
      expect((await user(3))?.emailKey).to.equal(null)
      expect((await user(4))?.emailKey).to.equal("o'neil@127.1")
      expect((await user(1_104))?.emailKey).to.equal('1099@example.com')
      expect((await user(1_105))?.emailKey).to.equal(null)
      const [keys] = await execute('select cast(count(email_key) as integer) as keys from users')
      expect(keys).to.deep.equal({ keys: 1_101 })
      const found = await database.users.list({ before: undefined, containing: 'BÜCHER', limit: 9 })
      expect(found.map(({ id }) => id)).to.deep.equal([2, 1])
      await database.close()
    })

    it('delete users who left when they are reverted', async () => {
      const database = await openDatabase(target)
      await database.migrate()
      const ownerId = await anOwner(database)
      await database.close()
      await orm.em.fork().execute(`update users set left_at = created_at, email = 'left' where id = ${ownerId}`)
      await orm.migrator.down({ to: 'migration-20260402000000-idempotency-keys' })
      expect(await orm.em.fork().execute('select id from users')).to.deep.equal([])
    })

    it('keep instances of the previous release from writing tasks', async () => {
      await orm.migrator.up()
      const values = name === 'SQLite' ? `0, 0` : 'now(), now()'
      const writing = orm.em
        .fork()
        .execute(
          `insert into tasks (title, completed, owner_id, created_at, updated_at) values ('x', false, 1, ${values})`,
        )
      expect(String(await writing.catch((error: unknown) => error))).to.match(/not.null/i)
    })

    it('are checked without creating a table', async () => {
      const database = await openDatabase(target)
      expect(await database.upToDate()).to.equal(false)
      expect(await tables()).to.deep.equal([])
      await database.migrate()
      expect(await database.upToDate()).to.equal(true)
      await orm.migrator.down()
      expect(await database.upToDate()).to.equal(false)
      await database.close()
    })

    it('create no table if one of them fails', async () => {
      await orm.em.fork().execute('create table tasks (id integer)')
      await orm.migrator.up().then(
        () => expect.fail('the migrations succeed'),
        () => undefined,
      )
      expect(await tables()).to.have.members(['mikro_orm_migrations', 'tasks'])
    })

    it('are generated in the style of this project, with quoted names that both databases accept', async () => {
      await orm.migrator.up()
      await orm.em.fork().execute('alter table tasks drop column description')
      const folder = mkdtempSync(join(tmpdir(), 'tasks-migration-'))
      try {
        const { fileName } = await orm.migrator.create(folder, false, false, 'Bring it back')
        expect(fileName).to.match(/^migration-\d{14}-bring-it-back\.ts$/)
        const code = readFileSync(join(folder, fileName), 'utf8')
        expect(code).to.match(
          /^import \{ Migration \} from '@mikro-orm\/migrations'\n\nexport class \w+ extends Migration \{\n {2}override up\(\): void \{\n/,
        )
        expect(code).to.match(/this\.addSql\(`alter table "tasks" add (column )?"description" text null`\)\n/)
        expect(code).to.match(/ {2}\}\n\}\n$/)
      } finally {
        rmSync(folder, { recursive: true })
      }
    })
  })
}

const tableNames: Readonly<Record<string, string>> = {
  SQLite: `select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'`,
  PostgreSQL: `select tablename as name from pg_tables where schemaname = 'public'`,
}

/** The list for `in (…)`. */
const TABLES = `'users', 'tasks', 'task_lists', 'tombstones', 'idempotency_keys', 'sessions', 'api_tokens'`

describe('The tables on PostgreSQL', () => {
  it('have every column, constraint and index of the contract', async () => {
    const orm = await MikroORM.init(mikroOrmOptions(targetOf(await postgresql.databaseUrl()) as PersistentTarget))
    await orm.migrator.up()
    const execute = (sql: string) => orm.em.fork().execute<Record<string, unknown>[]>(sql)
    const columns = await execute(`
      select c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || case when a.attnotnull then ' not null' else '' end as "column"
      from pg_attribute a join pg_class c on c.oid = a.attrelid
      where c.relname in (${TABLES}) and c.relkind = 'r' and a.attnum > 0
      order by c.relname desc, a.attnum`)
    const constraints = await execute(`
      select conname || ' ' || pg_get_constraintdef(oid) as "constraint" from pg_constraint
      where conrelid::regclass::text in (${TABLES}) and contype <> 'n' order by conname`)
    const indexes = await execute(`select indexname from pg_indexes where tablename in (${TABLES}) order by 1`)
    await orm.close()
    expect(columns.map(({ column }) => column)).to.include.members([
      'users.id integer not null',
      'users.email character varying(320) not null',
      'users.hashed_password character varying(255) not null',
      'users.created_at timestamp(3) with time zone not null',
      'users.email_key text',
      'users.role character varying(16) not null',
      'users.disabled boolean not null',
      'users.time_zone character varying(64) not null',
      'users.search text not null',
      'users.left_at timestamp(3) with time zone',
      'tasks.id bigint not null',
      'tasks.title character varying(255) not null',
      'tasks.description text',
      'tasks.completed boolean not null',
      'tasks.owner_id integer not null',
      'tasks.created_at timestamp(3) with time zone not null',
      'tasks.updated_at timestamp(3) with time zone not null',
      'tasks.completed_at timestamp(3) with time zone',
      'tasks.due character varying(40)',
      'tasks.due_moment bigint not null',
      'tasks.due_all_day boolean not null',
      'tasks.priority smallint not null',
      'tasks.tags text not null',
      'tasks.revision bigint not null',
      'tasks.search text not null',
      'task_lists.owner_id integer not null',
      'task_lists.revision bigint not null',
      'task_lists.size integer not null',
      'task_lists.epoch character varying(8) not null',
      'task_lists.forgotten bigint not null',
      'tombstones.owner_id integer not null',
      'tombstones.revision bigint not null',
      'tombstones.id bigint not null',
      'tombstones.deleted_at timestamp(3) with time zone not null',
      'idempotency_keys.owner_id integer not null',
      'idempotency_keys.scope character varying(255) not null',
      'idempotency_keys.key character varying(255) not null',
      'idempotency_keys.fingerprint character varying(64) not null',
      'idempotency_keys.result text not null',
      'idempotency_keys.new_ids text not null',
      'idempotency_keys.created_at timestamp(3) with time zone not null',
      'sessions.id bigint not null',
      'sessions.owner_id integer not null',
      'sessions.created_at timestamp(3) with time zone not null',
      'sessions.last_used_at timestamp(3) with time zone not null',
      'sessions.user_agent character varying(255)',
      'sessions.counter integer not null',
      'sessions.token_hash character varying(64) not null',
      'sessions.rotated_at timestamp(3) with time zone not null',
      'api_tokens.id bigint not null',
      'api_tokens.owner_id integer not null',
      'api_tokens.name character varying(100) not null',
      'api_tokens.scopes character varying(255) not null',
      'api_tokens.token_hash character varying(64) not null',
      'api_tokens.created_at timestamp(3) with time zone not null',
      'api_tokens.expires_at timestamp(3) with time zone',
      'api_tokens.last_used_at timestamp(3) with time zone',
    ])
    expect(constraints.map(({ constraint }) => constraint)).to.include.members([
      'api_tokens_owner_id_foreign FOREIGN KEY (owner_id) REFERENCES users(id) ON DELETE CASCADE',
      'api_tokens_pkey PRIMARY KEY (id)',
      'idempotency_keys_owner_id_foreign FOREIGN KEY (owner_id) REFERENCES users(id) ON DELETE CASCADE',
      'idempotency_keys_pkey PRIMARY KEY (owner_id, scope, key)',
      'sessions_owner_id_foreign FOREIGN KEY (owner_id) REFERENCES users(id) ON DELETE CASCADE',
      'sessions_pkey PRIMARY KEY (id)',
      'task_lists_owner_id_foreign FOREIGN KEY (owner_id) REFERENCES users(id) ON DELETE CASCADE',
      'task_lists_pkey PRIMARY KEY (owner_id)',
      'tasks_owner_id_foreign FOREIGN KEY (owner_id) REFERENCES users(id) ON DELETE CASCADE',
      'tasks_pkey PRIMARY KEY (id)',
      'tombstones_owner_id_foreign FOREIGN KEY (owner_id) REFERENCES users(id) ON DELETE CASCADE',
      'tombstones_pkey PRIMARY KEY (owner_id, revision)',
      'users_pkey PRIMARY KEY (id)',
    ])
    expect(indexes.map(({ indexname }) => indexname)).to.include.members([
      'api_tokens_expires_at_index',
      'api_tokens_owner_id_id_index',
      'api_tokens_pkey',
      'idempotency_keys_created_at_index',
      'idempotency_keys_pkey',
      'sessions_created_at_index',
      'sessions_last_used_at_index',
      'sessions_owner_id_id_index',
      'sessions_pkey',
      'task_lists_pkey',
      'tasks_owner_id_completed_due_moment_id_index',
      'tasks_owner_id_completed_id_index',
      'tasks_owner_id_due_moment_id_index',
      'tasks_owner_id_id_index',
      'tasks_owner_id_revision_unique',
      'tasks_pkey',
      'tombstones_deleted_at_index',
      'tombstones_pkey',
      'users_admin_index',
      'users_email_key_unique',
      'users_email_unique',
      'users_left_at_index',
      'users_pkey',
    ])
  })
})

describe('The schema on PostgreSQL', () => {
  /** A database with a second schema, the target that uses it, and the schemas in which a table exists. */
  async function withSchema() {
    const url = new URL(await postgresql.databaseUrl())
    const orm = await MikroORM.init(mikroOrmOptions(postgresqlTarget(url.href)))
    const execute = (sql: string) => orm.em.fork().execute(sql)
    await execute('create schema ours')
    const schemasOf = async (table: string) =>
      (await execute(`select schemaname from pg_tables where tablename = '${table}' order by 1`)).map(
        ({ schemaname }) => schemaname,
      )
    url.searchParams.set('options', '-c search_path=ours')
    const ours = postgresqlTarget(url.href)
    return { orm, execute, schemasOf, ours }
  }

  it('is the first one in the search path, at each start', async () => {
    const { orm, schemasOf, ours } = await withSchema()
    for (const applied of [MIGRATIONS, []]) {
      const database = await openDatabase(ours)
      expect(await database.migrate()).to.deep.equal(applied)
      expect(await database.upToDate()).to.equal(true)
      const task = (await storeTask(database.tasks, aTaskDraft({ ownerId: await anOwner(database) }))).snapshot()
      await removeTask(database.tasks, task)
      await database.close()
    }
    for (const table of ['users', 'mikro_orm_migrations']) expect(await schemasOf(table), table).to.deep.equal(['ours'])
    await orm.close()
  })

  it('is checked by itself, even if another schema is up to date', async () => {
    const { orm, execute, schemasOf, ours } = await withSchema()
    await execute('create table mikro_orm_migrations (id integer)')
    const database = await openDatabase(ours)
    expect(await database.upToDate()).to.equal(false)
    expect(await schemasOf('mikro_orm_migrations')).to.deep.equal(['public'])
    await database.close()
    await orm.close()
  })
})

describe('Instances that start concurrently on PostgreSQL', () => {
  it('apply the migrations once', async () => {
    const target = targetOf(await postgresql.databaseUrl()) as PersistentTarget
    const databases = await Promise.all(Array.from({ length: 5 }, () => openDatabase(target)))
    const applied = await Promise.all(databases.map((database) => database.migrate()))
    await Promise.all(databases.map((database) => database.close()))
    expect(applied.flat()).to.deep.equal(MIGRATIONS)
  })
})
