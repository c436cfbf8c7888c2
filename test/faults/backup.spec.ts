import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { backupSqlite } from '#src/adapters/mikro-orm/sqlite/sqlite-backup.ts'
import { allowProcesses, type Environment, folder, Process, Service } from '#test/process.ts'
import { Client, WriteLoad } from './client.ts'

const DATABASE_URL = 'sqlite:///tasks.db'

/** Expects success. @returns the output */
async function outputOf(command: Process): Promise<string> {
  expect(await command.exitCode(), command.output).to.equal(0)
  return command.output
}

/** Expects a failure. @returns the message, which is one line */
async function failureOf(command: Process): Promise<string> {
  const lines = (await command.failureMessage()).split('\n')
  expect(lines).to.have.lengthOf(1)
  return lines[0] as string
}

const backup = (words: readonly string[], environment: Environment = { DATABASE_URL }) =>
  new Process('src/adapters/cli/backup.ts', environment, { words })

const restore = (words: readonly string[], environment: Environment = { DATABASE_URL }) =>
  new Process('src/adapters/cli/restore.ts', environment, { words })

/** Creates a database with the service's schema and one user. */
async function createDatabase(name: string): Promise<void> {
  const database = await openDatabase({ kind: 'sqlite', path: join(folder, name) })
  await database.migrate()
  await database.close()
  edit(
    name,
    `insert into users (email, hashed_password, created_at) values ('jane@example.com', '', 0);
    insert into task_lists (owner_id, epoch) values (1, '00000000')`,
  )
}

const insertTasks = (values: string) => `insert into tasks
  (title, description, owner_id, created_at, updated_at, due_moment, due_all_day, priority, tags, search, revision) ${values}`

function edit(name: string, sql: string): void {
  const database = new BetterSqlite3(join(folder, name), { fileMustExist: true })
  database.exec(sql)
  database.close()
}

const addTask = (name: string, title: string) =>
  edit(
    name,
    `update task_lists set revision = revision + 1, size = size + 1;
    ${insertTasks(`select '${title}', null, 1, 0, 0, 0, false, 0, '[]', '', revision from task_lists`)}`,
  )

function titlesIn(name: string): unknown[] {
  const database = new BetterSqlite3(join(folder, name), { fileMustExist: true })
  try {
    return database.prepare('select title from tasks order by id').pluck().all()
  } finally {
    database.close()
  }
}

/** Adds some 40 MB, so that a copy takes many steps, between which others can write. */
const fill = (name: string) =>
  edit(
    name,
    `with recursive number (value) as (select 1 union all select value + 1 from number where value < 10000)
    ${insertTasks(`select 'Task ' || value, hex(zeroblob(2000)), 1, 0, 0, 0, false, 0, '[]', '', 1000 + value from number`)};
    update task_lists set revision = 11000, size = 10000`,
  )

/** Runs the work beside a service, then stops the service. */
async function whileServing<Result>(work: (url: string, service: Service) => Promise<Result>): Promise<Result> {
  const service = new Service({ DATABASE_URL })
  const result = await work(await service.url(), service)
  await service.stop()
  return result
}

const files = () => readdirSync(folder).sort()

