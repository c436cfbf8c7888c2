import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { allowProcesses, type Environment, Service } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client } from './client.ts'

/** Milliseconds between two bytes, so that no connection is ever idle. */
const INTERVAL = 200

/** Sends the first part at once, then a byte at a time. @returns the response once the connection is cut */
async function sendSlowly(socket: Socket, first: string): Promise<string> {
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(first)
  const timer = setInterval(() => socket.write('x'), INTERVAL)
  try {
    return await text(socket).catch(() => '')
  } finally {
    clearInterval(timer)
  }
}

describe('200 incomplete requests', () => {
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
        // A connection whose first request is complete.
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
    it(`are cut by ${name} while others are served`, async () => {
      const environment = { DATABASE_URL: 'sqlite:///tasks.db', KEEP_ALIVE_TIMEOUT: NEVER, ...limits }
      const service = new Service(environment)
      const client = await Client.signUp(await service.url())
      const { hostname, port } = new URL(client.url)

      const beginnings = Array.from({ length: 100 }, () => first(client)).flat()
      let unfinished = beginnings.length
      const ends = beginnings.map(async (beginning) => {
        const answer = await sendSlowly(connect(Number(port), hostname), beginning)
        unfinished--
        return answer
      })
      let served = 0
      for (; unfinished > 0; served++) await client.createTask(`Task ${served}`)
      expect(served).to.be.greaterThan(0)
      // 408 from Node's parser or from the service, or no response, but never a created task.
      for (const answer of await Promise.all(ends)) {
        expect(answer).to.match(/^(?:HTTP\/1\.1 200 .*\{"status":"ok"\})?(?:HTTP\/1\.1 408 |$)/s)
      }
      expect(await client.listTasks()).to.have.lengthOf(served)
    })
  }

  it('get 408 if nothing more is sent', async () => {
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
    // Late headers are not a request yet, so they are not logged.
    await waitUntil(() => /"status":(?:408|499)/.test(service.output))
    expect(service.output.match(/"status":(?:408|499)/g)).to.deep.equal(['"status":408'])
  })
})

describe('A request that the service handles longer than REQUEST_TIMEOUT', () => {
  allowProcesses()

  it('is served, because the timeout is for receiving it', async () => {
    const service = new Service({ DATABASE_URL: 'memory:', BCRYPT_ROUNDS: '12', REQUEST_TIMEOUT: '1' })
    const url = await service.url()
    const logins = Array.from({ length: 20 }, () => {
      const body = new URLSearchParams({ username: 'unknown@example.com', password: 'wrong horse' })
      return fetch(`${url}/api/v1/auth/login`, { method: 'POST', body })
    })
    for (const { status } of await Promise.all(logins)) expect(status).to.equal(401)
  })
})
