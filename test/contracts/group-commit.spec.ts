import { setImmediate as nextTurn } from 'node:timers/promises'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { Batcher, fulfilled } from '#src/adapters/mikro-orm/group-commit.ts'
import { statement } from '#src/adapters/mikro-orm/prepared-query.ts'
import type { Run } from '#src/adapters/mikro-orm/sqlite/sqlite-run.ts'
import { type Job, readInOneSnapshot, runInOneTransaction } from '#src/adapters/mikro-orm/sqlite/sqlite-store.ts'
import { OutcomeUnknown, StoreUnavailable } from '#src/domain/errors.ts'
import { sqlite } from '#test/adapter-sets.ts'
import { expectRejection, outcomes } from '#test/contracts/repositories.ts'

const insert = (text: string) => statement('insert into notes (text) values (?) returning id', [text])
/** Violates a deferred foreign key, which SQLite checks at the commit. */
const insertOrphan = (text: string) =>
  statement('insert into notes (text, parent) values (?, 999) returning id', [text])
const allTexts = statement('select text from notes order by id')

let database: BetterSqlite3.Database
let ran: string[]
/** Another connection, which sees committed rows only. */
let otherConnection: BetterSqlite3.Database

function openNotes() {
  beforeEach(async () => {
    const path = (await sqlite.databaseUrl()).slice('sqlite:///'.length)
    ran = []
    database = new BetterSqlite3(path, { verbose: (sql) => ran.push(String(sql).toLowerCase()) })
    database.pragma('journal_mode = wal')
    database.exec(`
      create table notes (
        id integer primary key,
        text text unique not null,
        parent integer references notes (id) deferrable initially deferred
      )`)
    otherConnection = new BetterSqlite3(path, { timeout: 0 })
  })
  afterEach(() => {
    otherConnection.close()
    database.close()
  })
}

const notes = () => otherConnection.prepare('select text from notes order by id').pluck().all()
const count = (sql: string) => ran.filter((each) => each === sql).length

describe('A batcher', () => {
  /** The groups that began, each with a function that ends it. */
  let begun: { readonly size: number; readonly end: () => void }[]
  let batcher: Batcher<string>
  let expectsMore: boolean

  beforeEach(() => {
    begun = []
    const run = async (jobs: readonly string[]) => {
      await new Promise<void>((end) => begun.push({ size: jobs.length, end }))
      return jobs.map(fulfilled)
    }
    expectsMore = false
    batcher = new Batcher(run, { maxGroups: 2, expectsMore: () => expectsMore })
  })

  const sizes = () => begun.map(({ size }) => size)

  it('runs the jobs of one event-loop turn as one group', async () => {
    const all = [batcher.add('one'), batcher.add('two')]
    await new Promise<void>((later) => process.nextTick(later))
    await Promise.resolve()
    all.push(batcher.add('three'))
    await nextTurn()
    await nextTurn()
    expect(sizes()).to.deep.equal([3])
    begun[0]?.end()
    expect(await Promise.all(all)).to.deep.equal(['one', 'two', 'three'])
  })

  it('waits one turn for expected jobs, and no longer', async () => {
    expectsMore = true
    const all = [batcher.add('one')]
    await nextTurn()
    expect(sizes()).to.deep.equal([])
    all.push(batcher.add('two'))
    await nextTurn()
    expect(sizes()).to.deep.equal([2])
    begun[0]?.end()
    await Promise.all(all)
  })

  it('runs at most the allowed number of groups at a time', async () => {
    const all: Promise<unknown>[] = []
    for (const work of ['one', 'two', 'three', 'four']) {
      all.push(batcher.add(work))
      await nextTurn()
    }
    expect([sizes(), batcher.pending]).to.deep.equal([[1, 1], 4])
    begun[1]?.end()
    expect(await all[1]).to.equal('two')
    await nextTurn()
    await nextTurn()
    expect([sizes(), batcher.pending]).to.deep.equal([[1, 1, 2], 3])
    for (const { end } of begun) end()
    await Promise.all(all)
  })
})

