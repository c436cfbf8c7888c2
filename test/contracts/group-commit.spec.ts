import { setImmediate as nextTurn } from 'node:timers/promises'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { Batcher, fulfilled } from '#src/adapters/mikro-orm/group-commit.ts'
import { statement } from '#src/adapters/mikro-orm/prepared-query.ts'
import {
  type Job,
  type Run,
  readInOneSnapshot,
  runInOneTransaction,
} from '#src/adapters/mikro-orm/sqlite/sqlite-store.ts'
import { OutcomeUnknown, StoreUnavailable } from '#src/domain/errors.ts'
import { sqlite } from '#test/adapter-sets.ts'
import { expectRejection, outcomes } from '#test/contracts/repositories.ts'

const insert = (text: string) => statement('insert into notes (text) values (?) returning id', [text])
/** Of a parent that is not there, which SQLite finds out when it commits. */
const insertOrphan = (text: string) =>
  statement('insert into notes (text, parent) values (?, 999) returning id', [text])
const allTexts = statement('select text from notes order by id')

let database: BetterSqlite3.Database
let ran: string[]
/** Another process, which sees only what is committed. */
let onlooker: BetterSqlite3.Database

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
    onlooker = new BetterSqlite3(path, { timeout: 0 })
  })
  afterEach(() => {
    onlooker.close()
    database.close()
  })
}

const notes = () => onlooker.prepare('select text from notes order by id').pluck().all()
const count = (sql: string) => ran.filter((each) => each === sql).length

describe('A batcher', () => {
  /** The batcher that began, each with how to end it. */
  let begun: { readonly size: number; readonly end: () => void }[]
  let batcher: Batcher<string>

  beforeEach(() => {
    begun = []
    const run = async (jobs: readonly string[]) => {
      await new Promise<void>((end) => begun.push({ size: jobs.length, end }))
      return jobs.map(fulfilled)
    }
    batcher = new Batcher(run, 2)
  })

  const sizes = () => begun.map(({ size }) => size)

  it('take what comes until the sockets that are ready were read, and begin once for it', async () => {
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

  it('are under way at a time as many as may be, and no more', async () => {
    const all: Promise<unknown>[] = []
    for (const work of ['one', 'two', 'three', 'four']) {
      all.push(batcher.add(work))
      await nextTurn()
    }
    expect([sizes(), batcher.unanswered]).to.deep.equal([[1, 1], 4])
    begun[1]?.end()
    expect(await all[1]).to.equal('two')
    await nextTurn()
    await nextTurn()
    expect([sizes(), batcher.unanswered]).to.deep.equal([[1, 1, 2], 3])
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

  it('are one transaction where they come at the same time', async () => {
    await Promise.all(['one', 'two', 'three'].map(note))
    expect(notes()).to.deep.equal(['one', 'two', 'three'])
    expect([count('begin immediate'), count('commit')]).to.deep.equal([1, 1])
  })

  it('are answered with what each found', async () => {
    const texts = (run: Run) => run(allTexts)
    const answers = await Promise.all([writes.add(texts), note('one'), writes.add(texts)])
    expect(answers).to.deep.equal([[], [{ id: 1 }], [{ text: 'one' }]])
  })

  it('are answered only after the commit', async () => {
    const seen: unknown[] = []
    const first = note('one').then(() => seen.push(notes()))
    const second = writes.add((run) => {
      run(insert('two'))
      seen.push(notes())
    })
    await Promise.all([first, second])
    expect(seen).to.deep.equal([[], ['one', 'two']])
  })

  it('harm no other when one fails, which leaves nothing behind', async () => {
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

  it('all fail when their commit does, and those after them do not', async () => {
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
    it(`are rejected with ${kind.name} when their commit fails with ${code}`, async () => {
      const broken = Object.assign(new Error('disk I/O error'), { code })
      // The disk of a test does not fail: this commit rolls back instead, and says otherwise.
      const { transaction } = database
      database.transaction = ((work: (given: never) => unknown) => {
        const failing = (given: never) => {
          database.exec('begin immediate')
          work(given)
          database.exec('rollback')
          throw broken
        }
        const real = transaction.call(database, work)
        return Object.assign((given: never) => real(given), { immediate: failing })
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

  it('are not done when the disk fails before their commit', async () => {
    const broken = Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR_FSYNC' })
    const failing = writes.add(() => {
      throw broken
    })
    expect(await failing.catch((error) => error)).to.equal(broken)
  })

  it('all fail when another process keeps the file, and those after them do not', async () => {
    database.pragma('busy_timeout = 0')
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

  it('form the next group while one is committed', async () => {
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

  it('are bounded: in one group, and while they wait', async () => {
    const { MAX_GROUP_SIZE, MAX_WAITING } = Batcher
    const nothing = () => writes.add(() => undefined)
    const waiting = Promise.all(Array.from({ length: MAX_WAITING }, nothing))
    expect(writes.unanswered).to.equal(MAX_WAITING)
    await expectRejection(nothing(), StoreUnavailable)
    await waiting
    expect(writes.unanswered).to.equal(0)
    expect(count('begin immediate')).to.equal(MAX_WAITING / MAX_GROUP_SIZE)
    await note('one')
    expect(notes()).to.deep.equal(['one'])
  })
})

describe('Reads that come at the same time', () => {
  openNotes()

  let reads: Batcher<Job>

  beforeEach(() => {
    reads = new Batcher(readInOneSnapshot(database))
    database.exec("insert into notes (text) values ('one')")
  })

  const texts = () => reads.add((run) => run(allTexts))

  it('see one moment, that at which the first of them is done', async () => {
    const before = texts()
    onlooker.exec("insert into notes (text) values ('two')")
    const meanwhile = reads.add(() => onlooker.exec("insert into notes (text) values ('three')"))
    const seen = [{ text: 'one' }, { text: 'two' }]
    expect(await Promise.all([before, meanwhile, texts()])).to.have.deep.ordered.members([seen, onlooker, seen])
    expect(await texts()).to.deep.equal([...seen, { text: 'three' }])
  })

  it('are in no transaction alone, and in one together', async () => {
    await texts()
    expect(count('begin')).to.equal(0)
    await Promise.all([texts(), texts()])
    expect([count('begin'), count('commit')]).to.deep.equal([1, 1])
  })

  it('harm no other when one fails', async () => {
    const wrong = reads.add((run) => run(statement('select nothing from nowhere')))
    const { succeeded, reasons } = await outcomes([texts(), wrong, texts()])
    expect(succeeded).to.equal(2)
    expect(reasons[0]).to.have.property('code', 'SQLITE_ERROR')
  })
})
