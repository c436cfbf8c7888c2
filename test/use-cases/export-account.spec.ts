import { expect } from 'chai'
import { ExportAccount } from '#src/domain/accounts/export-account.ts'
import { anApiTokenDraft, aSessionDraft, aTaskDraft, aUserDraft } from '#test/builders.ts'
import { fakePorts } from './fakes.ts'

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}

describe('Exporting an account', () => {
  it('yields the user, the sessions, the API tokens and all tasks in pages', async () => {
    const ports = fakePorts()
    const user = (await ports.users.add(aUserDraft())).snapshot()
    await ports.sessions.start(aSessionDraft(), user)
    await ports.apiTokens.add(anApiTokenDraft())
    for (let tasks = 0; tasks < 250; tasks++) await ports.tasks.write(1, [], () => [{ add: aTaskDraft() }])
    const { epoch } = await ports.tasks.head(1)

    const exported = await new ExportAccount(ports).export({ user, credential: { kind: 'session', sessionId: 1 } })
    // A task that is added meanwhile has a revision after the position.
    await ports.tasks.write(1, [], () => [{ add: aTaskDraft() }])

    expect(exported.user).to.deep.equal(user)
    expect(exported.sessions.map(({ id }) => id)).to.deep.equal([1])
    expect(exported.apiTokens.map(({ id }) => id)).to.deep.equal([1])
    expect(exported.next).to.deep.equal({ epoch, revision: 250 })
    const pages = await all(exported.pages)
    expect(pages.map((page) => page.length)).to.deep.equal([100, 100, 51])
    const ids = pages.flat().map((task) => task.snapshot().id)
    expect(ids).to.deep.equal(Array.from({ length: 251 }, (_, index) => 251 - index))
  })

  it('yields no page without tasks', async () => {
    const ports = fakePorts()
    const user = (await ports.users.add(aUserDraft())).snapshot()
    const { pages } = await new ExportAccount(ports).export({
      user,
      credential: { kind: 'session', sessionId: undefined },
    })
    expect(await all(pages)).to.deep.equal([])
  })
})
