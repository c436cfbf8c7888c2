import { once } from 'node:events'
import { connect } from 'node:net'
import { expect } from 'chai'
import { freePort } from '#test/free-port.ts'
import { allowProcesses, Service } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client, refusesConnections } from './client.ts'
import { finishRequest, startRequests } from './requests-in-flight.ts'

/** Seconds, longer than a test lasts. */
const NEVER = '3600'

const CHANGES = '/api/v1/tasks/changes'

/** The number of requests that all workers are answering. */
async function activeRequests(metricsPort: string): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  const values = metrics.matchAll(/^http_server_active_requests(?:\{.*\})? (\d+)$/gm)
  return Array.from(values, ([, value]) => Number(value)).reduce((sum, value) => sum + value, 0)
}

describe('Stopping', () => {
  allowProcesses()

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`completes the requests in flight on ${signal}, accepts no others, and exits with 0`, async () => {
      const service = new Service({ DATABASE_URL: 'sqlite:///tasks.db', SHUTDOWN_TIMEOUT: NEVER })
      const url = await service.url()
      const client = await Client.signUp(url)
      const requests = await startRequests(client, 20)

      service.signal(signal)
      await waitUntil(() => refusesConnections(url))
      const acknowledged = await Promise.all(requests.map(finishRequest))
      expect(await service.exitCode()).to.equal(0)

      const again = new Service({ DATABASE_URL: 'sqlite:///tasks.db' })
      expect(await client.at(await again.url()).findLost(acknowledged)).to.deep.equal([])
    })
  }

  for (const { name, environment } of [
    { name: 'one process', environment: {} },
    { name: 'workers', environment: { WEB_CONCURRENCY: '2' } },
  ]) {
    it(`ends event streams and answers long polls at once, and exits with 0 (${name})`, async () => {
      const METRICS_PORT = String(await freePort())
      const usual = { DATABASE_URL: 'sqlite:///tasks.db', SHUTDOWN_TIMEOUT: NEVER, METRICS_PORT }
      const service = new Service({ ...usual, ...environment })
      const client = await Client.signUp(await service.url())
      const { next_since: since } = (await (await client.send('GET', CHANGES)).json()) as { next_since: string }
      const streams = await Promise.all([1, 2, 3, 4].map(() => client.send('GET', '/api/v1/tasks/events')))
      const readers = streams.map(({ body }) => (body as ReadableStream<Uint8Array>).getReader())
      for (const reader of readers) expect((await reader.read()).done).to.equal(false)
      const polls = [1, 2, 3, 4].map(() => client.send('GET', `${CHANGES}?since=${since}&wait=30`))
      await waitUntil(async () => (await activeRequests(METRICS_PORT)) === streams.length + polls.length)

      service.signal('SIGTERM')
      for (const answer of await Promise.all(polls)) {
        expect(answer.status).to.equal(200)
        expect(await answer.json()).to.deep.equal({ items: [], deleted: [], next_since: since, has_more: false })
      }
      for (const reader of readers) expect((await reader.read()).done).to.equal(true)
      expect(await service.exitCode()).to.equal(0)
    })
  }

  it('cuts a stuck client after SHUTDOWN_TIMEOUT and exits with 0', async () => {
    const limits = { SHUTDOWN_TIMEOUT: '1', HEADERS_TIMEOUT: '10', REQUEST_TIMEOUT: NEVER }
    const service = new Service({ DATABASE_URL: 'memory:', ...limits })
    const requests = await startRequests(await Client.signUp(await service.url()), 3)
    const cut = requests.map((each) => once(each, 'error'))
    service.signal('SIGTERM')
    for (const [error] of await Promise.all(cut)) expect(error).to.have.property('code', 'ECONNRESET')
    expect(await service.exitCode()).to.equal(0)
  })

  it('does not wait for an idle connection', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', SHUTDOWN_TIMEOUT: NEVER, HEADERS_TIMEOUT: NEVER })
    const { hostname, port } = new URL(await service.url())
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    service.signal('SIGTERM')
    await once(socket.resume(), 'close')
    expect(await service.exitCode()).to.equal(0)
  })

  for (const { name, environment } of [
    { name: 'one process', environment: { DATABASE_URL: 'memory:' } },
    { name: 'workers', environment: { DATABASE_URL: 'sqlite:///tasks.db', WEB_CONCURRENCY: '2' } },
  ]) {
    it(`leaves a limited time for flushing traces (${name})`, async () => {
      const sending = "process.on('SIGTERM',()=>setTimeout(()=>console.log('sent'),200));"
      const endless = "process.on('SIGTERM',()=>setInterval(()=>{},1e3))"
      const hook = `data:text/javascript,${encodeURIComponent(sending + endless)}`
      const service = new Service({ ...environment, NODE_OPTIONS: `--import=${hook}` })
      await service.url()
      service.signal('SIGTERM')
      expect(await service.exitCode()).to.equal(0)
      expect(service.output.match(/^sent$/gm)).to.have.lengthOf(name === 'workers' ? 3 : 1)
    })
  }

  it('keeps serving for SHUTDOWN_DELAY while /readyz returns 503', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', SHUTDOWN_DELAY: NEVER })
    const client = await Client.signUp(await service.url())
    expect((await client.send('GET', '/readyz')).status).to.equal(200)

    service.signal('SIGTERM')
    await waitUntil(async () => (await client.send('GET', '/readyz')).status === 503)
    const answer = await client.send('GET', '/readyz')
    expect(await answer.json()).to.include({ status: 503, code: 'shutting_down' })
    expect(answer.headers.get('retry-after')).to.match(/^\d+$/)
    expect(answer.headers.get('connection')).to.equal('close')
    await Promise.all(Array.from({ length: 20 }, (_, index) => client.createTask(`Task ${index}`)))
    expect(await client.listTasks()).to.have.lengthOf(20)
    expect((await client.send('GET', '/livez')).status).to.equal(200)
  })

  it('stops once SHUTDOWN_DELAY is over', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', SHUTDOWN_DELAY: '1' })
    await service.url()
    service.signal('SIGTERM')
    expect(await service.exitCode()).to.equal(0)
  })
})
