import { mock } from 'node:test'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import { Api, describeApi, LOGIN, ME, TASKS } from './api.ts'
import { RawConnection } from './raw-connection.ts'

const KIB = 1_024
const LIMIT = 1_048_576

const JSON_TYPE = 'Content-Type: application/json'

/** A request whose body is rejected or ignored. */
interface Refused {
  readonly method: string
  readonly path: string
  readonly headers: readonly string[]
  readonly body: Buffer
  readonly status: number
}

/** A gzip member of 20 MiB after decompression. */
const MEMBER = gzipSync(Buffer.alloc(20 * LIMIT, ' '))
const bomb = (bytes: number) =>
  Buffer.concat(Array.from({ length: Math.ceil(bytes / MEMBER.length) }, () => MEMBER)).subarray(0, bytes)
const text = (bytes: number) => Buffer.from('{"title":"Ship"}'.padEnd(bytes))

const CHUNK = 64 * KIB
function chunked(body: Buffer): Buffer {
  const parts: (string | Buffer)[] = []
  for (let start = 0; start < body.length; start += CHUNK) {
    const chunk = body.subarray(start, start + CHUNK)
    parts.push(`${chunk.length.toString(16)}\r\n`, chunk, '\r\n')
  }
  return Buffer.concat([...parts, '0\r\n\r\n'].map((part) => Buffer.from(part)))
}

const LARGE = 40 * CHUNK

const framings: Readonly<Record<string, (body: Buffer) => { readonly header: string; readonly bytes: Buffer }>> = {
  'with its length': (body) => ({ header: `Content-Length: ${body.length}`, bytes: body }),
  'in chunks': (body) => ({ header: 'Transfer-Encoding: chunked', bytes: chunked(body) }),
}

