import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { Client, Service } from './service.ts'

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

describe('Requests that are sent half', () => {
  it('are cut off by HEADERS_TIMEOUT and REQUEST_TIMEOUT, 200 at once, while others are served', async () => {
    const limits = { HEADERS_TIMEOUT: '1', REQUEST_TIMEOUT: '2', KEEP_ALIVE_TIMEOUT: '3600' }
    const service = new Service({ DATABASE_URL: 'sqlite:///tasks.db', ...limits })
    const client = await Client.registered(await service.url())
    const { hostname, port } = new URL(client.url)
    const start = `POST /api/v1/tasks HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${client.token}\r\n`
    const slow = {
      headers: `${start}X-Slow: `,
      body: `${start}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"title": "`,
      chunks: `${start}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n{"title": "`,
      // One that was served before, and is slow with its next request.
      second: `GET /livez HTTP/1.1\r\nHost: ${hostname}\r\n\r\n${start}`,
    }

    const sockets = Array.from({ length: 50 }, () => Object.values(slow)).flat()
    let left = sockets.length
    const ends = sockets.map(async (first) => {
      const answer = await drip(connect(Number(port), hostname), first)
      left--
      return answer
    })
    let served = 0
    for (; left > 0; served++) await client.task(`Task ${served}`)
    expect(served).to.be.greaterThan(0)
    // The parser's own words, or none where an answer had begun; never that the request was carried out.
    for (const answer of await Promise.all(ends))
      expect(answer).to.match(/^(?:HTTP\/1\.1 200 .*)?(?:HTTP\/1\.1 408 |$)/s)
    expect(await client.tasks()).to.have.lengthOf(served)
  })
})
