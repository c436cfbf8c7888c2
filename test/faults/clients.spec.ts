import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { allowProcesses, type Environment, Service } from '#test/process.ts'
import { Client, waitUntil } from './client.ts'

/** Milliseconds between two bytes: no connection is ever idle. */
const DRIP = 200

/** Sends the first part at once and the rest drop by drop, without end. Gives what came back once it was cut off. */
async function drip(socket: Socket, first: string): Promise<string> {
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(first)
  const drops = setInterval(() => socket.write('x'), DRIP)
  try {
    return await text(socket).catch(() => '')
  } finally {
    clearInterval(drops)
  }
}

describe('200 requests that are sent half', () => {
  allowProcesses()

  const NEVER = '3600'
  const start = ({ token }: Client) =>
    `POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n`
  const json = 'Content-Type: application/json\r\n'

  const slow: Readonly<Record<string, { readonly limits: Environment; first(client: Client): readonly string[] }>> = {
    HEADERS_TIMEOUT: {
      limits: { HEADERS_TIMEOUT: '1', REQUEST_TIMEOUT: NEVER },
      first: (client) => [
        `${start(client)}X-Slow: `,
        // One that was served before, and is slow with its next request.
        `GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n${start(client)}X-Slow: `,
      ],
    },
    REQUEST_TIMEOUT: {
      limits: { HEADERS_TIMEOUT: '1', REQUEST_TIMEOUT: '2' },
      first: (client) => [
        `${start(client)}${json}Content-Length: 100000\r\n\r\n{"title": "`,
        `${start(client)}${json}Transfer-Encoding: chunked\r\n\r\nffff\r\n{"title": "`,
      ],
    },
  }

  for (const [name, { limits, first }] of Object.entries(slow)) {
    it(`are cut off by ${name} while others are served`, async () => {
      const environment = { DATABASE_URL: 'sqlite:///tasks.db', KEEP_ALIVE_TIMEOUT: NEVER, ...limits }
      const service = new Service(environment)
      const client = await Client.signUp(await service.url())
      const { hostname, port } = new URL(client.url)

      const beginnings = Array.from({ length: 100 }, () => first(client)).flat()
      let left = beginnings.length
      const ends = beginnings.map(async (beginning) => {
        const answer = await drip(connect(Number(port), hostname), beginning)
        left--
        return answer
      })
      let served = 0
      for (; left > 0; served++) await client.createTask(`Task ${served}`)
      expect(served).to.be.greaterThan(0)
      // Nothing but a timeout, in the words of the parser or in ours; never that the request was carried out.
      for (const answer of await Promise.all(ends)) {
        expect(answer).to.match(/^(?:HTTP\/1\.1 200 .*\{"status":"ok"\})?(?:HTTP\/1\.1 408 |$)/s)
      }
      expect(await client.listTasks()).to.have.lengthOf(served)
    })
  }

  it('are answered with 408 when nothing more comes', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', HEADERS_TIMEOUT: '1', REQUEST_TIMEOUT: '1' })
    const client = await Client.signUp(await service.url())
    const { hostname, port } = new URL(client.url)
    const halves = [`${start(client)}X-Slow: `, `${start(client)}${json}Content-Length: 100000\r\n\r\n{"title": "`]
    const answers = halves.map(async (half) => {
      const socket = connect(Number(port), hostname)
      socket.write(half)
      return text(socket)
    })
    for (const answer of await Promise.all(answers)) expect(answer).to.match(/^HTTP\/1\.1 408 /)
    // Of headers that are late there is no request yet.
    await waitUntil(() => /"status":(?:408|499)/.test(service.output))
    expect(service.output.match(/"status":(?:408|499)/g)).to.deep.equal(['"status":408'])
  })
})

describe('A request that waits for the service longer than REQUEST_TIMEOUT', () => {
  allowProcesses()

  it('is answered: that time is for the client', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', BCRYPT_ROUNDS: '12', REQUEST_TIMEOUT: '1' })
    const url = await service.url()
    const logins = Array.from({ length: 20 }, () => {
      const body = new URLSearchParams({ username: 'nobody@example.com', password: 'wrong horse' })
      return fetch(`${url}/api/v1/auth/login`, { method: 'POST', body })
    })
    for (const { status } of await Promise.all(logins)) expect(status).to.equal(401)
  })
})