describe('A connection with a rejected request body', () => {
  const api = new Api()
  const limited = new Api()
  let token: string
  before(async () => {
    await api.start({ DATABASE_URL: 'memory:' })
    await limited.start({ DATABASE_URL: 'memory:', RATE_LIMIT_ENABLED: 'true', RATE_LIMIT_LOGIN: '1' })
    token = (await api.signUp()).token
    await limited.post(LOGIN).send({ username: 'unknown@example.com', password: 'wrong' }).expect(401)
  })
  after(async () => {
    await api.stop()
    await limited.stop()
  })

  const signed = () => `Authorization: Bearer ${token}`
  const SMALL = 100 * KIB
  const refusals: Readonly<Record<string, () => Refused>> = {
    'over the limit': () => ({
      ...{ method: 'POST', path: TASKS, headers: [signed(), JSON_TYPE], body: text(LARGE) },
      status: 413,
    }),
    'over the limit after decompression': () => ({
      ...{ method: 'POST', path: TASKS, headers: [signed(), JSON_TYPE, 'Content-Encoding: gzip'], body: bomb(SMALL) },
      status: 413,
    }),
    'over the limit before and after decompression': () => ({
      ...{ method: 'POST', path: TASKS, headers: [signed(), JSON_TYPE, 'Content-Encoding: gzip'], body: bomb(LARGE) },
      status: 413,
    }),
    'of corrupt gzip': () => ({
      ...{ method: 'POST', path: TASKS, headers: [signed(), JSON_TYPE, 'Content-Encoding: gzip'], body: text(SMALL) },
      status: 400,
    }),
    'of corrupt Brotli': () => ({
      ...{ method: 'POST', path: TASKS, headers: [signed(), JSON_TYPE, 'Content-Encoding: br'] },
      body: Buffer.alloc(LIMIT, 0xff),
      status: 400,
    }),
    'of an unknown coding': () => ({
      ...{ method: 'POST', path: TASKS, headers: [signed(), JSON_TYPE, 'Content-Encoding: zstd'], body: text(LARGE) },
      status: 415,
    }),
    'of an unsupported media type': () => ({
      ...{ method: 'POST', path: TASKS, headers: [signed(), 'Content-Type: text/plain'], body: text(LARGE) },
      status: 415,
    }),
    'without a token': () => ({
      ...{ method: 'POST', path: TASKS, headers: [JSON_TYPE], body: text(SMALL) },
      status: 401,
    }),
    'without a token, and large': () => ({
      ...{ method: 'PATCH', path: `${TASKS}/1`, headers: [JSON_TYPE], body: text(LARGE) },
      status: 401,
    }),
    'on an unknown path': () => ({
      ...{ method: 'POST', path: '/nowhere', headers: [JSON_TYPE], body: text(LARGE) },
      status: 404,
    }),
    'with an unsupported method': () => ({
      ...{ method: 'PUT', path: TASKS, headers: [JSON_TYPE], body: text(SMALL) },
      status: 405,
    }),
    'of a GET': () => ({
      ...{ method: 'GET', path: ME, headers: [signed()], body: text(SMALL) },
      status: 200,
    }),
    'of a GET, and large': () => ({
      ...{ method: 'GET', path: ME, headers: [signed()], body: text(LARGE) },
      status: 200,
    }),
    'of a rate-limited login': () => ({
      ...{ method: 'POST', path: LOGIN, headers: [JSON_TYPE], body: text(SMALL) },
      status: 429,
    }),
  }

  const next = 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n'

  /** Expects the next request to be served unless the response announced `Connection: close`. */
  async function expectUsableOrClosed(connection: RawConnection, closes: boolean): Promise<void> {
    const answer = await connection.answer()
    if (closes) expect(answer).to.equal(undefined)
    else expect(answer).to.include({ status: 200, text: '{"status":"ok"}' })
  }

  for (const [what, refused] of Object.entries(refusals)) {
    for (const [how, frame] of Object.entries(framings)) {
      describe(`${what}, ${how}`, () => {
        let connection: RawConnection
        let head: string
        let bytes: Buffer
        let status: number
        const start = (extra: readonly string[] = []) => {
          const { method, path, headers, body, ...rest } = refused()
          const framed = frame(body)
          status = rest.status
          bytes = framed.bytes
          connection = new RawConnection((status === 429 ? limited : api).url)
          const lines = [`${method} ${path} HTTP/1.1`, 'Host: localhost', ...headers, framed.header, ...extra]
          head = `${lines.join('\r\n')}\r\n\r\n`
        }
        afterEach(() => connection.close())

        it('is usable or closed if the client sends the whole request before it reads', async () => {
          start()
          await connection.send(Buffer.concat([Buffer.from(head), bytes]))
          const answer = await connection.answer()
          expect(answer).to.include({ status })
          await connection.send(next)
          await expectUsableOrClosed(connection, answer?.headers.connection === 'close')
        })

        it('is usable or closed if another request follows immediately', async () => {
          start()
          await connection.send(Buffer.concat([Buffer.from(head), bytes, Buffer.from(next)]))
          const answer = await connection.answer()
          expect(answer).to.include({ status })
          await expectUsableOrClosed(connection, answer?.headers.connection === 'close')
        })

        it('is closed without a reset if the client sent Connection: close', async () => {
          start(['Connection: close'])
          let reset = false
          connection.socket.on('error', () => {
            reset = true
          })
          await connection.send(head)
          await connection.send(bytes)
          expect(await connection.answer()).to.include({ status })
          expect(await connection.end()).to.equal('')
          expect(reset).to.equal(false)
        })

        if (!what.startsWith('over the limit') && !what.startsWith('of corrupt')) {
          it('is usable or closed if the body follows the response', async () => {
            start()
            await connection.send(head)
            const answer = await connection.answer()
            expect(answer).to.include({ status })
            await connection.send(Buffer.concat([bytes, Buffer.from(next)]))
            await expectUsableOrClosed(connection, answer?.headers.connection === 'close')
          })
        }
      })
    }
  }

  describe('that the client continues to send', () => {
    let connection: RawConnection
    let failure: NodeJS.ErrnoException | undefined
    const open = (url: string) => {
      connection = new RawConnection(url)
      failure = undefined
      connection.socket.on('error', (error) => {
        failure = error
      })
    }
    afterEach(() => {
      mock.timers.reset()
      connection.close()
    })

    const head = (framing: string) => `POST ${TASKS} HTTP/1.1\r\nHost: localhost\r\n${JSON_TYPE}\r\n${framing}\r\n\r\n`
    const CHUNKED = 'Transfer-Encoding: chunked'

    it('is cut after 64 MiB', async () => {
      open(api.url)
      await connection.send(head(CHUNKED))
      const answer = await connection.answer()
      expect(answer).to.include({ status: 401 })
      expect(answer?.headers.connection).to.equal('close')
      const chunk = chunked(Buffer.alloc(CHUNK)).subarray(0, -5)
      let sent = 0
      for (; !connection.socket.destroyed; sent += CHUNK) await connection.send(chunk)
      // The bytes sent include those still in socket buffers.
      expect(sent).to.be.within(64 * LIMIT, 96 * LIMIT)
      expect(failure?.code).to.match(/^(?:ECONNRESET|EPIPE)$/)
    })

    it('is cut after 30 s, however slowly the client sends', async () => {
      mock.timers.enable({ apis: ['setTimeout'] })
      open(api.url)
      await connection.send(head('Content-Length: 100000000'))
      expect(await connection.answer()).to.include({ status: 401 })
      await connection.end()
      mock.timers.tick(29_999)
      for (let count = 0; count < 5; count++) await connection.send('x')
      expect(failure).to.equal(undefined)
      mock.timers.tick(1)
      while (!connection.socket.destroyed) {
        await connection.send('x')
        await new Promise((later) => setImmediate(later))
      }
      expect(failure?.code).to.match(/^(?:ECONNRESET|EPIPE)$/)
    })

    it('serves no request after an unread chunked body', async () => {
      open(api.url)
      const { id } = await api.signUp().then((jane) => jane.createTask())
      await connection.send(head(CHUNKED))
      expect(await connection.answer()).to.include({ status: 401 })
      const before = api.log.length
      const remove = `DELETE ${TASKS}/${id} HTTP/1.1\r\nHost: localhost\r\n${signed()}\r\n\r\n`
      await connection.send(Buffer.concat([chunked(text(1_000)), Buffer.from(remove)]))
      expect(await connection.end()).to.equal('')
      connection.socket.end()
      await new Promise((closed) => connection.socket.once('close', closed))
      expect(failure).to.equal(undefined)
      expect(api.log.slice(before).filter((line) => line.includes('DELETE'))).to.deep.equal([])
    })

    it('does not confuse the body with the next request', async () => {
      const smuggled = `GET ${ME} HTTP/1.1\r\nHost: localhost\r\n\r\n`
      open(api.url)
      await connection.send(`${head(`Content-Length: ${smuggled.length}`)}${smuggled}${next}`)
      expect(await connection.answer()).to.include({ status: 401 })
      expect(await connection.answer()).to.include({ status: 200, text: '{"status":"ok"}' })
    })

    it('is not reset while the service stops', async () => {
      const stopping = new Api()
      await stopping.start({ DATABASE_URL: 'memory:', SHUTDOWN_DELAY: '1' })
      open(stopping.url)
      await connection.send(next)
      await connection.answer()
      const stopped = stopping.stop()
      await connection.send(head('Content-Length: 100'))
      const answer = await connection.answer()
      expect(answer).to.include({ status: 401 })
      expect(answer?.headers.connection).to.equal('close')
      expect(await connection.end()).to.equal('')
      for (let count = 0; count < 10; count++) await connection.send('0123456789')
      connection.socket.end()
      await new Promise((closed) => connection.socket.once('close', closed))
      expect(failure).to.equal(undefined)
      await stopped
    })
  })
})

describeApi('A connection whose rejected body arrives during a database query', (api) => {
  it('is read to its end and not reset', async () => {
    const { token } = await api.signUp()
    const connection = new RawConnection(api.url)
    let failure: Error | undefined
    connection.socket.on('error', (error) => {
      failure = error
    })
    // A body larger than the socket buffers of both sides.
    const body = text(40 * LIMIT)
    const head = [
      ...[`POST ${TASKS} HTTP/1.1`, 'Host: localhost', `Authorization: Bearer ${token}`, JSON_TYPE],
      `Content-Length: ${body.length}`,
    ]
    await connection.send(`${head.join('\r\n')}\r\n\r\n${body}`)
    expect(await connection.answer()).to.include({ status: 413 })
    connection.socket.end()
    await new Promise((closed) => connection.socket.once('close', closed))
    expect(failure).to.equal(undefined)
  })
})
