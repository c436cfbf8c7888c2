import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import Router from '@koa/router'
import { expect } from 'chai'
import Koa from 'koa'
import * as v from 'valibot'
import { openApiDocument } from '#src/adapters/http/docs/openapi.ts'
import { type AccessPolicy, type Authenticator, anyone, scope } from '#src/adapters/http/endpoint/access.ts'
import { JSON_TYPE } from '#src/adapters/http/endpoint/body.ts'
import { type Endpoint, endpoint } from '#src/adapters/http/endpoint/endpoint.ts'
import type { LimitName } from '#src/adapters/http/endpoint/limits.ts'
import { mount } from '#src/adapters/http/endpoint/mount.ts'
import { HttpError } from '#src/adapters/http/endpoint/problems.ts'
import { resumable, type Stream, StreamInterrupted } from '#src/adapters/http/endpoint/stream.ts'
import { bodyOf, numeral } from '#src/adapters/http/endpoint/validation.ts'
import { logSendErrors, reportProblems } from '#src/adapters/http/middleware.ts'
import { InvalidCredentials, InvalidGrant, TaskNotFound } from '#src/domain/errors.ts'
import { aUser } from '#test/builders.ts'

/** Authenticates every request with the same API token. */
const signIn: Authenticator = {
  authenticate: async () => ({
    user: aUser().snapshot(),
    credential: { kind: 'api-token', tokenId: 1, scopes: ['tasks:read'] },
  }),
}

/** The members that all endpoints of this spec share. */
const base = {
  method: 'GET',
  path: '/made',
  operationId: 'getMade',
  tag: 'Service',
  summary: 'An endpoint of this spec',
  description: 'Exists in this spec only.',
  access: anyone,
  errors: [],
} as const

const answer = v.object({ value: v.unknown() })
const ok = { 200: { description: 'The value.', schema: answer } }

