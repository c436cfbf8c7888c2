import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { backupSqlite } from '#src/adapters/mikro-orm/sqlite/sqlite-backup.ts'
import { allowProcesses, type Environment, folder, Process, Service } from '#test/process.ts'
import { Client, WriteLoad } from './client.ts'

const DATABASE_URL = 'sqlite:///tasks.db'

/** What a command says; it has succeeded. */
async function done(command: Process): Promise<string> {
  expect(await command.exit(), command.output).to.equal(0)
  return command.output
}

/** What a command says that fails: one line. */
async function refusal(command: Process): Promise<string> {
  const said = (await command.refusal()).split('\n').filter((line) => !/^\d+ %$/.test(line))
  expect(said).to.have.lengthOf(1)
  return said[0] as string
}

const backup = (words: readonly string[], environment: Environment = { DATABASE_URL }) =>
  new Process('src/adapters/cli/backup.ts', environment, { words })

const restore = (words: readonly string[], environment: Environment = { DATABASE_URL }) =>
  new Process('src/adapters/cli/restore.ts', environment, { words })

/** In the folder, as the service makes it. */
async function makeDatabase(name: string): Promise<void> {
  const database = await openDatabase({ kind: 'sqlite', path: join(folder, name) })
  await database.migrate()
  await database.close()
  edit(name, "insert into users (email, hashed_password, created_at) values ('jane@example.com', '', 0)")
}

function edit(name: string, sql: string): void {
  const database = new BetterSqlite3(join(folder, name), { fileMustExist: true })
  database.exec(sql)
  database.close()
}

const addTask = (name: string, title: string) =>
  edit(name, `insert into tasks (title, owner_id, created_at, updated_at) values ('${title}', 1, 0, 0)`)

function titlesIn(name: string): unknown[] {
  const database = new BetterSqlite3(join(folder, name), { fileMustExist: true })
  try {
    return database.prepare('select title from tasks order by id').pluck().all()
  } finally {
    database.close()
  }
}

/** Some 40 megabytes, so that a copy takes many steps, between which others write. */
const fill = (name: string) =>
  edit(
    name,
    `with recursive number (value) as (select 1 union all select value + 1 from number where value < 10000)
    insert into tasks (title, description, owner_id, created_at, updated_at)
    select 'Task ' || value, hex(zeroblob(2000)), 1, 0, 0 from number`,
  )

/** Starts a service, and stops it when that is done. */
async function whileServing<Result>(work: (url: string, service: Service) => Promise<Result>): Promise<Result> {
  const service = new Service({ DATABASE_URL })
  const result = await work(await service.url(), service)
  await service.stop()
  return result
}

const files = () => readdirSync(folder).sort()

