import { once } from 'node:events'
import { connect } from 'node:net'
import { expect } from 'chai'
import { allowProcesses, Service } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client, refusesConnections } from './client.ts'
import { finishRequest, startRequests } from './requests-in-flight.ts'

/** Seconds, longer than a test lasts. */
const NEVER = '3600'

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
      expect(await service.exit()).to.equal(0)

      const again = new Service({ DATABASE_URL: 'sqlite:///tasks.db' })
      expect(await client.at(await again.url()).findLost(acknowledged)).to.deep.equal([])
    })
  }

  it('cuts a stuck client after SHUTDOWN_TIMEOUT and exits with 0', async () => {
    const limits = { SHUTDOWN_TIMEOUT: '1', HEADERS_TIMEOUT: '10', REQUEST_TIMEOUT: NEVER }
    const service = new Service({ DATABASE_URL: 'memory:', ...limits })
    const requests = await startRequests(await Client.signUp(await service.url()), 3)
    const cut = requests.map((each) => once(each, 'error'))
    service.signal('SIGTERM')
    for (const [error] of await Promise.all(cut)) expect(error).to.have.property('code', 'ECONNRESET')
    expect(await service.exit()).to.equal(0)
  })

  it('does not wait for an idle connection', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', SHUTDOWN_TIMEOUT: NEVER, HEADERS_TIMEOUT: NEVER })
    const { hostname, port } = new URL(await service.url())
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    service.signal('SIGTERM')
    await once(socket.resume(), 'close')
    expect(await service.exit()).to.equal(0)
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
      expect(await service.exit()).to.equal(0)
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
    expect(await service.exit()).to.equal(0)
  })
})