describe('An endpoint', () => {
  const servers = new Set<ReturnType<typeof createServer>>()
  const counted: string[] = []
  /** Level of each log line. */
  const logged: string[] = []
  const note = (level: string) => () => logged.push(level)
  const log = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') }
  afterEach(() => {
    for (const server of servers) server.close().closeAllConnections()
    servers.clear()
    counted.length = 0
    logged.length = 0
  })

  /** Serves one endpoint. Each rate-limit bucket records its name and the key in `counted`. */
  async function serve(mounted: Endpoint): Promise<string> {
    const limiter = (name: LimitName) => ({
      quota: { name, allowed: 9, window: 60 },
      count: async (key: string) => {
        counted.push(`${name} ${key}`)
        return { exceeded: false, remaining: 8, reset: 60 }
      },
    })
    const limits = {
      user: limiter('user'),
      login: limiter('login'),
      register: limiter('register'),
      refresh: limiter('refresh'),
    }
    const router = new Router()
    mount(router, mounted, signIn, limits)
    const app = new Koa().use(reportProblems(log, [mounted]))
    app.on('error', logSendErrors(log))
    const server = createServer(app.use(router.routes()).callback()).listen(0, '127.0.0.1')
    servers.add(server)
    await once(server, 'listening')
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}${base.path}`
  }

  const operationOf = (documented: Endpoint) => {
    const document = openApiDocument({ title: '', version: '', authPath: '/auth' }, [documented])
    const paths = document.paths as Record<string, Record<string, Record<string, unknown>>>
    return paths[documented.path]?.[documented.method.toLowerCase()] ?? {}
  }

  describe('with a custom access policy', () => {
    const guests: AccessPolicy<{ readonly name: string }> = {
      needs: 'nothing',
      limit: 'register',
      errors: ['task_not_found'],
      authenticate: async ({ req }) => ({ name: String(req.headers['x-name']) }),
      authorize({ name }) {
        if (name === 'stranger') throw new TaskNotFound()
      },
      limitKey: ({ name }) => name,
    }
    const greeting = {
      ...base,
      access: guests,
      responses: ok,
      handle: async ({ caller }: { caller: { readonly name: string } }) =>
        ({ status: 200, body: { value: caller.name } }) as const,
    }

    it('passes the caller from the policy to the handler, and counts it in the bucket of the policy', async () => {
      const response = await fetch(await serve(endpoint(greeting)), { headers: { 'X-Name': 'jane' } })
      expect(await response.json()).to.deep.equal({ value: 'jane' })
      expect(counted).to.deep.equal(['register jane'])
    })

    it('counts a request before the policy refuses it', async () => {
      const response = await fetch(await serve(endpoint(greeting)), { headers: { 'X-Name': 'stranger' } })
      expect(response.status).to.equal(404)
      expect(counted).to.deep.equal(['register stranger'])
    })

    it('counts requests in the bucket of the endpoint, if it names one', async () => {
      await fetch(await serve(endpoint({ ...greeting, limit: 'login' })), { headers: { 'X-Name': 'jane' } })
      expect(counted).to.deep.equal(['login jane'])
    })

    it('documents the refusals of the policy and of the bucket', () => {
      expect(operationOf(endpoint(greeting)).responses).to.include.keys('404', '429')
    })
  })

  it('without an access policy does not compile', () => {
    const { access: _, ...open } = base
    const handle = async () => ({ status: 200, body: { value: 1 } }) as const
    // @ts-expect-error no access policy
    endpoint({ ...open, responses: ok, handle })
  })

  it('returns insufficient_scope with the scope that it needs (RFC 6750, section 3.1)', async () => {
    const handle = async () => ({ status: 200, body: { value: 1 } }) as const
    const url = await serve(endpoint({ ...base, access: scope('tasks:write'), responses: ok, handle }))
    const response = await fetch(url, { headers: { Authorization: 'Bearer tma_x' } })
    expect([response.status, response.headers.get('www-authenticate')]).to.deep.equal([
      403,
      'Bearer error="insufficient_scope", scope="tasks:write"',
    ])
    expect(counted).to.deep.equal(['user 1'])
  })

  describe('with the errors of OAuth', () => {
    const failing = (error: Error) =>
      endpoint({
        ...base,
        oauthErrors: 'problem',
        responses: ok,
        handle: async () => {
          throw error
        },
      })
    const problemOf = async (url: string) => (await (await fetch(url)).json()) as Record<string, unknown>

    it('adds invalid_grant to a wrong pair or token, and invalid_request to any other 400 or 422', async () => {
      const description = { error_description: new InvalidGrant().message }
      const grant = await problemOf(await serve(failing(new InvalidGrant())))
      expect(grant).to.include({ code: 'invalid_grant', error: 'invalid_grant', ...description })
      const pair = await problemOf(await serve(failing(new InvalidCredentials())))
      expect(pair).to.include({ code: 'invalid_credentials', error: 'invalid_grant' })
      for (const error of [new HttpError('malformed_body'), new HttpError('malformed_host')])
        expect(await problemOf(await serve(failing(error)))).to.include({ code: error.code, error: 'invalid_request' })
      const unknown = await problemOf(`${await serve(failing(new InvalidGrant()))}?colour=red`)
      expect(unknown).to.include({ code: 'invalid_input', error: 'invalid_request' })
    })

    it('adds nothing to other errors', async () => {
      for (const error of [new TaskNotFound(), new HttpError('body_too_large'), new TypeError('broken')]) {
        const problem = await problemOf(await serve(failing(error)))
        expect(problem).to.include.keys('code').and.not.include.any.keys('error', 'error_description')
      }
    })
  })

  describe('with a schema of headers', () => {
    const conditional = endpoint({
      ...base,
      headers: v.object({
        'x-count': numeral(1, 9, { description: 'A number.' }),
        'x-more': v.exactOptional(v.string()),
      }),
      responses: ok,
      handle: async ({ headers }) => ({ status: 200, body: { value: headers } }),
    })

    it('receives those headers, in lower case and parsed, and ignores the others', async () => {
      const response = await fetch(await serve(conditional), { headers: { 'X-Count': '3', 'X-Other': 'x' } })
      expect(await response.json()).to.deep.equal({ value: { 'x-count': 3 } })
    })

    it('returns 422 with the name of each header that is missing or breaks its rule, beside other violations', async () => {
      const url = await serve(conditional)
      const errorsOf = async (response: Response) => {
        expect(response.status).to.equal(422)
        const { errors } = (await response.json()) as { errors: Record<string, string>[] }
        return errors.map(({ detail: _detail, ...place }) => place)
      }
      expect(await errorsOf(await fetch(url))).to.deep.equal([{ header: 'x-count', code: 'required' }])
      const wrong = await fetch(`${url}?colour=red`, { headers: { 'X-Count': 'secret' } })
      expect(await errorsOf(wrong)).to.deep.equal([
        { parameter: 'colour', code: 'unknown' },
        { header: 'x-count', code: 'out_of_range' },
      ])
    })

    it('documents them as header parameters', () => {
      const { parameters } = operationOf(conditional)
      expect(parameters).to.deep.include({
        name: 'x-count',
        in: 'header',
        required: true,
        description: 'A number.',
        schema: { type: 'integer', minimum: 1, maximum: 9 },
      })
      expect(parameters).to.deep.include({ name: 'x-more', in: 'header', required: false, schema: { type: 'string' } })
    })
  })

  describe('with several responses', () => {
    const versioned = endpoint({
      ...base,
      headers: v.object({ 'if-none-match': v.exactOptional(v.string()) }),
      responses: {
        200: { ...ok[200], headers: { ETag: { description: 'The revision.', example: '"1"' } } },
        304: { description: 'Not modified.', headers: { ETag: { description: 'The revision.', example: '"1"' } } },
      },
      handle: async ({ headers }) =>
        headers['if-none-match'] === '"1"'
          ? { status: 304, headers: { ETag: '"1"' } }
          : { status: 200, body: { value: 1 }, headers: { ETag: '"1"' } },
    })

    it('lets the handler choose one at run time', async () => {
      const url = await serve(versioned)
      const full = await fetch(url)
      expect([full.status, full.headers.get('etag'), await full.json()]).to.deep.equal([200, '"1"', { value: 1 }])
      const { status, headers } = await fetch(url, { headers: { 'If-None-Match': '"1"' } })
      expect([status, headers.get('etag'), headers.get('content-type')]).to.deep.equal([304, '"1"', null])
    })

    it('documents each of them', () => {
      const { 200: full, 304: notModified } = operationOf(versioned).responses as Record<string, object>
      expect(full).to.include.keys('content')
      expect(notModified).to.not.include.keys('content')
    })

    it('does not compile if the handler returns an undeclared reply', () => {
      const create = { ...base, method: 'POST', responses: { 201: ok[200] } } as const
      endpoint({ ...create, handle: async () => ({ status: 201, body: { value: 1 } }) })
      // @ts-expect-error another status
      endpoint({ ...create, handle: async () => ({ status: 200, body: { value: 1 } }) })
      // @ts-expect-error no body
      endpoint({ ...create, handle: async () => ({ status: 201 }) })
      // @ts-expect-error a header that is not declared
      endpoint({ ...create, handle: async () => ({ status: 201, body: { value: 1 }, headers: { ETag: '"1"' } }) })
      // @ts-expect-error a body where none is declared
      endpoint({ ...base, responses: { 204: { description: '' } }, handle: async () => ({ status: 204, body: 1 }) })
    })
  })

  describe('with a stream', () => {
    const streaming = (stream: Stream) =>
      endpoint({
        ...base,
        responses: { 200: { description: 'Events.', mediaType: 'text/event-stream', example: 'data: 1\n\n' } },
        handle: async () => ({ status: 200, stream }),
      })

    it('sends what it writes under its media type, and ends when it resolves', async () => {
      const response = await fetch(
        await serve(
          streaming(async ({ write }) => {
            write('data: 1\n\n')
            write('data: 2\n\n')
          }),
        ),
      )
      expect(response.headers.get('content-type')).to.equal('text/event-stream')
      expect(await response.text()).to.equal('data: 1\n\ndata: 2\n\n')
    })

    it('documents its media type and an example', () => {
      const { 200: response } = operationOf(streaming(async () => {})).responses as Record<string, object>
      const media = { schema: { type: 'string' }, example: 'data: 1\n\n' }
      expect(response).to.deep.include({ content: { 'text/event-stream': media } })
    })

    const streamOf =
      (error: Error): Stream =>
      async ({ write }) => {
        write('data: 1\n\n')
        throw error
      }

    it('ends the response after an error of the domain, if clients can resume it', async () => {
      const response = await fetch(await serve(streaming(resumable(streamOf(new TaskNotFound())))))
      expect(await response.text()).to.equal('data: 1\n\n')
      expect(logged).to.deep.equal([])
    })

    it('breaks the connection after an error, and logs it if it is unexpected', async () => {
      for (const error of [new TaskNotFound(), new HttpError('route_not_found'), new StreamInterrupted()]) {
        const response = await fetch(await serve(streaming(streamOf(error))))
        expect(await response.text().catch(() => 'cut off')).to.equal('cut off')
        expect(logged).to.deep.equal([])
      }
      const response = await fetch(await serve(streaming(resumable(streamOf(new TypeError('lost'))))))
      expect(await response.text().catch(() => 'cut off')).to.equal('cut off')
      expect(logged[0]).to.equal('error')
    })

    it('resets a connection of HTTP/1.0, whose end would look like the end of the response', async () => {
      const { port } = new URL(await serve(streaming(streamOf(new StreamInterrupted()))))
      const socket = connect(Number(port), '127.0.0.1')
      socket.resume().write('GET /made HTTP/1.0\r\n\r\n')
      const [error] = await once(socket, 'error')
      expect(error).to.include({ code: 'ECONNRESET' })
    })

    it('can write after the client has left', async () => {
      const clientLeft = Promise.withResolvers<void>()
      const written = Promise.withResolvers<void>()
      const url = await serve(
        streaming(async ({ write, drained }) => {
          write('data: 1\n\n')
          await clientLeft.promise
          write('data: 2\n\n')
          await drained(AbortSignal.timeout(1))
          written.resolve()
        }),
      )
      const leaving = new AbortController()
      await fetch(url, { signal: leaving.signal })
      leaving.abort()
      clientLeft.resolve()
      await written.promise
      expect(logged).to.not.include('error')
    })

    it('drops a reader that leaves more than 256 KiB unread', async () => {
      const dropped = Promise.withResolvers<void>()
      const url = await serve(
        streaming(async ({ write, drained }) => {
          const whole = 'x'.repeat(262_144)
          while (!leaving.signal.aborted) {
            write(whole)
            write('x')
            await drained(AbortSignal.timeout(1))
            await new Promise(setImmediate)
          }
          dropped.resolve()
        }),
      )
      const leaving = new AbortController()
      const response = await fetch(url)
      expect(await response.text().catch(() => 'cut off')).to.equal('cut off')
      leaving.abort()
      await dropped.promise
    })

    it('drops a reader that takes nothing, even while the stream waits for it', async () => {
      const dropped = new AbortController()
      const url = await serve(
        streaming(async ({ write, drained }) => {
          while (!dropped.signal.aborted) {
            write('x'.repeat(65_536))
            await drained(dropped.signal)
            await new Promise(setImmediate)
          }
        }),
      )
      for (const server of servers) {
        server.on('connection', (socket) => socket.once('close', () => dropped.abort()))
      }
      const reader = connect(Number(new URL(url).port), '127.0.0.1')
      reader.write(`GET ${base.path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
      await once(dropped.signal, 'abort')
      reader.destroy()
    })

    it('waits longer for a reader if the stream allows it', async () => {
      const time = AbortSignal.timeout(1_500)
      const url = await serve(
        streaming(async ({ write, taken }) => {
          while (!time.aborted) {
            write('x'.repeat(65_536))
            await taken(time)
            await new Promise(setImmediate)
          }
        }),
      )
      const reader = connect(Number(new URL(url).port), '127.0.0.1')
      reader.write(`GET ${base.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      await once(time, 'abort')
      expect(await text(reader)).to.match(/xxx\r\n0\r\n\r\n$/)
    })

    it('sends any amount to a reader that takes it', async () => {
      const chunk = 'x'.repeat(200_000)
      const stream = streaming(async ({ write, drained }) => {
        for (let count = 0; count < 40; count++) {
          write(chunk)
          await drained(new AbortController().signal)
        }
      })
      expect(await (await fetch(await serve(stream))).text()).to.have.lengthOf(40 * chunk.length)
    })

    it('is not started for HEAD', async () => {
      let started = false
      const url = await serve(
        streaming(async () => {
          started = true
        }),
      )
      const response = await fetch(url, { method: 'HEAD' })
      expect([response.status, response.headers.get('content-type')]).to.deep.equal([200, 'text/event-stream'])
      expect(started).to.equal(false)
    })
  })

  describe('with read-only members in its body', () => {
    const withBody = endpoint({
      ...base,
      method: 'POST',
      body: { types: [JSON_TYPE], schema: bodyOf('Made', ['id'], { count: v.exactOptional(v.number()) }) },
      responses: ok,
      handle: async ({ body }) => ({ status: 200, body: { value: body } }),
    })
    const post = async (body: object) => {
      const headers = { 'Content-Type': JSON_TYPE }
      return fetch(await serve(withBody), { method: 'POST', headers, body: JSON.stringify(body) })
    }

    it('ignores the read-only members that the resource names', async () => {
      expect(await (await post({ id: 'x', count: 1 })).json()).to.deep.equal({ value: { count: 1 } })
    })

    it('returns 422 for any other unknown member', async () => {
      expect((await post({ owner_id: 1 })).status).to.equal(422)
    })
  })
})
