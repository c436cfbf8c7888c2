import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { Api, ME } from './api.ts'

/** Sends a request without any of the harness' rules: what answers may not be the application. */
async function answerTo(url: string, headers: Record<string, string> = {}, agent: Agent | false = false) {
  const request = httpRequest(url, { headers, agent }).end()
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return { status: response.statusCode, headers: response.headers, body: await text(response) }
}

describe('The server', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:', KEEP_ALIVE_TIMEOUT: '90' }))
  after(() => api.stop())

  it('takes a token of 12 kB, and says 401 to it as to any other', async () => {
    const { status, body } = await answerTo(api.url + ME, { authorization: `Bearer ${'x'.repeat(12 * 1_024)}` })
    expect(status).to.equal(401)
    expect(JSON.parse(body).code).to.equal('invalid_token')
  })

  it('answers 431 to more than 16 KB of headers, however many they are', async () => {
    const many = Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`x-${index}`, 'x'.repeat(1_000)]))
    for (const headers of [{ authorization: `Bearer ${'x'.repeat(16 * 1_024)}` }, many])
      expect((await answerTo(`${api.url}/health`, headers)).status).to.equal(431)
    expect((await answerTo(`${api.url}/${'x'.repeat(16 * 1_024)}`)).status).to.equal(431)
    expect((await answerTo(`${api.url}/health`)).status).to.equal(200)
  })

  it('keeps a connection for the next request, and says for how long', async () => {
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

describe('A server that has as many connections as it may have', () => {
  const api = new Api()
  // One of them is the harness' own.
  before(() => api.start({ DATABASE_URL: 'memory:', MAX_CONNECTIONS: '3' }))
  after(() => api.stop())

  it('closes another at once, goes on with those, and takes more when one ends', async () => {
    const { hostname, port } = new URL(api.url)
    const kept: Socket[] = []
    /** Whether there is an answer on that connection. */
    const isServed = (socket: Socket) =>
      new Promise<boolean>((resolve) => {
        socket.once('data', () => resolve(true)).once('close', () => resolve(false))
        socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n')
      })
    const another = async (): Promise<boolean> => {
      const socket = connect(Number(port), hostname).on('error', () => undefined)
      const served = await isServed(socket)
      if (served) kept.push(socket)
      return served
    }
    while (await another());
    expect(kept.length).to.be.within(2, 3)
    for (const socket of kept) expect(await isServed(socket)).to.equal(true)

    kept.shift()?.destroy()
    while (!(await another()));
    for (const socket of kept) expect(await isServed(socket)).to.equal(true)
    for (const socket of kept) socket.destroy()
  })
})
