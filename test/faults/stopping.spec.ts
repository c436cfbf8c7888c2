import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { json } from 'node:stream/consumers'
import { expect } from 'chai'
import { Client, Service, until } from './service.ts'

/** Longer than a test lasts. */
const NEVER = '3600'

/** Requests whose handling has begun: each has been told to go on with its body, and keeps it back. */
async function requestsInFlight({ url, token }: Client, count: number): Promise<ClientRequest[]> {
  const requests = Array.from({ length: count }, (_, index) => {
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': bodyOf(index).length,
      expect: '100-continue',
    }
    return request(`${url}/api/v1/tasks`, { method: 'POST', headers, agent: false })
  })
  const begun = requests.map((each) => once(each, 'continue'))
  for (const each of requests) each.flushHeaders()
  await Promise.all(begun)
  return requests
}

const bodyOf = (index: number) => JSON.stringify({ title: `Task ${String(index).padStart(3, '0')}` })

async function refusesConnections(url: string): Promise<boolean> {
  try {
    await fetch(`${url}/livez`)
    return false
  } catch {
    return true
  }
}

describe('Stopping', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`answers the requests in flight on ${signal}, takes no new ones, and ends with 0`, async () => {
      const service = new Service({ DATABASE_URL: 'sqlite:///tasks.db', SHUTDOWN_TIMEOUT: NEVER })
      const url = await service.url()
      const client = await Client.registered(url)
      const requests = await requestsInFlight(client, 20)

      service.signal(signal)
      await until(() => refusesConnections(url))
      const answers = requests.map(async (each, index) => {
        each.end(bodyOf(index))
        const [answer] = (await once(each, 'response')) as [IncomingMessage]
        expect(answer.statusCode).to.equal(201)
        return json(answer)
      })
      const acknowledged = await Promise.all(answers)
      expect(await service.exit()).to.equal(0)

      const again = new Service({ DATABASE_URL: 'sqlite:///tasks.db' })
      expect(await client.at(await again.url()).missing(acknowledged as never[])).to.deep.equal([])
    })
  }

  it('cuts a client off that is stuck, after SHUTDOWN_TIMEOUT, and ends with 0 all the same', async () => {
    const limits = { SHUTDOWN_TIMEOUT: '1', HEADERS_TIMEOUT: '10', REQUEST_TIMEOUT: NEVER }
    const service = new Service({ DATABASE_URL: 'memory:', ...limits })
    const requests = await requestsInFlight(await Client.registered(await service.url()), 3)
    const cut = requests.map((each) => once(each, 'error'))
    service.signal('SIGTERM')
    for (const [error] of await Promise.all(cut)) expect(error).to.have.property('code', 'ECONNRESET')
    expect(await service.exit()).to.equal(0)
  })

  it('tells a load balancer for SHUTDOWN_DELAY that it stops, and serves meanwhile', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', SHUTDOWN_DELAY: NEVER })
    const client = await Client.registered(await service.url())
    expect((await client.send('GET', '/readyz')).status).to.equal(200)

    service.signal('SIGTERM')
    await until(async () => (await client.send('GET', '/readyz')).status === 503)
    const answer = await client.send('GET', '/readyz')
    expect(await answer.json()).to.include({ status: 503, code: 'shutting_down' })
    expect(answer.headers.get('retry-after')).to.match(/^\d+$/)
    await Promise.all(Array.from({ length: 20 }, (_, index) => client.task(`Task ${index}`)))
    expect(await client.tasks()).to.have.lengthOf(20)
    expect((await client.send('GET', '/livez')).status).to.equal(200)
  })

  it('stops once SHUTDOWN_DELAY is over', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', SHUTDOWN_DELAY: '1' })
    await service.url()
    service.signal('SIGTERM')
    expect(await service.exit()).to.equal(0)
  })
})
