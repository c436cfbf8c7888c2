import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect } from 'chai'
import { type ListeningServer, listen } from '#src/adapters/http/server.ts'
import { LONG_TIMEOUTS, NO_LIFECYCLE } from './server-options.ts'

/** A request that the server has started and the test responds to. */
interface Started {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly context: string | undefined
}

const HOST = 'Host: x\r\n'
const get = (path: string, headers = '') => `GET ${path} HTTP/1.1\r\n${HOST}${headers}\r\n`
const post = (path: string, body: string) =>
  `POST ${path} HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n${body}`
const chunked = (path: string, body: string) =>
  `POST ${path} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`

describe('A connection with pipelined requests', () => {
  let server: ListeningServer
  let started: Started[]
  let client: Socket
  let received: string
  let over: boolean
  let contextOf: () => string | undefined
  let onStart: (request: Started) => void

  beforeEach(async () => {
    started = []
    received = ''
    over = false
    contextOf = () => undefined
    onStart = (request) => started.push(request)
    server = await listen((req, res) => onStart({ req, res, context: contextOf() }), LONG_TIMEOUTS, NO_LIFECYCLE)
    client = await connected()
    client.on('data', (data) => {
      received += data
    })
  })
  afterEach(async () => {
    over = true
    client.destroy()
    await server.close()
  })

  async function connected(): Promise<Socket> {
    const { hostname, port } = new URL(server.url)
    const socket = connect(Number(port), hostname).on('error', () => undefined)
    await once(socket, 'connect')
    return socket
  }

  const paths = () => started.map(({ req }) => req.url)

  /** Resolves once that request has started. */
  async function start(path: string): Promise<Started> {
    for (;;) {
      const found = started.find(({ req }) => req.url === path)
      if (found) return found
      await turn()
    }
  }

  /** Waits for one turn of the event loop. Throws once the test is over, to end loops that still wait. */
  const turn = async () => {
    if (over) throw new Error('The test is over.')
    await new Promise((resolve) => setImmediate(resolve))
  }

  /** Responds with the path as the body. */
  async function answer(path: string, headers: Record<string, string> = {}): Promise<void> {
    const { req, res } = await start(path)
    res.writeHead(200, headers).end(`<${req.url}>`)
  }

  async function receives(pattern: RegExp): Promise<void> {
    while (!pattern.test(received)) await turn()
  }

  /** Resolves after other connections got responses. By then the server has started every request that it will start. */
  async function settled(): Promise<void> {
    for (let round = 0; round < 5; round++) {
      const other = await connected()
      const path = `/other-${Math.random()}`
      other.write(get(path))
      await answer(path)
      await once(other, 'data')
      other.destroy()
      started = started.filter(({ req }) => req.url !== path)
    }
  }

  const bodies = () => [...received.matchAll(/<(\/[^>]*)>/g)].map(([, path]) => path)

  it('starts one request at a time, in order', async () => {
    client.write(get('/0') + get('/1') + get('/2'))
    for (const path of ['/0', '/1', '/2']) {
      await start(path)
      await settled()
      expect(paths().at(-1)).to.equal(path)
      await answer(path)
    }
    await receives(/<\/2>/)
    expect(bodies()).to.deep.equal(['/0', '/1', '/2'])
  })

  it('lets other connections be served between any two requests', async () => {
    const count = 100
    const turns: number[] = []
    let current = 0
    const countTurns = () => {
      current++
      if (!over) setImmediate(countTurns)
    }
    countTurns()
    onStart = ({ res }) => {
      turns.push(current)
      res.end()
    }
    client.write(get('/').repeat(count))
    while (turns.length < count) await turn()
    expect(new Set(turns)).to.have.length(count)
  })

  it('starts the next request once the response before it is written to the socket', async () => {
    client.pause()
    client.write(get('/0') + get('/1'))
    const { res } = await start('/0')
    res.end(Buffer.alloc(16 * 1024 * 1024))
    await settled()
    expect(paths()).to.deep.equal(['/0'])
    client.resume()
    await answer('/1')
  })

  it('is not read while a request waits', async () => {
    const padding = `X-Padding: ${'x'.repeat(1_000)}\r\n`
    const count = 400
    client.write(Array.from({ length: count }, (_, index) => get(`/${index}`, padding)).join(''))
    const { req } = await start('/0')
    await settled()
    expect(req.socket.bytesRead).to.be.at.most(2 * 64 * 1024)
    for (let index = 0; index < count; index++) {
      await start(`/${index}`)
      expect(started).to.have.length(index + 1)
      await answer(`/${index}`)
    }
    await receives(new RegExp(`</${count - 1}>`))
    expect(bodies()).to.deep.equal(Array.from({ length: count }, (_, index) => `/${index}`))
  })

  it('is not read while a request waits, even if the current one reads its body or its response drains', async () => {
    client.pause()
    client.write(post('/0', 'body') + get('/1') + get('/2', `X-Padding: ${'x'.repeat(10_000)}\r\n`).repeat(40))
    const { req, res } = await start('/0')
    expect(await text(req)).to.equal('body')
    res.write(Buffer.alloc(16 * 1024 * 1024))
    await settled()
    client.resume()
    await once(res, 'drain')
    await settled()
    expect(req.socket.bytesRead).to.be.at.most(2 * 64 * 1024)
    res.end()
  })

  for (const [name, request] of Object.entries({ 'Content-Length': post, chunks: chunked })) {
    it(`delivers the whole body of a request that waited (${name})`, async () => {
      const body = 'x'.repeat(1024 * 1024)
      client.write(get('/0') + request('/1', body) + request('/2', body) + get('/3'))
      await start('/0')
      await settled()
      await answer('/0')
      for (const path of ['/1', '/2']) {
        const { req } = await start(path)
        expect((await text(req)).length).to.equal(body.length)
        await answer(path)
      }
      await answer('/3')
      await receives(/<\/3>/)
      expect(bodies()).to.deep.equal(['/0', '/1', '/2', '/3'])
    })
  }

  it('starts a request with Expect in its turn', async () => {
    const expecting = (path: string, expectation: string) => get(path, `Expect: ${expectation}\r\n`)
    client.write(expecting('/0', '100-continue') + expecting('/1', '100-continue') + expecting('/2', 'x'))
    for (const path of ['/0', '/1', '/2']) {
      const { res } = await start(path)
      await settled()
      expect(paths().at(-1)).to.equal(path)
      res.writeContinue()
      await answer(path)
    }
    await receives(/<\/2>/)
    expect(received.match(/ 100 |<.*?>/g)).to.deep.equal([' 100 ', '</0>', ' 100 ', '</1>', ' 100 ', '</2>'])
  })

  it('may mix responses with and without a body', async () => {
    client.write(`HEAD /0 HTTP/1.1\r\n${HOST}\r\n${get('/1')}${get('/2')}${get('/3')}`)
    await answer('/0')
    ;(await start('/1')).res.writeHead(204).end()
    ;(await start('/2')).res.writeHead(304).end()
    await answer('/3')
    await receives(/<\/3>/)
    expect(received.match(/HTTP\/1.1 \d+/g)).to.have.length(4)
    expect(bodies()).to.deep.equal(['/3'])
  })

  it('ends after the response to an upgrade request, because Node may have skipped the next ones', async () => {
    client.write(get('/0') + get('/1', 'Connection: Upgrade\r\nUpgrade: websocket\r\n') + get('/2'))
    await answer('/0')
    await answer('/1')
    await once(client, 'close')
    expect(bodies()).to.deep.equal(['/0', '/1'])
    expect(received.match(/connection: \S+/gi)).to.deep.equal(['Connection: keep-alive', 'Connection: close'])
    expect(paths()).to.deep.equal(['/0', '/1'])
  })

  it('starts each request in its own async context', async () => {
    const traces = new AsyncLocalStorage<string | undefined>()
    contextOf = () => traces.getStore()
    const trace = (message: unknown) => traces.enterWith((message as { request: IncomingMessage }).request.url)
    subscribe('http.server.request.start', trace)
    try {
      client.write(get('/0') + get('/1') + get('/2'))
      for (const path of ['/0', '/1', '/2']) await answer(path)
      await receives(/<\/2>/)
      expect(started.map(({ context }) => context)).to.deep.equal(['/0', '/1', '/2'])
    } finally {
      unsubscribe('http.server.request.start', trace)
    }
  })

  it('starts no waiting request after the client has left', async () => {
    client.write(get('/0') + post('/1', 'body') + post('/2', 'body'))
    const { res } = await start('/0')
    client.resetAndDestroy()
    // The server notices a reset only when it writes.
    while (!res.destroyed) {
      res.write(Buffer.alloc(1024 * 1024))
      await turn()
    }
    await settled()
    expect(paths()).to.deep.equal(['/0'])
  })

  it('ends after the response to a request with Connection: close, and starts nothing after it', async () => {
    client.write(get('/0') + get('/1', 'Connection: close\r\n') + get('/2'))
    await settled()
    await answer('/0')
    await answer('/1')
    await once(client, 'close')
    expect(bodies()).to.deep.equal(['/0', '/1'])
    expect(received.match(/HTTP\/1.1 \d+/g)).to.have.length(2)
    expect(paths()).to.deep.equal(['/0', '/1'])
  })

  it('starts nothing after a request that Node rejects', async () => {
    client.write(`GET /0 HTTP/1.1\r\n\r\n${get('/1')}${get('/2')}`)
    await once(client, 'close')
    await settled()
    expect(received).to.match(/^HTTP\/1.1 400 /)
    expect(paths()).to.deep.equal([])
  })

  it('is closed if too many requests wait on all connections together', async () => {
    const flood = get('/').repeat(2_000)
    for (let round = 0; round < 2; round++) {
      const others = await Promise.all(Array.from({ length: 8 }, connected))
      const closed = others.map((other) => once(other, 'close'))
      for (const other of others) other.write(flood)
      await Promise.race(closed)
      for (const other of others) other.destroy()
      await settled()
    }
    client.write(get('/0') + get('/1'))
    await answer('/0')
    await answer('/1')
    await receives(/<\/1>/)
  })

  it('ends after the response to an HTTP/1.0 request', async () => {
    client.write(`${get('/0')}GET /1 HTTP/1.0\r\n\r\n${get('/2')}`)
    await settled()
    await answer('/0')
    await answer('/1')
    await once(client, 'close')
    expect(bodies()).to.deep.equal(['/0', '/1'])
    expect(paths()).to.deep.equal(['/0', '/1'])
  })

  it('ends after the response to an HTTP/1.0 request with a transfer coding, despite keep-alive', async () => {
    const chunks = `Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`
    client.write(`POST /0 HTTP/1.0\r\n${chunks}${get('/1')}`)
    await answer('/0')
    await once(client, 'close')
    expect(received).to.match(/connection: close/i)
    expect(paths()).to.deep.equal(['/0'])
  })

  it('ends after a response with Connection: close, and starts nothing after it', async () => {
    client.write(get('/0') + get('/1') + get('/2'))
    await answer('/0', { connection: 'close' })
    await once(client, 'close')
    await settled()
    expect(paths()).to.deep.equal(['/0'])
  })

  it('serves all requests of a client that has closed its side', async () => {
    client.end(get('/0') + get('/1') + get('/2'))
    for (const path of ['/0', '/1', '/2']) {
      await start(path)
      await settled()
      await answer(path)
    }
    await once(client, 'close')
    expect(bodies()).to.deep.equal(['/0', '/1', '/2'])
  })

  it('is closed at once if the client of a single request leaves', async () => {
    client.end(get('/0'))
    const { res } = await start('/0')
    await once(res, 'close')
    expect(res.writableFinished).to.equal(false)
  })

  const malformed: Readonly<Record<string, { readonly bytes: string; readonly status: number }>> = {
    'a malformed request': { bytes: 'nonsense\r\n\r\n', status: 400 },
    'too many headers': { bytes: get('/2', `X: ${'x'.repeat(17 * 1024)}\r\n`), status: 431 },
    'a malformed body': {
      bytes: `POST /2 HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
      status: 400,
    },
  }
  for (const [name, { bytes, status }] of Object.entries(malformed)) {
    it(`sends earlier responses before it rejects ${name} with ${status}`, async () => {
      client.write(get('/0') + get('/1') + bytes)
      for (const path of ['/0', '/1']) {
        await start(path)
        await settled()
        await answer(path)
      }
      await once(client, 'close')
      expect(received.match(/HTTP\/1.1 \d+|<.*?>/g)).to.deep.equal([
        ...['HTTP/1.1 200', '</0>', 'HTTP/1.1 200', '</1>', `HTTP/1.1 ${status}`],
      ])
      expect(paths()).to.deep.equal(['/0', '/1'])
    })
  }

  it('sends earlier responses if the client leaves in the middle of another request', async () => {
    client.end(`${get('/0')}${get('/1')}GET /2 HTTP/1.1\r\nX-Ha`)
    for (const path of ['/0', '/1']) {
      await start(path)
      await settled()
      await answer(path)
    }
    await once(client, 'close')
    expect(bodies()).to.deep.equal(['/0', '/1'])
  })
})
