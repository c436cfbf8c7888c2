import { expect } from 'chai'
import type { Test } from 'supertest'
import { describeApi, PASSWORD, REGISTER, TASKS } from './api.ts'

const TIMES = 20

/** How often each status is answered to requests that are all sent before any is answered. */
async function statusesOf(request: (index: number) => Test): Promise<Record<number, number>> {
  const answers = await Promise.all(Array.from({ length: TIMES }, (_, index) => request(index)))
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

describeApi('Twenty requests at once', (api) => {
  it('register one address once', async () => {
    const body = { email: 'race@example.com', password: PASSWORD }
    expect(await statusesOf(() => api.post(REGISTER).send(body))).to.deep.equal({ 201: 1, 409: 19 })
  })

  it('register one address once, however it is spelled', async () => {
    const spellings = ['race-2@example.com', ' race-2@example.com', 'race-2@EXAMPLE.com', 'race-2@Example.Com\n']
    const email = (index: number) => spellings[index % spellings.length]
    const statuses = await statusesOf((index) => api.post(REGISTER).send({ email: email(index), password: PASSWORD }))
    expect(statuses).to.deep.equal({ 201: 1, 409: 19 })
  })

  it('register twenty addresses', async () => {
    const body = (index: number) => ({ email: `crowd-${index}@example.com`, password: PASSWORD })
    expect(await statusesOf((index) => api.post(REGISTER).send(body(index)))).to.deep.equal({ 201: 20 })
  })

  it('create twenty tasks with twenty ids', async () => {
    const jane = await api.signUp()
    expect(await statusesOf((index) => jane.post(TASKS).send({ title: `Task ${index}` }))).to.deep.equal({ 201: 20 })
    const ids = (await jane.listTasks()).map(({ id }) => id)
    expect(new Set(ids)).to.have.property('size', TIMES)
  })

  it('delete a task once', async () => {
    const jane = await api.signUp()
    const { id } = await jane.createTask()
    expect(await statusesOf(() => jane.delete(`${TASKS}/${id}`))).to.deep.equal({ 204: 1, 404: 19 })
  })

  it('that edit different members all survive', async () => {
    const jane = await api.signUp()
    const { id } = await jane.createTask()
    const edits = [{ title: 'New' }, { description: 'new' }, { completed: true }]
    for (let round = 0; round < 5; round++) {
      await jane.editTask(id, { title: 'Old', description: null, completed: false })
      await Promise.all(edits.map((edit) => jane.editTask(id, edit)))
      expect(await jane.getTask(id)).to.include({ title: 'New', description: 'new', completed: true })
    }
  })

  it('that edit one task each move the time of its last change', async () => {
    const jane = await api.signUp()
    const { id } = await jane.createTask()
    const edits = Array.from({ length: TIMES }, () => jane.editTask(id, { completed: true }))
    const times = (await Promise.all(edits)).map((task) => task.updated_at)
    expect(new Set(times)).to.have.property('size', TIMES)
    expect((await jane.getTask(id)).updated_at).to.equal(times.sort().at(-1))
  })

  it('that delete and edit a task leave it deleted', async () => {
    const jane = await api.signUp()
    const { id } = await jane.createTask()
    const path = `${TASKS}/${id}`
    const statuses = await statusesOf((index) =>
      index === 10 ? jane.delete(path) : jane.patch(path).send({ title: `Task ${index}` }),
    )
    expect(statuses[204]).to.equal(1)
    expect((statuses[200] ?? 0) + (statuses[404] ?? 0)).to.equal(19)
    await jane.get(path).expect(404)
  })
})
