import { existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { postgresql, sqlite } from '#test/adapter-sets.ts'
import { freePort } from '#test/free-port.ts'
import { allowProcesses, folder, Service, testEnds } from '#test/process.ts'
import { Client, refusesConnections, type Task, TIMEOUT, WriteLoad, waitUntil } from './client.ts'
import { PostgresqlServer } from './postgresql-server.ts'
import { finished, requestsInFlight } from './requests-in-flight.ts'

const workersOf = ({ pid }: Service): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)

/** One that has ended and that nobody has asked about yet is there as well, marked Z. */
function lives(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Asks on new connections for as long as nobody says stop. Each is answered, or cut where a worker ends; none hangs. */
class NewConnections {
  readonly #end: Promise<unknown>
  answered = 0
  #stopped = false

  constructor(url: string) {
    this.#end = Promise.all(Array.from({ length: 8 }, () => this.#ask(url)))
  }

  async #ask(url: string): Promise<void> {
    const ends = testEnds
    while (!this.#stopped && !ends.aborted) {
      const answer = await fetch(`${url}/livez`, {
        headers: { connection: 'close' },
        signal: AbortSignal.timeout(TIMEOUT),
      }).catch((error: Error) => expect(error.name).to.not.equal('TimeoutError'))
      if (answer instanceof Response) this.answered += Number(answer.status === 200)
    }
  }

  async areAnswered(): Promise<void> {
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

  it('refuses memory:, which the workers would not share', async () => {
    const message = await new Service({ WEB_CONCURRENCY: '2', DATABASE_URL: 'memory:' }).refusal()
    expect(message).to.match(/^WEB_CONCURRENCY must .*memory:.*$/)
  })

  it('warns once that the schema is not up to date, however many workers there are', async () => {
    const DATABASE_URL = await sqlite.databaseUrl()
    const service = new Service({ WEB_CONCURRENCY: '2', DATABASE_URL, MIGRATE_ON_START: 'false' })
    await service.url()
    service.signal('SIGTERM')
    expect(await service.exit()).to.equal(0)
    expect(service.output.match(/not up to date/g)).to.have.lengthOf(1)
  })

  it('ends though a worker is stuck', async () => {
    const DATABASE_URL = await sqlite.databaseUrl()
    const service = new Service({ WEB_CONCURRENCY: '2', DATABASE_URL, SHUTDOWN_TIMEOUT: '1' })
    await service.url()
    const [stuck = 0] = workersOf(service)
    process.kill(stuck, 'SIGSTOP')
    service.signal('SIGTERM')
    expect(await service.exit()).to.equal(0)
    expect(lives(stuck)).to.equal(false)
  })

  it('leaves no worker behind when it is stopped while they start, and ends with 0', async () => {
    const service = new Service({ WEB_CONCURRENCY: '2', DATABASE_URL: await sqlite.databaseUrl() })
    await waitUntil(() => workersOf(service).length > 0)
    const workers = workersOf(service)
    service.signal('SIGTERM')
    expect(await service.exit()).to.equal(0)
    expect(workers.filter(lives)).to.deep.equal([])
    expect(service.output).to.not.match(/"level":(?:50|60)|node:/)
  })

  it('replaces a worker as often as it takes, where what takes its place fails as well', async () => {
    const server = await PostgresqlServer.started()
    try {
      const PORT = String(await freePort())
      const service = new Service({ WEB_CONCURRENCY: '2', PORT, DATABASE_URL: server.url })
      await service.url()
      const [first = 0, second = 0] = workersOf(service)
      await server.kill()
      process.kill(first, 'SIGKILL')
      await service.printed(/cannot be opened/)
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
    await service.printed(/The SQLite database \S+ cannot be opened/)
    expect(existsSync(database)).to.equal(false)
    renameSync(`${database}-away`, database)
    await service.printed(/tasks\.db is back"/)
    await waitUntil(() => workersOf(service).length === 2)
    const task = await client.createTask('Ship')
    expect(await client.findLost([task])).to.deep.equal([])
  })

  for (const { name, databaseUrl } of [sqlite, postgresql]) {
    describe(`on ${name}`, () => {
      let service: Service
      let client: Client

      beforeEach(async () => {
        // A free one could be another one when the last worker was killed.
        const PORT = String(await freePort())
        service = new Service({ WEB_CONCURRENCY: '2', PORT, DATABASE_URL: await databaseUrl() })
        client = await Client.signUp(await service.url())
      })

      it('replaces a worker that is killed, goes on serving, and loses nothing acknowledged', async () => {
        const acknowledged: Task[] = []
        const others = new NewConnections(client.url)
        for (const round of [1, 2]) {
          const [first = 0, second = 0] = workersOf(service)
          const load = new WriteLoad(client, 8)
          await load.waitForAcknowledged(100)
          process.kill(first, 'SIGKILL')
          await waitUntil(() => !lives(first))
          await others.areAnswered()
          await waitUntil(() => service.output.match(/Worker exited; replacing it/g)?.length === round)
          await waitUntil(() => workersOf(service).length === 2)
          expect(workersOf(service)).to.include(second).and.not.include(first)
          await others.areAnswered()
          await load.stop()
          acknowledged.push(...load.acknowledged)
        }
        await others.stop()
        expect(await client.findLost(acknowledged)).to.deep.equal([])
        expect(service.alive).to.equal(true)
      })

      for (const [how, stop] of [
        ['SIGTERM', () => service.signal('SIGTERM')],
        ['a SIGINT to all of them at once', () => service.signalAll('SIGINT')],
      ] as const) {
        it(`drains all workers on ${how}, and ends with 0`, async () => {
          const workers = workersOf(service)
          const requests = await requestsInFlight(client, 20)
          stop()
          await waitUntil(() => refusesConnections(client.url))
          await Promise.all(requests.map(finished))
          expect(await service.exit()).to.equal(0)
          expect(workers.filter(lives)).to.deep.equal([])
          expect(service.output).to.not.match(/"level":(?:50|60)/)
        })
      }

      it('leaves no worker behind when the supervisor is killed', async () => {
        const workers = workersOf(service)
        expect(workers.filter(lives)).to.have.lengthOf(2)
        const load = new WriteLoad(client, 8)
        await load.waitForAcknowledged(100)
        service.signal('SIGKILL')
        await waitUntil(() => workers.filter(lives).length === 0)
        await load.disconnected()
      })
    })
  }
})
