import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { mock } from 'node:test'
import { expect } from 'chai'
import { type ListeningServer, listen } from '#src/adapters/http/server.ts'
import { LONG_TIMEOUTS, NO_LIFECYCLE } from './server-options.ts'

const SECOND = 1_000
/** Milliseconds; longer than the server's interval. */
const CLOSING_INTERVAL = 100
const MEBIBYTE = 1024 * 1024

describe('A connection that writes a response (REQUEST_TIMEOUT of three seconds)', () => {
  let server: ListeningServer
  let client: Socket
  let res: ServerResponse
  let received: number
  let over: boolean

  beforeEach(async () => {
    mock.timers.enable({ apis: ['setInterval'] })
    received = 0
    over = false
    let begin: (started: ServerResponse) => void = () => undefined
    const response = new Promise<ServerResponse>((resolve) => {
      begin = resolve
    })
    server = await listen(
      (_, started) => begin(started),
      { ...LONG_TIMEOUTS, requestTimeout: 3, shutdownTimeout: 3_600 },
      NO_LIFECYCLE,
    )
    client = connect(Number(new URL(server.url).port), '127.0.0.1').on('error', () => undefined)
    client.on('data', ({ length }) => {
      received += length
    })
    client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    res = await response
  })
  afterEach(async () => {
    over = true
    client.destroy()
    mock.timers.reset()
    await server.close()
  })

  async function turns(): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
  }

  async function receives(bytes: number): Promise<void> {
    const enough = received + bytes
    client.resume()
    while (received < enough && !over) await turns()
    client.pause()
    await turns()
  }

  it('is cut after REQUEST_TIMEOUT if the client reads nothing', async () => {
    client.pause()
    res.end(Buffer.alloc(128 * MEBIBYTE))
    await turns()
    for (let second = 0; second < 3; second++) {
      mock.timers.tick(SECOND)
      await turns()
      expect(res.destroyed, `after ${second + 1} s`).to.equal(false)
    }
    mock.timers.tick(SECOND)
    await once(res, 'close')
    expect(res.writableFinished).to.equal(false)
  })

  it('is kept while the client reads slowly, even within a single write', async () => {
    client.pause()
    res.end(Buffer.alloc(64 * MEBIBYTE))
    await turns()
    for (let piece = 0; piece < 3; piece++) {
      for (let second = 0; second < 3; second++) mock.timers.tick(SECOND)
      await receives(4 * MEBIBYTE)
    }
    client.resume()
    if (!res.closed) await once(res, 'close')
    expect(res.writableFinished).to.equal(true)
  })

  it('is kept while the response is late or pauses between two parts', async () => {
    for (let second = 0; second < 10; second++) mock.timers.tick(SECOND)
    res.write('part')
    await once(client, 'data')
    for (let second = 0; second < 10; second++) mock.timers.tick(SECOND)
    expect(res.destroyed).to.equal(false)
    res.end('rest')
    await once(client, 'data')
  })

  it('writes its response to the end while the server closes', async () => {
    client.pause()
    res.setHeader('Connection', 'close').end(Buffer.alloc(32 * MEBIBYTE))
    await turns()
    const closed = server.close()
    await turns()
    for (let check = 0; check < 5; check++) mock.timers.tick(CLOSING_INTERVAL)
    client.resume()
    await once(res, 'close')
    expect(res.writableFinished).to.equal(true)
    await closed
  })
})
