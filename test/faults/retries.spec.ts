import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect } from 'chai'
import { persistentSets, postgresql } from '#test/adapter-sets.ts'
import { Api, TASKS, type User } from '#test/http/api.ts'
import { startProxy } from '#test/postgresql-proxy.ts'
import { allowProcesses, Service } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client, type Task } from './client.ts'

const WRITERS = 16

for (const { name, databaseUrl } of persistentSets) {
  describe(`SIGKILL during writes with idempotency keys (${name})`, () => {
    allowProcesses()

    it('leaves one task for each request that is sent again until it is answered', async () => {
      const environment = { DATABASE_URL: await databaseUrl(), RATE_LIMIT_ENABLED: 'false' }
      let service = new Service(environment)
      let client = await Client.signUp(await service.url())
      const acknowledged: Task[] = []
      let replayed = 0
      let stopped = false

      async function attempt(title: string): Promise<boolean> {
        const answer = await client.send('POST', '/api/v1/tasks', { title }, { 'idempotency-key': title })
        const task = (await answer.json()) as Task
        if (answer.status !== 201) return false
        acknowledged.push(task)
        replayed += Number(answer.headers.has('idempotency-replayed'))
        return true
      }
      async function write(writer: number): Promise<void> {
        for (let number = 0; !stopped; number++) {
          await waitUntil(() => attempt(`${writer}/${number}`).catch(() => false))
        }
      }

      const writers = Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)))
      for (let round = 1; round <= 5; round++) {
        await waitUntil(() => acknowledged.length >= 200 * round)
        service.signal('SIGKILL')
        await service.exitCode()
        service = new Service(environment)
        client = client.at(await service.url())
      }
      stopped = true
      await writers
      const byId = (one: Task, other: Task) => one.id - other.id
      expect((await client.listTasks()).sort(byId)).to.deep.equal(acknowledged.sort(byId))
      console.log(`      ${replayed} of ${acknowledged.length} answers were replayed`)
    })
  })
}

describe('Writes with idempotency keys while connections to PostgreSQL are cut', () => {
  it('have one effect, whenever the connection breaks', async () => {
    const proxy = await startProxy(new URL(await postgresql.databaseUrl()))
    const api = new Api()
    const post = (user: User, key: string) => user.post(TASKS).set('Idempotency-Key', key).send({ title: 'Ship' })
    await api.start({ DATABASE_URL: proxy.url.href })
    try {
      const jane = await api.signUp()
      const statuses = new Set<number>()
      for (let round = 0; round < 15; round++) {
        const first = post(jane, `${round}`).then((answer) => answer)
        for (let turn = 0; turn < 4 * round; turn++) await nextTurn()
        await proxy.cut()
        statuses.add((await first).status)
        await proxy.restore()
        await waitUntil(async () => (await post(jane, `${round}`)).status === 201)
        expect(await jane.listTasks()).to.have.lengthOf(round + 1)
      }
      expect(statuses).to.include(503)
    } finally {
      await api.stop()
      await proxy.cut()
    }
  })
})
