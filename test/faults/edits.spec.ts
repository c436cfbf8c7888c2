import { expect } from 'chai'
import { persistentSets } from '#test/adapter-sets.ts'
import { allowProcesses, Service } from '#test/process.ts'
import { Client, type Task } from './client.ts'
import { EditHistory, EditLoad } from './edit-load.ts'

const WRITERS = 8

describe('A history of edits', () => {
  const created: Task = { id: 1, title: 'Created', revision: 1 }
  const titled = (title: string, revision: number): Task => ({ id: 1, title, revision })
  let history: EditHistory

  beforeEach(() => {
    history = new EditHistory()
    history.created(created)
  })

  function acknowledge(expected: number, title: string, revision: number): void {
    history.sent({ ...created, revision: expected }, title)
    history.read(titled(title, revision))
  }

  it('is sound if each edit follows the one before, even one whose response was lost', () => {
    acknowledge(1, 'one', 3)
    history.sent(titled('one', 3), 'unanswered')
    history.sent(titled('one', 3), 'refused')
    history.refused(created, 'refused')
    history.read(titled('unanswered', 4))
    acknowledge(4, 'two', 9)
    history.sent(titled('two', 9), 'unanswered and not made')
    expect(history.violations([titled('two', 9)])).to.deep.equal([])
  })

  it('has a lost update if two edits of one revision succeed', () => {
    acknowledge(1, 'one', 2)
    acknowledge(1, 'two', 3)
    expect(history.violations([titled('two', 3)]).join()).to.match(/two edits of revision 1 succeeded/)
  })

  it('has a lost update if an acknowledged edit is gone', () => {
    acknowledge(1, 'one', 2)
    expect(history.violations([created]).join()).to.match(/the edits after revision 2 are lost/)
    expect(history.violations([]).join()).to.match(/the edits after revision 2 are lost/)
  })

  it('has a lost update if one revision is read with two titles', () => {
    acknowledge(1, 'one', 2)
    acknowledge(2, 'two', 3)
    acknowledge(2, 'other', 3)
    expect(history.violations([titled('other', 3)]).join()).to.match(/revision 3 is “two” and “other”/)
  })

  it('is unsound if a refused edit is stored, or a revision descends', () => {
    history.sent(created, 'refused')
    history.refused(created, 'refused')
    expect(history.violations([titled('refused', 2)]).join()).to.match(/“refused” was refused or never sent/)
    acknowledge(2, 'one', 1)
    expect(history.violations([titled('one', 1)])).to.not.deep.equal([])
  })
})

for (const { name, databaseUrl } of persistentSets) {
  describe(`Two instances that edit the same tasks (${name})`, () => {
    allowProcesses()

    it('lose no edit, and no acknowledged one when one of them is killed', async () => {
      const environment = { DATABASE_URL: await databaseUrl() }
      const kept = new Service(environment)
      const client = await Client.signUp(await kept.url())
      const history = new EditHistory()
      const tasks = await EditLoad.createTasks(client, history)
      for (let round = 0; round < 2; round++) {
        const killed = new Service(environment)
        const other = client.at(await killed.url())
        const load = new EditLoad(
          history,
          Array.from({ length: WRITERS }, (_, writer) => (writer % 2 ? client : other)),
          tasks,
        )
        await load.waitForAcknowledged(100)
        killed.signal('SIGKILL')
        await killed.exitCode()
        await load.waitForAcknowledged(50)
        await load.stop()
      }
      expect(history.violations(await client.listTasks())).to.deep.equal([])
    })
  })
}
