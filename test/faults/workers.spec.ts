import { existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { postgresql, sqlite } from '#test/adapter-sets.ts'
import { freePort } from '#test/free-port.ts'
import { allowProcesses, folder, Service, testEnds } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client, refusesConnections, type Task, TIMEOUT, WriteLoad } from './client.ts'
import { EditHistory, EditLoad } from './edit-load.ts'
import { PostgresqlServer } from './postgresql-server.ts'
import { finishRequest, startRequests } from './requests-in-flight.ts'

const workersOf = ({ pid }: Service): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)

/** Whether a process runs. A zombie, in state Z, does not. */
function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Sends requests on new connections until stopped. Each is served, or cut if its worker ends; none may hang. */
class NewConnectionLoad {
  readonly #end: Promise<unknown>
  answered = 0
  #stopped = false

  constructor(url: string) {
    this.#end = Promise.all(Array.from({ length: 8 }, () => this.#ask(url)))
  }

  async #ask(url: string): Promise<void> {
    const testEnd = testEnds
    while (!this.#stopped && !testEnd.aborted) {
      const answer = await fetch(`${url}/livez`, {
        headers: { connection: 'close' },
        signal: AbortSignal.timeout(TIMEOUT),
      }).catch((error: Error) => expect(error.name).to.not.equal('TimeoutError'))
      if (answer instanceof Response) this.answered += Number(answer.status === 200)
    }
  }

  async waitForAnswers(): Promise<void> {
    const enough = this.answered + 50
    await waitUntil(() => this.answered >= enough)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#end
  }
}