describe('npm run backup', () => {
  allowProcesses()

  it('shows its progress in a terminal', async () => {
    await outputOf(new Process('src/adapters/cli/migrate.ts', { DATABASE_URL }))
    const terminal = ['bash', '-c', 'exec script --quiet --return --command "$*" /dev/null', 'script']
    const command = new Process(
      'src/adapters/cli/backup.ts',
      { DATABASE_URL },
      { words: ['backup.db'], launcher: terminal },
    )
    expect(await outputOf(command)).to.match(/^0 %\r\n(?:.*\r\n)*100 %\r\nBacked up /)
  })

  it('copies every task acknowledged before it began while the service writes', async () => {
    const { client, before, after } = await whileServing(async (url) => {
      const client = await Client.signUp(url)
      fill('tasks.db')
      const load = new WriteLoad(client, 16)
      await load.waitForAcknowledged(200)
      const before = [...load.acknowledged]
      const output = await outputOf(backup(['backup.db']))
      expect(output).to.include(join(folder, 'backup.db')).and.not.include('%')
      expect(load.acknowledged.length).to.be.greaterThan(before.length)
      await load.stop()
      expect(load.refusals).to.deep.equal([])
      return { client, before, after: load.acknowledged }
    })
    expect(files()).to.deep.equal(['backup.db', 'tasks.db'])
    expect(statSync(join(folder, 'backup.db')).mode & 0o777).to.equal(0o600)

    const output = await outputOf(restore(['backup.db']))
    const [, replaced = ''] = /Previous database: (\S+)\.$/m.exec(output) ?? []
    await whileServing(async (url) => {
      expect(await client.at(url).findLost(before)).to.deep.equal([])
      expect((await Client.logIn(url)).token).to.be.a('string')
    })

    await outputOf(restore([replaced]))
    await whileServing(async (url) => expect(await client.at(url).findLost(after)).to.deep.equal([]))
  })

  it('ends despite writes between its steps, and copies the state at its beginning', async () => {
    await createDatabase('tasks.db')
    fill('tasks.db')
    let steps = 0
    await backupSqlite(join(folder, 'tasks.db'), join(folder, 'backup.db'), () => {
      expect(++steps).to.be.lessThan(100)
      addTask('tasks.db', 'late')
    })
    expect(steps).to.be.greaterThan(5)
    expect(titlesIn('backup.db')).to.have.lengthOf(10_000).and.not.include('late')
  })

  it('does not overwrite an existing file', async () => {
    await createDatabase('tasks.db')
    writeFileSync(join(folder, 'precious.txt'), 'a diary')
    expect(await failureOf(backup(['precious.txt']))).to.equal(
      `${join(folder, 'precious.txt')} already exists and was left unchanged.`,
    )
    expect(readFileSync(join(folder, 'precious.txt'), 'utf8')).to.equal('a diary')
  })

  it('copies the write-ahead log of a killed service', async () => {
    await createTaskAndKill('in the log')
    await outputOf(backup(['backup.db']))
    expect(titlesIn('backup.db')).to.deep.equal(['in the log'])
  })

  it('reads .env and needs no SECRET_KEY in production', async () => {
    await createDatabase('tasks.db')
    writeFileSync(join(folder, '.env'), `ENVIRONMENT=production\nDATABASE_URL=${DATABASE_URL}`)
    await outputOf(backup(['backup.db'], {}))
    expect(files()).to.include('backup.db')
  })

  it('fails with one line and leaves no file behind', async () => {
    await createDatabase('tasks.db')
    writeFileSync(join(folder, 'text.db'), 'a diary, and rather a long one\n'.repeat(100))
    writeFileSync(join(folder, 'other.db'), '')
    edit('other.db', 'create table users (id)')
    const before = files()
    const sqlite = (path: string) => ({ DATABASE_URL: `sqlite:///${path}` })
    const refused: readonly [string, readonly string[], Environment][] = [
      ['Usage: npm run backup -- FILE', [], { DATABASE_URL }],
      ['Usage: npm run backup -- FILE', ['--help'], { DATABASE_URL }],
      ['Usage: npm run backup -- FILE', ['one', 'two'], { DATABASE_URL }],
      ['DATABASE_URL is memory:, which keeps nothing.', ['new-1.db'], { DATABASE_URL: 'memory:' }],
      ['pg_dump', ['new-2.db'], { DATABASE_URL: 'postgresql://jane:hidden@127.0.0.1:1/tasks' }],
      ['DATABASE_URL must be', ['new-3.db'], { DATABASE_URL: 'mysql://jane:hidden@db/tasks' }],
      [`${join(folder, 'missing.db')} does not exist.`, ['new-4.db'], sqlite('missing.db')],
      ['the file is not a SQLite database', ['new-5.db'], sqlite('text.db')],
      [`${join(folder, 'other.db')} is not a database of this service.`, ['new-6.db'], sqlite('other.db')],
      [`${join(folder, 'no')} does not exist.`, ['no/new.db'], { DATABASE_URL }],
    ]
    const messages = await Promise.all(refused.map(([, given, environment]) => failureOf(backup(given, environment))))
    for (const [index, [expected]] of refused.entries()) expect(messages[index]).to.include(expected)
    expect(messages.join()).to.not.include('hidden')
    expect(files()).to.deep.equal(before)
  })
})

/** Creates a task with a service that is killed before it can checkpoint its write-ahead log. */
async function createTaskAndKill(title: string): Promise<void> {
  const service = new Service({ DATABASE_URL })
  const client = await Client.signUp(await service.url(), 'john@example.com')
  await client.createTask(title)
  service.signal('SIGKILL')
  await service.exitCode()
  expect(files()).to.include('tasks.db-wal')
}

