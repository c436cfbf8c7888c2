import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { CompiledQuery, Kysely } from 'kysely'
import { GroupCommit, oneAfterTheOther } from '#src/adapters/mikro-orm/group-commit.ts'
import type { PreparedQuery, Run } from '#src/adapters/mikro-orm/prepared-query.ts'
import type { Tables } from '#src/adapters/mikro-orm/records.ts'
import { sqliteDialect } from '#src/adapters/mikro-orm/sqlite-dialect.ts'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { sqlite } from '#test/adapter-sets.ts'
import { expectRejection, outcomes } from '#test/contracts/repositories.ts'

const statement =
  (sql: string): PreparedQuery<readonly unknown[], unknown> =>
  async (database, values) =>
    (await database.executeQuery(CompiledQuery.raw(sql, [...values]))).rows

const insert = statement('insert into notes (text) values (?)')
/** Of a parent that is not there, which SQLite finds out when it commits. */
const insertOrphan = statement('insert into notes (text, parent) values (?, 999)')

describe('Writes that share a commit', () => {
  let kysely: Kysely<Tables>
  let ran: string[]
  let writes: GroupCommit
  /** Another process, which sees only what is committed. */
  let onlooker: BetterSqlite3.Database

  beforeEach(async () => {
    const path = (await sqlite.databaseUrl()).slice('sqlite:///'.length)
    ran = []
    kysely = new Kysely<Tables>({ dialect: sqliteDialect(path), log: ({ query }) => void ran.push(query.sql) })
    await kysely.executeQuery(
      CompiledQuery.raw(`
        create table notes (
          id integer primary key,
          text text unique not null,
          parent integer references notes (id) deferrable initially deferred
        )`),
    )
    writes = new GroupCommit(oneAfterTheOther(kysely))
    onlooker = new BetterSqlite3(path, { timeout: 0 })
  })

  afterEach(async () => {
    onlooker.close()
    await kysely.destroy()
  })

  const note = (text: string) => writes.add((run) => run(insert, [text]))
  const notes = () => onlooker.prepare('select text from notes order by id').pluck().all()
  const count = (sql: string) => ran.filter((each) => each === sql).length

  it('are one transaction where they come at the same time', async () => {
    await Promise.all(['one', 'two', 'three'].map(note))
    expect(notes()).to.deep.equal(['one', 'two', 'three'])
    expect([count('begin immediate'), count('commit')]).to.deep.equal([1, 1])
  })

  it('are answered with what each found', async () => {
    const texts = (run: Run) => run(statement('select text from notes'), [])
    const answers = await Promise.all([writes.add(texts), note('one'), writes.add(texts)])
    expect(answers).to.deep.equal([[], [], [{ text: 'one' }]])
  })

  it('are answered only after the commit', async () => {
    const seen: unknown[] = []
    const first = note('one').then(() => seen.push(notes()))
    const second = writes.add(async (run) => {
      await run(insert, ['two'])
      seen.push(notes())
    })
    await Promise.all([first, second])
    expect(seen).to.deep.equal([[], ['one', 'two']])
  })

  it('harm no other when one fails, which leaves nothing behind', async () => {
    const mistake = new Error('a mistake')
    const half = writes.add(async (run) => {
      await run(insert, ['half'])
      throw mistake
    })
    const { succeeded, reasons } = await outcomes([note('one'), half, note('two'), note('one'), note('three')])
    expect(notes()).to.deep.equal(['one', 'two', 'three'])
    expect(succeeded).to.equal(3)
    expect(reasons[0]).to.equal(mistake)
    expect(reasons[1]).to.have.property('code', 'SQLITE_CONSTRAINT_UNIQUE')
    expect(count('commit')).to.equal(1)
  })

  it('all fail when their commit does, and those after them do not', async () => {
    const orphan = writes.add((run) => run(insertOrphan, ['two']))
    const { reasons } = await outcomes([note('one'), orphan, note('three')])
    expect(reasons).to.have.length(3)
    for (const reason of reasons) expect(reason).to.have.property('code', 'SQLITE_CONSTRAINT_FOREIGNKEY')
    expect(notes()).to.deep.equal([])
    await note('four')
    expect(notes()).to.deep.equal(['four'])
  })

  it('all fail when another process keeps the file, and those after them do not', async () => {
    await kysely.executeQuery(CompiledQuery.raw('pragma busy_timeout = 0'))
    onlooker.exec('begin immediate')
    const { reasons } = await outcomes([note('one'), note('two')])
    for (const reason of reasons) expect(reason).to.have.property('code', 'SQLITE_BUSY')
    expect(reasons).to.have.length(2)
    onlooker.exec('rollback')
    await note('three')
    expect(notes()).to.deep.equal(['three'])
  })

  it('are unavailable when SQLite takes all of them back by itself, each with its own reason', async () => {
    const noRoom = new Error('the disk is full')
    const full = writes.add(async (run) => {
      await run(statement('rollback'), [])
      throw noRoom
    })
    const [first, second, third] = [note('one'), full, note('three')].map((write) => write.catch((error) => error))
    expect(await second).to.equal(noRoom)
    for (const other of [await first, await third]) {
      expect(other).to.be.an.instanceOf(StoreUnavailable)
      expect(other).to.have.property('cause', noRoom)
    }
    expect(notes()).to.deep.equal([])
    await note('four')
    expect(notes()).to.deep.equal(['four'])
  })

  it('form the next group while one is committed', async () => {
    const late: Promise<unknown>[] = []
    await writes.add(async (run) => {
      await run(insert, ['one'])
      late.push(note('two'), note('three'))
    })
    expect(notes()).to.deep.equal(['one'])
    await Promise.all(late)
    expect(notes()).to.deep.equal(['one', 'two', 'three'])
    expect(count('begin immediate')).to.equal(2)
  })

  it('are bounded: in one group, and while they wait', async () => {
    const { MOST_AT_ONCE, MOST_WAITING } = GroupCommit
    const nothing = () => writes.add(async () => undefined)
    const waiting = Promise.all(Array.from({ length: MOST_WAITING }, nothing))
    await expectRejection(nothing(), StoreUnavailable)
    await waiting
    expect(count('begin immediate')).to.equal(MOST_WAITING / MOST_AT_ONCE)
    await note('one')
    expect(notes()).to.deep.equal(['one'])
  })
})