describe('WEB_CONCURRENCY=2', () => {
  allowProcesses()

  it('rejects memory:, which workers cannot share', async () => {
    const message = await new Service({ WEB_CONCURRENCY: '2', DATABASE_URL: 'memory:' }).failureMessage()
    expect(message).to.match(/^WEB_CONCURRENCY must .*memory:.*$/)
  })

  it('warns once that the schema is not up to date', async () => {
    const DATABASE_URL = await sqlite.databaseUrl()
    const service = new Service({ WEB_CONCURRENCY: '2', DATABASE_URL, MIGRATE_ON_START: 'false' })
    await service.url()
    service.signal('SIGTERM')
    expect(await service.exitCode()).to.equal(0)
    expect(service.output.match(/not up to date/g)).to.have.lengthOf(1)
  })

  it('ends even if a worker is stuck', async () => {
    const DATABASE_URL = await sqlite.databaseUrl()
    const service = new Service({ WEB_CONCURRENCY: '2', DATABASE_URL, SHUTDOWN_TIMEOUT: '1' })
    await service.url()
    const [stuck = 0] = workersOf(service)
    process.kill(stuck, 'SIGSTOP')
    service.signal('SIGTERM')
    expect(await service.exitCode()).to.equal(0)
    expect(isRunning(stuck)).to.equal(false)
  })

  it('leaves no worker behind and exits with 0 if it is stopped while they start', async () => {
    const service = new Service({ WEB_CONCURRENCY: '2', DATABASE_URL: await sqlite.databaseUrl() })
    await waitUntil(() => workersOf(service).length > 0)
    const workers = workersOf(service)
    service.signal('SIGTERM')
    expect(await service.exitCode()).to.equal(0)
    expect(workers.filter(isRunning)).to.deep.equal([])
    expect(service.output).to.not.match(/"level":"(?:error|fatal)"|node:/)
  })

  it('replaces a worker until a replacement starts', async () => {
    const server = await PostgresqlServer.start()
    try {
      const PORT = String(await freePort())
      const service = new Service({ WEB_CONCURRENCY: '2', PORT, DATABASE_URL: server.url })
      await service.url()
      const [first = 0, second = 0] = workersOf(service)
      await server.kill()
      process.kill(first, 'SIGKILL')
      await service.waitForOutput(/cannot be opened/)
      await server.start()
      await waitUntil(() => workersOf(service).length === 2)
      expect(workersOf(service)).to.include(second).and.not.include(first)
    } finally {
      await server.remove()
    }
  })

  it('creates no SQLite file in place of one that was moved away, and recovers when it is back', async () => {
    const PORT = String(await freePort())
    const service = new Service({ WEB_CONCURRENCY: '2', PORT, DATABASE_URL: 'sqlite:///tasks.db' })
    const client = await Client.signUp(await service.url())
    const database = join(folder, 'tasks.db')
    const [first = 0] = workersOf(service)
    renameSync(database, `${database}-away`)
    process.kill(first, 'SIGKILL')
    await Promise.all([
      service.waitForOutput(/The SQLite database \S+ cannot be opened/),
      service.waitForOutput(/tasks\.db was removed or replaced under the service/),
    ])
    expect(existsSync(database)).to.equal(false)
    renameSync(`${database}-away`, database)
    await service.waitForOutput(/tasks\.db is back"/)
    await waitUntil(() => workersOf(service).length === 2)
    const task = await client.createTask('Ship')
    expect(await client.findLost([task])).to.deep.equal([])
  })

  for (const { name, databaseUrl } of [sqlite, postgresql]) {
    describe(`on ${name}`, () => {
      let service: Service
      let client: Client

      beforeEach(async () => {
        // With PORT=0 the port could change once all workers were killed.
        const PORT = String(await freePort())
        service = new Service({ WEB_CONCURRENCY: '2', PORT, DATABASE_URL: await databaseUrl() })
        client = await Client.signUp(await service.url())
      })

      it('replaces a killed worker, keeps serving, and loses no acknowledged task or edit', async () => {
        const acknowledged: Task[] = []
        const history = new EditHistory()
        const edited = await EditLoad.createTasks(client, history)
        const edits = new EditLoad(history, [client, client, client, client], edited)
        const others = new NewConnectionLoad(client.url)
        for (const round of [1, 2]) {
          const [first = 0, second = 0] = workersOf(service)
          const load = new WriteLoad(client, 8)
          await load.waitForAcknowledged(100)
          process.kill(first, 'SIGKILL')
          await waitUntil(() => !isRunning(first))
          await others.waitForAnswers()
          await waitUntil(() => service.output.match(/Worker exited; replacing it/g)?.length === round)
          await waitUntil(() => workersOf(service).length === 2)
          expect(workersOf(service)).to.include(second).and.not.include(first)
          await others.waitForAnswers()
          await load.stop()
          acknowledged.push(...load.acknowledged)
        }
        await Promise.all([others.stop(), edits.stop()])
        expect(await client.findLost(acknowledged)).to.deep.equal([])
        expect(history.violations(await client.listTasks())).to.deep.equal([])
        expect(service.alive).to.equal(true)
      })

      for (const [how, stop] of [
        ['SIGTERM', () => service.signal('SIGTERM')],
        ['SIGINT to all processes', () => service.signalAll('SIGINT')],
      ] as const) {
        it(`drains all workers on ${how} and exits with 0`, async () => {
          const workers = workersOf(service)
          const requests = await startRequests(client, 20)
          stop()
          await waitUntil(() => refusesConnections(client.url))
          await Promise.all(requests.map(finishRequest))
          expect(await service.exitCode()).to.equal(0)
          expect(workers.filter(isRunning)).to.deep.equal([])
          expect(service.output).to.not.match(/"level":"(?:error|fatal)"/)
        })
      }

      it('leaves no worker behind if the primary is killed', async () => {
        const workers = workersOf(service)
        expect(workers.filter(isRunning)).to.have.lengthOf(2)
        const load = new WriteLoad(client, 8)
        await load.waitForAcknowledged(100)
        service.signal('SIGKILL')
        await waitUntil(() => workers.filter(isRunning).length === 0)
        await load.disconnected()
      })
    })
  }
})