describe('npm run backup', () => {
  allowProcesses()

  it('copies the database while the service writes: all that was acknowledged before is in it', async () => {
    const { client, before, after } = await whileServing(async (url) => {
      const client = await Client.signUp(url)
      fill('tasks.db')
      const load = new WriteLoad(client, 16)
      await load.waitForAcknowledged(200)
      const before = [...load.acknowledged]
      const output = await done(backup(['backup.db']))
      expect(output)
        .to.match(/^0 %$/m)
        .and.match(/^100 %$/m)
        .and.include(join(folder, 'backup.db'))
      expect(load.acknowledged.length).to.be.greaterThan(before.length)
      await load.stop()
      expect(load.refusals).to.deep.equal([])
      return { client, before, after: load.acknowledged }
    })
    expect(files()).to.deep.equal(['backup.db', 'tasks.db'])
    expect(statSync(join(folder, 'backup.db')).mode & 0o777).to.equal(0o600)

    const output = await done(restore(['backup.db']))
    const [, aside = ''] = /Previous database: (\S+)\.$/m.exec(output) ?? []
    await whileServing(async (url) => {
      expect(await client.at(url).findLost(before)).to.deep.equal([])
      expect((await Client.logIn(url)).token).to.be.a('string')
    })

    await done(restore([aside]))
    await whileServing(async (url) => expect(await client.at(url).findLost(after)).to.deep.equal([]))
  })

  it('ends although somebody writes between any two steps, and is of the moment when it began', async () => {
    await makeDatabase('tasks.db')
    fill('tasks.db')
    let steps = 0
    await backupSqlite(join(folder, 'tasks.db'), join(folder, 'backup.db'), () => {
      expect(++steps).to.be.lessThan(100)
      addTask('tasks.db', 'late')
    })
    expect(steps).to.be.greaterThan(5)
    expect(titlesIn('backup.db')).to.have.lengthOf(10_000).and.not.include('late')
  })

  it('leaves a file alone that exists', async () => {
    await makeDatabase('tasks.db')
    writeFileSync(join(folder, 'precious.txt'), 'a diary')
    expect(await refusal(backup(['precious.txt']))).to.equal(
      `${join(folder, 'precious.txt')} exists already, and is left as it is.`,
    )
    expect(readFileSync(join(folder, 'precious.txt'), 'utf8')).to.equal('a diary')
  })

  it('copies what a service that was killed has left', async () => {
    await killedAfter('in the log')
    await done(backup(['backup.db']))
    expect(titlesIn('backup.db')).to.deep.equal(['in the log'])
  })

  it('reads .env, and asks for no key in production', async () => {
    await makeDatabase('tasks.db')
    writeFileSync(join(folder, '.env'), `ENVIRONMENT=production\nDATABASE_URL=${DATABASE_URL}`)
    await done(backup(['backup.db'], {}))
    expect(files()).to.include('backup.db')
  })

  it('says in one line what is wrong, and leaves nothing behind', async () => {
    await makeDatabase('tasks.db')
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
      [`There is no ${join(folder, 'missing.db')}.`, ['new-4.db'], sqlite('missing.db')],
      ['the file is no SQLite database', ['new-5.db'], sqlite('text.db')],
      [`${join(folder, 'other.db')} is no database of this service.`, ['new-6.db'], sqlite('other.db')],
      [`There is no ${join(folder, 'no')}.`, ['no/new.db'], { DATABASE_URL }],
    ]
    const said = await Promise.all(refused.map(([, given, environment]) => refusal(backup(given, environment))))
    for (const [index, [expected]] of refused.entries()) expect(said[index]).to.include(expected)
    expect(said.join()).to.not.include('hidden')
    expect(files()).to.deep.equal(before)
  })
})

/** A service that is killed before it can put its log into the database. */
async function killedAfter(title: string): Promise<void> {
  const service = new Service({ DATABASE_URL })
  const client = await Client.signUp(await service.url(), 'john@example.com')
  await client.createTask(title)
  service.signal('SIGKILL')
  await service.exit()
  expect(files()).to.include('tasks.db-wal')
}

