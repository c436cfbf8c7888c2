import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { Api, ME } from './api.ts'

/** Sends a request without the checks of `Api`: Node's parser may respond instead of the application. */
async function answerTo(url: string, headers: Record<string, string> = {}, agent: Agent | false = false) {
  const request = httpRequest(url, { headers, agent }).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return { status: response.statusCode, headers: response.headers, body: await text(response) }
}

describe('The server', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:', KEEP_ALIVE_TIMEOUT: '90' }))
  after(() => api.stop())

  it('accepts a token of 12 KiB', async () => {
    const { status, body } = await answerTo(api.url + ME, { authorization: `Bearer ${'x'.repeat(12 * 1_024)}` })
    expect(status).to.equal(401)
    expect(JSON.parse(body).code).to.equal('invalid_token')
  })

  it('returns 431 for more than 16 KiB of headers, in one or in many', async () => {
    const many = Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`x-${index}`, 'x'.repeat(1_000)]))
    for (const headers of [{ authorization: `Bearer ${'x'.repeat(16 * 1_024)}` }, many])
      expect((await answerTo(`${api.url}/health`, headers)).status).to.equal(431)
    expect((await answerTo(`${api.url}/${'x'.repeat(16 * 1_024)}`)).status).to.equal(431)
    expect((await answerTo(`${api.url}/health`)).status).to.equal(200)
  })

  it('keeps a connection alive and returns its timeout in Keep-Alive', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let request = 0; request < 2; request++) {
      const { headers } = await answerTo(`${api.url}/health`, {}, agent)
      expect(headers.connection).to.equal('keep-alive')
      expect(headers['keep-alive']).to.equal('timeout=90')
    }
    expect(Object.values(agent.freeSockets).flat()).to.have.length(1)
    agent.destroy()
  })
})

/** Opens connections to a service from different loopback addresses. */
class Clients {
  readonly #api: Api
  readonly #open = new Set<Socket>()

  constructor(api: Api) {
    this.#api = api
  }

  /** @returns undefined when the server closes the connection */
  async connect(localAddress = '127.0.0.1'): Promise<Socket | undefined> {
    const { hostname, port } = new URL(this.#api.url)
    const socket = connect({ port: Number(port), host: hostname, localAddress }).on('error', () => undefined)
    this.#open.add(socket)
    return (await this.isServed(socket)) ? socket : undefined
  }

  /** Whether the server responds to a request on the connection. */
  isServed(socket: Socket): Promise<boolean> {
    return new Promise((resolve) => {
      socket.once('data', () => resolve(true)).once('close', () => resolve(false))
      socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n')
    })
  }

  close(): void {
    for (const socket of this.#open) socket.destroy()
  }
}

describe('A server with MAX_CONNECTIONS open connections', () => {
  const api = new Api()
  const clients = new Clients(api)
  // `Api` holds one of the three connections.
  before(() => api.start({ DATABASE_URL: 'memory:', MAX_CONNECTIONS: '3' }))
  after(() => {
    clients.close()
    return api.stop()
  })

  it('closes further connections at once until one of them ends', async () => {
    const kept: Socket[] = []
    const another = async (): Promise<boolean> => {
      const socket = await clients.connect()
      if (socket) kept.push(socket)
      return socket !== undefined
    }
    while (await another());
    expect(kept.length).to.be.within(2, 3)
    for (const socket of kept) expect(await clients.isServed(socket)).to.equal(true)

    kept.shift()?.destroy()
    while (!(await another()));
    for (const socket of kept) expect(await clients.isServed(socket)).to.equal(true)
  })
})

describe('A client with MAX_CONNECTIONS_PER_CLIENT open connections', () => {
  const limit = { DATABASE_URL: 'memory:', MAX_CONNECTIONS_PER_CLIENT: '3' }
  let api: Api
  let clients: Clients
  beforeEach(() => {
    api = new Api()
    clients = new Clients(api)
  })
  afterEach(() => {
    clients.close()
    return api.stop()
  })

  it('cannot open another until one of them ends, while other clients can', async () => {
    await api.start(limit)
    const [first, ...others] = await Promise.all(Array.from({ length: 3 }, () => clients.connect('127.0.0.2')))
    expect(first).to.not.equal(undefined)
    expect(others).to.not.include(undefined)
    for (let refused = 0; refused < 100; refused++) expect(await clients.connect('127.0.0.2')).to.equal(undefined)
    expect(await clients.connect('127.0.0.3')).to.not.equal(undefined)
    for (const socket of others) expect(await clients.isServed(socket as Socket)).to.equal(true)

    first?.destroy()
    while (!(await clients.connect('127.0.0.2')));
    expect(await clients.connect('127.0.0.2')).to.equal(undefined)
  })

  it('is not limited if it is a trusted proxy', async () => {
    await api.start({ ...limit, TRUST_PROXY: '1' })
    for (let open = 0; open < 10; open++) expect(await clients.connect('127.0.0.2')).to.not.equal(undefined)
  })
})