describe('npm run restore', () => {
  allowProcesses()

  beforeEach(async () => {
    await createDatabase('tasks.db')
    addTask('tasks.db', 'kept')
    await outputOf(backup(['backup.db']))
    addTask('tasks.db', 'late')
  })

  /** Restores the backup. @returns the name of the replaced database */
  async function restoreBackup(): Promise<string> {
    const [, replaced = ''] = /Previous database: (\S+)\.$/m.exec(await outputOf(restore(['backup.db']))) ?? []
    return basename(replaced)
  }

  it('replaces the database with the backup and keeps the old one under a dated name', async () => {
    chmodSync(join(folder, 'tasks.db'), 0o640)
    const replaced = await restoreBackup()
    expect(replaced).to.match(/^tasks\.db\.replaced-\d{8}T\d{9}Z$/)
    expect(files()).to.deep.equal(['backup.db', 'tasks.db', replaced])
    expect(statSync(join(folder, 'tasks.db')).mode & 0o777).to.equal(0o640)
    expect([titlesIn('tasks.db'), titlesIn(replaced)]).to.deep.equal([['kept'], ['kept', 'late']])
  })

  /** The ids of the next task and of the next user. */
  function nextIds(name: string): number[] {
    addTask(name, 'next')
    edit(name, "insert into users (email, hashed_password, created_at) values ('next@example.com', '', 0)")
    const database = new BetterSqlite3(join(folder, name))
    try {
      return ['tasks', 'users'].map((table) => database.prepare(`select max(id) from ${table}`).pluck().get() as number)
    } finally {
      database.close()
    }
  }

  it('never reuses an id assigned since the backup', async () => {
    edit('tasks.db', "insert into users (email, hashed_password, created_at) values ('lost@example.com', '', 0)")
    edit('tasks.db', "delete from users where email = 'lost@example.com'")
    const replaced = await restoreBackup()
    expect(nextIds('tasks.db')).to.deep.equal([3, 3])
    expect(nextIds(replaced)).to.deep.equal([3, 3])
  })

  it('never reuses an id of a table that is missing from the backup', async () => {
    edit('tasks.db', 'create table later (id integer primary key autoincrement); insert into later values (7)')
    await restoreBackup()
    edit('tasks.db', 'create table later (id integer primary key autoincrement); insert into later values (null)')
    const database = new BetterSqlite3(join(folder, 'tasks.db'))
    expect(database.prepare('select id from later').pluck().all()).to.deep.equal([8])
    database.close()
  })

  it('raises the ids of sessions and API tokens created after the backup, even if the database is lost', async () => {
    for (const table of ['api_tokens', 'sessions']) {
      edit('backup.db', `drop table ${table}; delete from sqlite_sequence where name = '${table}'`)
    }
    rmSync(join(folder, 'tasks.db'))
    await outputOf(restore(['backup.db']))
    const database = new BetterSqlite3(join(folder, 'tasks.db'))
    for (const table of ['api_tokens', 'sessions']) {
      database.exec(`create table ${table} (id integer primary key autoincrement); insert into ${table} values (null)`)
      expect(database.prepare(`select id from ${table}`).pluck().all()).to.deep.equal([1_000_001])
    }
    database.close()
  })

  const overwrite = (page: number) => (content: Buffer) =>
    Buffer.from(content).fill(0x5a, page * 4_096, (page + 1) * 4_096)
  const pageOf = (table: string) => {
    const database = new BetterSqlite3(join(folder, 'tasks.db'))
    try {
      const root = database.prepare('select rootpage from sqlite_schema where name = ?').pluck().get(table) as number
      return root - 1
    } finally {
      database.close()
    }
  }
  const lost: Readonly<Record<string, () => void>> = {
    'is missing': () => rmSync(join(folder, 'tasks.db')),
    'is empty': () => writeFileSync(join(folder, 'tasks.db'), ''),
    'is not a database': () => writeFileSync(join(folder, 'tasks.db'), 'no database at all\n'.repeat(500)),
    'is truncated': () => {
      const path = join(folder, 'tasks.db')
      writeFileSync(path, readFileSync(path).subarray(0, 2 * 4_096))
    },
    'has lost its counters': () => {
      const path = join(folder, 'tasks.db')
      writeFileSync(path, overwrite(pageOf('sqlite_sequence'))(readFileSync(path)))
    },
    'has lost its users': () => {
      const path = join(folder, 'tasks.db')
      writeFileSync(path, overwrite(pageOf('users'))(readFileSync(path)))
    },
    'was recreated with fewer ids': () => {
      edit('tasks.db', "delete from tasks; delete from users; update sqlite_sequence set seq = 0 where name <> 'x'")
    },
    'has a counter that is not a number': () =>
      edit('tasks.db', "update sqlite_sequence set seq = 'many' where name = 'users'"),
    'has a counter beyond every id': () => {
      edit('tasks.db', "update sqlite_sequence set seq = 9223372036854775807 where name = 'users'")
    },
  }
  for (const [state, lose] of Object.entries(lost)) {
    it(`raises every id counter by a million if the database ${state}`, async () => {
      lose()
      expect(await outputOf(restore(['backup.db']))).to.include('1,000,000')
      expect(titlesIn('tasks.db')).to.deep.equal(['kept'])
      const ids = nextIds('tasks.db')
      for (const id of ids) expect(id).to.be.within(1_000_002, 1_000_003)
    })
  }

  it('raises the counter of a table without rows, and none beyond 2^53 - 1', async () => {
    edit('backup.db', "delete from tasks; delete from sqlite_sequence where name = 'tasks'")
    edit('backup.db', `update sqlite_sequence set seq = ${2 ** 53 - 500_000} where name = 'users'`)
    rmSync(join(folder, 'tasks.db'))
    await outputOf(restore(['backup.db']))
    const [task, user] = nextIds('tasks.db')
    expect(task).to.equal(1_000_001)
    expect(user).to.equal(2 ** 53 - 1)
  })

  it('creates a missing database', async () => {
    const output = await outputOf(restore(['backup.db'], { DATABASE_URL: 'sqlite:///elsewhere.db' }))
    expect(output).to.not.include('Previous database')
    expect(titlesIn('elsewhere.db')).to.deep.equal(['kept'])
    expect(files()).to.deep.equal(['backup.db', 'elsewhere.db', 'tasks.db'])
  })

  it('fails while a service has the database open, without disturbing it', async () => {
    await whileServing(async (url) => {
      const client = await Client.signUp(url, 'john@example.com')
      expect(await failureOf(restore(['backup.db']))).to.equal(
        `${join(folder, 'tasks.db')} is in use: stop the service first.`,
      )
      await client.createTask('another')
    })
    expect(files()).to.deep.equal(['backup.db', 'tasks.db'])
    expect(titlesIn('tasks.db')).to.deep.equal(['kept', 'late', 'another'])
  })

  it('keeps the write-ahead log of a killed service with the replaced database', async () => {
    await createTaskAndKill('in the log')
    const replaced = await restoreBackup()
    expect(titlesIn('tasks.db')).to.deep.equal(['kept'])
    expect(titlesIn(replaced)).to.deep.equal(['kept', 'late', 'in the log'])
  })

  it('replaces a damaged database and keeps it', async () => {
    const damaged = 'no database at all\n'.repeat(500)
    writeFileSync(join(folder, 'tasks.db'), damaged)
    const replaced = await restoreBackup()
    expect(readFileSync(join(folder, replaced), 'utf8')).to.equal(damaged)
    expect(titlesIn('tasks.db')).to.deep.equal(['kept'])
  })

  it('moves aside a write-ahead log without a database, which SQLite would apply to the new one', async () => {
    await createTaskAndKill('in the log')
    const log = readFileSync(join(folder, 'tasks.db-wal'))
    rmSync(join(folder, 'tasks.db'))
    await outputOf(restore(['backup.db']))
    const replaced = files().filter((file) => /^tasks\.db\.replaced-\w+-wal$/.test(file))
    expect(replaced.map((file) => readFileSync(join(folder, file)))).to.deep.equal([log])
    expect(titlesIn('tasks.db')).to.deep.equal(['kept'])
  })

  it('rejects a file that is not a sound backup with one line, and changes nothing', async () => {
    const sound = readFileSync(join(folder, 'backup.db'))
    writeFileSync(join(folder, 'half.db'), sound.subarray(0, sound.length / 2))
    writeFileSync(join(folder, 'overwritten.db'), Buffer.from(sound).fill(0xff, 4_096, 3 * 4_096))
    writeFileSync(join(folder, 'text.db'), 'a diary, and rather a long one\n'.repeat(100))
    writeFileSync(join(folder, 'empty.db'), '')
    writeFileSync(join(folder, 'other.db'), '')
    edit('other.db', 'create table users (id)')
    mkdirSync(join(folder, 'a-folder'))
    copyFileSync(join(folder, 'backup.db'), join(folder, 'orphaned.db'))
    edit('orphaned.db', 'pragma foreign_keys = off; delete from users')
    const before = files()
    const refused = {
      'missing.db': 'does not exist',
      'a-folder': 'the file cannot be opened or created',
      'half.db': 'damaged',
      'overwritten.db': 'damaged',
      'orphaned.db': 'damaged',
      'text.db': 'the file is not a SQLite database',
      'empty.db': 'is not a database of this service',
      'other.db': 'is not a database of this service',
    }
    for (const [file, expected] of Object.entries(refused)) {
      expect(await failureOf(restore([file])), file).to.include(expected)
      expect(files(), file).to.deep.equal(before)
    }
    expect(await failureOf(restore([]))).to.equal('Usage: npm run restore -- FILE')
    expect(await failureOf(restore(['backup.db'], { DATABASE_URL: 'postgresql://db/tasks' }))).to.include('pg_restore')
    expect(titlesIn('tasks.db')).to.deep.equal(['kept', 'late'])
  })
})