describe('npm run restore', () => {
  allowProcesses()

  beforeEach(async () => {
    await makeDatabase('tasks.db')
    addTask('tasks.db', 'kept')
    await done(backup(['backup.db']))
    addTask('tasks.db', 'late')
  })

  /** The name of what was there. */
  async function restored(): Promise<string> {
    const [, aside = ''] = /Previous database: (\S+)\.$/m.exec(await done(restore(['backup.db']))) ?? []
    return basename(aside)
  }

  it('puts the backup into the place of the database, and keeps what was there under a dated name', async () => {
    chmodSync(join(folder, 'tasks.db'), 0o640)
    const aside = await restored()
    expect(aside).to.match(/^tasks\.db\.replaced-\d{8}T\d{9}Z$/)
    expect(files()).to.deep.equal(['backup.db', 'tasks.db', aside])
    expect(statSync(join(folder, 'tasks.db')).mode & 0o777).to.equal(0o640)
    expect([titlesIn('tasks.db'), titlesIn(aside)]).to.deep.equal([['kept'], ['kept', 'late']])
  })

  /** The id that the next task gets, and the next user. */
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

  it('never lets an id be used again that was given since the backup', async () => {
    edit('tasks.db', "insert into users (email, hashed_password, created_at) values ('lost@example.com', '', 0)")
    edit('tasks.db', "delete from users where email = 'lost@example.com'")
    const aside = await restored()
    expect(nextIds('tasks.db')).to.deep.equal([3, 3])
    expect(nextIds(aside)).to.deep.equal([3, 3])
  })

  it('never lets an id be used again that a table got which the backup does not have', async () => {
    edit('tasks.db', 'create table later (id integer primary key autoincrement); insert into later values (7)')
    await restored()
    edit('tasks.db', 'create table later (id integer primary key autoincrement); insert into later values (null)')
    const database = new BetterSqlite3(join(folder, 'tasks.db'))
    expect(database.prepare('select id from later').pluck().all()).to.deep.equal([8])
    database.close()
  })

  /** Bytes that stand for a page. */
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
    'is no database': () => writeFileSync(join(folder, 'tasks.db'), 'no database at all\n'.repeat(500)),
    'is cut off': () => {
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
    'was made again since, with fewer ids': () => {
      edit('tasks.db', "delete from tasks; delete from users; update sqlite_sequence set seq = 0 where name <> 'x'")
    },
    'has a counter that is none': () =>
      edit('tasks.db', "update sqlite_sequence set seq = 'many' where name = 'users'"),
    'has a counter beyond every id': () => {
      edit('tasks.db', "update sqlite_sequence set seq = 9223372036854775807 where name = 'users'")
    },
  }
  for (const [state, lose] of Object.entries(lost)) {
    it(`raises every id counter by a million where the database ${state}`, async () => {
      lose()
      expect(await done(restore(['backup.db']))).to.include('1,000,000')
      expect(titlesIn('tasks.db')).to.deep.equal(['kept'])
      const ids = nextIds('tasks.db')
      for (const id of ids) expect(id).to.be.within(1_000_002, 1_000_003)
    })
  }

  it('raises the counter of a table that never had a row, and none beyond what a client can read exactly', async () => {
    edit('backup.db', "delete from tasks; delete from sqlite_sequence where name = 'tasks'")
    edit('backup.db', `update sqlite_sequence set seq = ${2 ** 53 - 500_000} where name = 'users'`)
    rmSync(join(folder, 'tasks.db'))
    await done(restore(['backup.db']))
    const [task, user] = nextIds('tasks.db')
    expect(task).to.equal(1_000_001)
    expect(user).to.equal(2 ** 53 - 1)
  })

  it('makes the database where there is none', async () => {
    const output = await done(restore(['backup.db'], { DATABASE_URL: 'sqlite:///elsewhere.db' }))
    expect(output).to.not.include('Previous database')
    expect(titlesIn('elsewhere.db')).to.deep.equal(['kept'])
    expect(files()).to.deep.equal(['backup.db', 'elsewhere.db', 'tasks.db'])
  })

  it('refuses while a service has the database open, and disturbs it in nothing', async () => {
    await whileServing(async (url) => {
      const client = await Client.signUp(url, 'john@example.com')
      expect(await refusal(restore(['backup.db']))).to.equal(
        `${join(folder, 'tasks.db')} is in use: stop the service first.`,
      )
      await client.createTask('another')
    })
    expect(files()).to.deep.equal(['backup.db', 'tasks.db'])
    expect(titlesIn('tasks.db')).to.deep.equal(['kept', 'late', 'another'])
  })

  it('keeps the log of a service that was killed with what it belongs to', async () => {
    await killedAfter('in the log')
    const aside = await restored()
    expect(titlesIn('tasks.db')).to.deep.equal(['kept'])
    expect(titlesIn(aside)).to.deep.equal(['kept', 'late', 'in the log'])
  })

  it('replaces a database that is damaged, and keeps that, too', async () => {
    const damaged = 'no database at all\n'.repeat(500)
    writeFileSync(join(folder, 'tasks.db'), damaged)
    const aside = await restored()
    expect(readFileSync(join(folder, aside), 'utf8')).to.equal(damaged)
    expect(titlesIn('tasks.db')).to.deep.equal(['kept'])
  })

  it('moves a log aside that has lost its database, and would be taken for that of the next', async () => {
    await killedAfter('in the log')
    const log = readFileSync(join(folder, 'tasks.db-wal'))
    rmSync(join(folder, 'tasks.db'))
    await done(restore(['backup.db']))
    const aside = files().filter((file) => /^tasks\.db\.replaced-\w+-wal$/.test(file))
    expect(aside.map((file) => readFileSync(join(folder, file)))).to.deep.equal([log])
    expect(titlesIn('tasks.db')).to.deep.equal(['kept'])
  })

  it('refuses what is no sound backup, in one line, and leaves everything as it was', async () => {
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
      'missing.db': 'There is no',
      'a-folder': 'the file can be neither opened nor made',
      'half.db': 'damaged',
      'overwritten.db': 'damaged',
      'orphaned.db': 'damaged',
      'text.db': 'the file is no SQLite database',
      'empty.db': 'is no database of this service',
      'other.db': 'is no database of this service',
    }
    for (const [file, expected] of Object.entries(refused)) {
      expect(await refusal(restore([file])), file).to.include(expected)
      expect(files(), file).to.deep.equal(before)
    }
    expect(await refusal(restore([]))).to.equal('Usage: npm run restore -- FILE')
    expect(await refusal(restore(['backup.db'], { DATABASE_URL: 'postgresql://db/tasks' }))).to.include('pg_restore')
    expect(titlesIn('tasks.db')).to.deep.equal(['kept', 'late'])
  })
})