describe('Writes that share a commit', () => {
  openNotes()

  let writes: Batcher<Job>

  beforeEach(() => {
    writes = new Batcher(runInOneTransaction(database))
  })

  const note = (text: string) => writes.add((run) => run(insert(text)))

  it('form one transaction if they are concurrent', async () => {
    await Promise.all(['one', 'two', 'three'].map(note))
    expect(notes()).to.deep.equal(['one', 'two', 'three'])
    expect([count('begin immediate'), count('commit')]).to.deep.equal([1, 1])
  })

  it('return the rows that each of them found', async () => {
    const texts = (run: Run) => run(allTexts)
    const answers = await Promise.all([writes.add(texts), note('one'), writes.add(texts)])
    expect(answers).to.deep.equal([[], [{ id: 1 }], [{ text: 'one' }]])
  })

  it('resolve only after the commit', async () => {
    const seen: unknown[] = []
    const first = note('one').then(() => seen.push(notes()))
    const second = writes.add((run) => {
      run(insert('two'))
      seen.push(notes())
    })
    await Promise.all([first, second])
    expect(seen).to.deep.equal([[], ['one', 'two']])
  })

  it('succeed although another one fails, which is rolled back', async () => {
    const mistake = new Error('a mistake')
    const half = writes.add((run) => {
      run(insert('half'))
      throw mistake
    })
    const { succeeded, reasons } = await outcomes([note('one'), half, note('two'), note('one'), note('three')])
    expect(notes()).to.deep.equal(['one', 'two', 'three'])
    expect(succeeded).to.equal(3)
    expect(reasons[0]).to.equal(mistake)
    expect(reasons[1]).to.have.property('code', 'SQLITE_CONSTRAINT_UNIQUE')
    expect(count('commit')).to.equal(1)
  })

  it('all fail if their commit fails, and later ones succeed', async () => {
    const orphan = writes.add((run) => run(insertOrphan('two')))
    const { reasons } = await outcomes([note('one'), orphan, note('three')])
    expect(reasons).to.have.length(3)
    for (const reason of reasons) expect(reason).to.have.property('code', 'SQLITE_CONSTRAINT_FOREIGNKEY')
    expect(notes()).to.deep.equal([])
    await note('four')
    expect(notes()).to.deep.equal(['four'])
  })

  for (const [code, kind] of [
    ['SQLITE_IOERR_FSYNC', OutcomeUnknown],
    ['SQLITE_IOERR_SHMSIZE', OutcomeUnknown],
    ['SQLITE_IOERR_WRITE', Error],
    ['SQLITE_FULL', Error],
  ] as const) {
    it(`reject with ${kind.name} if their commit fails with ${code}`, async () => {
      const broken = Object.assign(new Error('disk I/O error'), { code })
      // Simulates a failing disk: this commit rolls back and throws the disk's error.
      const { transaction } = database
      database.transaction = ((work: (input: never) => unknown) => {
        const failing = (input: never) => {
          database.exec('begin immediate')
          work(input)
          database.exec('rollback')
          throw broken
        }
        const real = transaction.call(database, work)
        return Object.assign((input: never) => real(input), { immediate: failing })
      }) as unknown as typeof database.transaction
      const failing = new Batcher(runInOneTransaction(database))
      const add = (text: string) => failing.add((run) => run(insert(text)))
      for (const group of [['one'], ['two', 'three']]) {
        const { reasons } = await outcomes(group.map(add))
        expect(reasons).to.have.lengthOf(group.length)
        for (const reason of reasons) {
          expect(reason).to.be.an.instanceOf(kind)
          expect(kind === Error ? reason : (reason as Error).cause).to.equal(broken)
        }
      }
    })
  }

  it('reject with the error of a disk that fails before their commit', async () => {
    const broken = Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR_FSYNC' })
    const failing = writes.add(() => {
      throw broken
    })
    expect(await failing.catch((error) => error)).to.equal(broken)
  })

  it('all fail while another process locks the file, and later ones succeed', async () => {
    database.pragma('busy_timeout = 0')
    otherConnection.exec('begin immediate')
    const { reasons } = await outcomes([note('one'), note('two')])
    for (const reason of reasons) expect(reason).to.have.property('code', 'SQLITE_BUSY')
    expect(reasons).to.have.length(2)
    otherConnection.exec('rollback')
    await note('three')
    expect(notes()).to.deep.equal(['three'])
  })

  it('reject with StoreUnavailable if SQLite rolls back their transaction by itself', async () => {
    const noRoom = new Error('the disk is full')
    const full = writes.add(() => {
      database.exec('rollback')
      throw noRoom
    })
    const { reasons } = await outcomes([note('one'), full, note('three')])
    expect(reasons).to.have.length(3)
    for (const reason of reasons) {
      expect(reason).to.be.an.instanceOf(StoreUnavailable)
      expect(reason).to.have.property('cause', noRoom)
    }
    expect(notes()).to.deep.equal([])
    await note('four')
    expect(notes()).to.deep.equal(['four'])
  })

  it('form the next group while the previous one is being committed', async () => {
    const late: Promise<unknown>[] = []
    await writes.add((run) => {
      run(insert('one'))
      late.push(note('two'), note('three'))
    })
    expect(notes()).to.deep.equal(['one'])
    await Promise.all(late)
    expect(notes()).to.deep.equal(['one', 'two', 'three'])
    expect(count('begin immediate')).to.equal(2)
  })

  it('are bounded in each group and in the queue', async () => {
    const { MAX_GROUP_SIZE, MAX_WAITING } = Batcher
    const nothing = () => writes.add(() => undefined)
    const waiting = Promise.all(Array.from({ length: MAX_WAITING }, nothing))
    expect(writes.pending).to.equal(MAX_WAITING)
    await expectRejection(nothing(), StoreUnavailable)
    await waiting
    expect(writes.pending).to.equal(0)
    expect(count('begin immediate')).to.equal(MAX_WAITING / MAX_GROUP_SIZE)
    await note('one')
    expect(notes()).to.deep.equal(['one'])
  })
})

describe('Concurrent reads', () => {
  openNotes()

  let reads: Batcher<Job>

  beforeEach(() => {
    reads = new Batcher(readInOneSnapshot(database))
    database.exec("insert into notes (text) values ('one')")
  })

  const texts = () => reads.add((run) => run(allTexts))

  it('share the snapshot that the first of them takes', async () => {
    const before = texts()
    otherConnection.exec("insert into notes (text) values ('two')")
    const meanwhile = reads.add(() => otherConnection.exec("insert into notes (text) values ('three')"))
    const seen = [{ text: 'one' }, { text: 'two' }]
    expect(await Promise.all([before, meanwhile, texts()])).to.have.deep.ordered.members([seen, otherConnection, seen])
    expect(await texts()).to.deep.equal([...seen, { text: 'three' }])
  })

  it('share a transaction; a single read has none', async () => {
    await texts()
    expect(count('begin')).to.equal(0)
    await Promise.all([texts(), texts()])
    expect([count('begin'), count('commit')]).to.deep.equal([1, 1])
  })

  it('succeed although another one fails', async () => {
    const wrong = reads.add((run) => run(statement('select nothing from nowhere')))
    const { succeeded, reasons } = await outcomes([texts(), wrong, texts()])
    expect(succeeded).to.equal(2)
    expect(reasons[0]).to.have.property('code', 'SQLITE_ERROR')
  })
})
