import { expect } from 'chai'
import type { Test } from 'supertest'
import { describeApi, PASSWORD, REGISTER, TASKS } from './api.ts'

const TIMES = 20

/** Sends the requests concurrently and counts the responses by status. */
async function statusesOf(request: (index: number) => Test): Promise<Record<number, number>> {
  const answers = await Promise.all(Array.from({ length: TIMES }, (_, index) => request(index)))
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

describeApi('Twenty concurrent requests', (api) => {
  it('register one address once in one spelling', async () => {
    const body = { email: 'race@example.com', password: PASSWORD }
    expect(await statusesOf(() => api.post(REGISTER).send(body))).to.deep.equal({ 201: 1, 409: 19 })
  })

  it('register one address once in several spellings', async () => {
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

  it('lose no edit of different members', async () => {
    const jane = await api.signUp()
    const { id } = await jane.createTask()
    const edits = [{ title: 'New' }, { description: 'new' }, { completed: true }]
    for (let round = 0; round < 5; round++) {
      await jane.editTask(id, { title: 'Old', description: null, completed: false })
      await Promise.all(edits.map((edit) => jane.editTask(id, edit)))
      expect(await jane.getTask(id)).to.include({ title: 'New', description: 'new', completed: true })
    }
  })

  it('each advance updated_at when they edit one task', async () => {
    const jane = await api.signUp()
    const { id } = await jane.createTask()
    const edits = Array.from({ length: TIMES }, () => jane.editTask(id, { completed: true }))
    const times = (await Promise.all(edits)).map((task) => task.updated_at)
    expect(new Set(times)).to.have.property('size', TIMES)
    expect((await jane.getTask(id)).updated_at).to.equal(times.sort().at(-1))
  })

  it('leave a task deleted when one of them deletes it and the others edit it', async () => {
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
