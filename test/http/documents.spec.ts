import { promises as fileSystem } from 'node:fs'
import { STATUS_CODES } from 'node:http'
import { expect } from 'chai'
import fc from 'fast-check'
import { parseDue } from '#src/domain/tasks/due.ts'
import { Api, describeApi, LOGIN, ME, PASSWORD, REFRESH, REGISTER, REVOKE, TASKS } from './api.ts'
import type { DocumentedResponse } from './documented.ts'

const OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  '/health': ['get'],
  '/livez': ['get'],
  '/readyz': ['get'],
  [REGISTER]: ['post'],
  [LOGIN]: ['post'],
  [ME]: ['get'],
  [TASKS]: ['get', 'post'],
  [`${TASKS}/batch`]: ['post'],
  [`${TASKS}/changes`]: ['get'],
  [`${TASKS}/events`]: ['get'],
  [`${TASKS}/{id}`]: ['delete', 'get', 'patch'],
}

/** Every object below a node, with its path. */
function* objectsIn(node: unknown, pointer: readonly string[] = []): Generator<[string, Record<string, unknown>]> {
  if (typeof node !== 'object' || node === null) return
  yield [pointer.join('/'), node as Record<string, unknown>]
  for (const [name, value] of Object.entries(node)) yield* objectsIn(value, [...pointer, name])
}

describeApi('Documents', (api) => {
  describe('The OpenAPI document', () => {
    const operations = () =>
      Object.entries(api.document.paths).flatMap(([path, item]) => {
        return Object.entries(item).map(([method, operation]) => ({ path, method, ...operation }))
      })

    /** Follows a reference within the document. */
    const resolve = (node: object): object => {
      if (!('$ref' in node)) return node
      const names = String(node.$ref).split('/').slice(1)
      return names.reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], api.document) as object
    }

    it('is OpenAPI 3.1 in JSON, titled PROJECT_NAME', async () => {
      const answer = await api
        .get('/openapi.json')
        .expect(200)
        .expect('Content-Type', /^application\/json/)
      expect(answer.body.openapi).to.match(/^3\.1\.\d+$/)
      expect(answer.body.info.title).to.equal('Task Management API')
      expect(answer.body.info.version).to.match(/^\d+\.\d+\.\d+$/)
    })

    it('lists every route under its full path', () => {
      for (const [path, methods] of Object.entries(OPERATIONS))
        expect(Object.keys(api.document.paths[path] ?? {}), path).to.include.members(methods)
    })

    it('gives each operation a unique operationId', () => {
      const ids = operations().map(({ operationId }) => operationId)
      expect(new Set(ids)).to.have.property('size', ids.length)
      for (const id of ids) expect(id).to.match(/^[a-z][A-Za-z]+$/)
    })

    it('contains relative URLs only, so that it works behind any proxy', () => {
      expect(api.document.servers.map(({ url }) => url)).to.deep.equal(['.'])
      expect(JSON.stringify(api.document)).to.not.match(/"(?:url|tokenUrl)":"(?:\/|https?:)/)
    })

    it('declares the password flow and which operations require a token', () => {
      const { securitySchemes } = api.document.components
      const [scheme] = Object.entries(securitySchemes).find(([, { type }]) => type === 'oauth2') ?? []
      expect(securitySchemes[scheme ?? '']?.flows).to.deep.equal({
        password: { tokenUrl: LOGIN.slice(1), refreshUrl: REFRESH.slice(1), scopes: {} },
      })
      for (const { path, method, security } of operations()) {
        const open = ['/health', '/livez', '/readyz', REGISTER, LOGIN, REFRESH, REVOKE].includes(path)
        expect(
          security.some((each) => (scheme ?? '') in each),
          `${method} ${path}`,
        ).to.equal(!open)
      }
    })

    it('lists the error statuses of each operation', () => {
      for (const { path, method, security, requestBody, responses } of operations()) {
        const expected = ['500']
        if (security.length > 0) expected.push('401', '503')
        if (requestBody) expected.push('400', '413', '415', '422')
        if (path.endsWith('{id}')) expected.push('404', '422')
        expect(responses, `${method} ${path}`).to.include.keys(expected)
      }
    })

    it('accepts exactly the new tasks that the service accepts (property-based)', async () => {
      const jane = await api.signUp()
      const member = <Value>(right: fc.Arbitrary<Value>) =>
        fc.oneof({ arbitrary: right, weight: 4 }, { arbitrary: fc.jsonValue({ maxDepth: 1 }), weight: 1 })
      const texts = (maxLength: number) =>
        fc.oneof(
          fc.string({ maxLength: 5 }),
          fc.constant('🙂'.repeat(maxLength)),
          fc.constant('a'.repeat(maxLength + 1)),
        )
      const bodies = fc.record(
        {
          title: member(texts(255)),
          description: member(fc.option(texts(2_000))),
          completed: member(fc.boolean()),
          due: member(fc.constantFrom(null, '2026-02-02', '2026-02-02T09:00:00Z')),
          priority: member(fc.constantFrom('none', 'urgent')),
          tags: member(fc.array(fc.constantFrom('home', 'work'), { maxLength: 22 })),
          id: fc.jsonValue({ maxDepth: 1 }),
          unknown: fc.constant(1),
        },
        { requiredKeys: ['title'] },
      )
      const isBlank = (text: unknown) => typeof text === 'string' && text.trim() === ''
      await fc.assert(
        fc.asyncProperty(bodies, async (body) => {
          const { status } = await jane.post(TASKS).send(body)
          // The document states these rules in prose: JSON Schema cannot express them.
          const { title, due, tags } = body
          const blank = [title, ...(Array.isArray(tags) ? tags : [])].some(isBlank)
          const isDue = typeof due !== 'string' || parseDue(due) !== undefined
          const accepted = api.documented.accepts(TASKS, 'POST', 'application/json', body) && !blank && isDue
          expect(status).to.equal(accepted ? 201 : 422)
        }),
        { numRuns: 60 },
      )
    })

    it('allows unknown members in a login form, but not in JSON', () => {
      const pair = { username: 'jane@example.com', password: PASSWORD }
      for (const [type, other] of [
        ['application/x-www-form-urlencoded', true],
        ['application/json', false],
      ] as const) {
        expect(api.documented.accepts(LOGIN, 'POST', type, pair), type).to.equal(true)
        expect(api.documented.accepts(LOGIN, 'POST', type, { ...pair, audience: 'x' }), type).to.equal(other)
      }
    })

    it('lists no read-only member in a request', () => {
      for (const [pointer, { readOnly }] of objectsIn(api.document)) expect(readOnly, pointer).to.equal(undefined)
      for (const { path, method, requestBody } of operations()) {
        for (const { schema } of Object.values(requestBody?.content ?? {})) {
          const { properties } = resolve(schema) as { properties: object }
          expect(properties, `${method} ${path}`).to.not.have.any.keys('id', 'owner_id', 'revision', 'completed_at')
        }
      }
    })

    it('accepts a task as it was returned', async () => {
      const jane = await api.signUp()
      const task = await jane.createTask()
      expect(api.documented.accepts(`${TASKS}/{id}`, 'PATCH', 'application/json', task)).to.equal(true)
      await jane.editTask(task.id, task)
    })

    it('allows unknown members in responses', () => {
      const { schemas } = api.document.components
      const namesIn = (node: unknown): string[] => {
        const names = JSON.stringify(node).matchAll(/schemas\/(\w+)"/g)
        return Array.from(names, ([, name = '']) => [name, ...namesIn(schemas[name])]).flat()
      }
      const requests = new Set(namesIn(operations().map(({ requestBody = {} }) => requestBody)))
      for (const [name, schema] of Object.entries(schemas)) {
        if (requests.has(name)) continue
        for (const [pointer, node] of objectsIn(schema)) {
          const closed = ['additionalProperties', 'unevaluatedProperties', 'propertyNames']
          expect(node, `${name} ${pointer}`).to.not.have.any.keys(closed)
        }
      }
    })

    it('gives each member, parameter, header, constant and enumeration a type', () => {
      for (const [pointer, schema] of objectsIn(api.document)) {
        const isSchema = /(?:\/(?:schema|items|propertyNames)|\/properties\/\w+)$/.test(pointer)
        if (!(isSchema || 'const' in schema || 'enum' in schema) || /\/examples?\//.test(pointer)) continue
        expect(schema, pointer).to.have.any.keys('type', '$ref', 'anyOf', 'oneOf')
      }
    })

    it('gives each operation a summary and a description', () => {
      for (const { path, method, summary, description } of operations()) {
        for (const words of [summary, description]) expect(words, `${method} ${path}`).to.match(/^[A-Z].{5}/)
        expect(description, `${method} ${path}`).to.match(/\.$/)
        expect(summary, `${method} ${path}`).to.not.match(/\.$/)
      }
    })

    it('gives each parameter a valid example', () => {
      for (const { path, method, parameters } of operations()) {
        for (const [index, { name, schema, example = schema.examples?.[0] }] of parameters.entries()) {
          const pointer = ['paths', path, method, 'parameters', String(index), 'schema']
          expect(example, `${method} ${path} ${name}`).to.not.equal(undefined)
          expect(api.documented.matches(pointer, example), `${method} ${path} ${name}`).to.equal(true)
        }
      }
    })

    it('gives each body a valid example', () => {
      for (const { path, method, requestBody, responses } of operations()) {
        const answers = Object.entries(responses).filter(([, answer]) => !('$ref' in answer))
        const bodies = {
          requestBody,
          ...Object.fromEntries(answers.map(([status, answer]) => [`responses/${status}`, answer])),
        }
        for (const [place, body] of Object.entries(bodies)) {
          for (const [type, { example }] of Object.entries((body as typeof requestBody)?.content ?? {})) {
            const pointer = ['paths', path, method, ...place.split('/'), 'content', type, 'schema']
            const kind = type.endsWith('json') || type.endsWith('form-urlencoded') ? 'object' : 'string'
            expect(example, pointer.join(' ')).to.be.an(Array.isArray(example) ? 'array' : kind)
            expect(api.documented.matches(pointer, example), pointer.join(' ')).to.equal(true)
          }
        }
      }
    })

    it('describes each resource before its special operations, and gives no two operations one summary', () => {
      const ids = operations().map(({ operationId }) => operationId)
      const tasks = ['createTask', 'listTasks', 'getTask', 'editTask', 'deleteTask', 'batchTasks', 'syncTasks']
      expect(ids.filter((id) => tasks.includes(id))).to.deep.equal(tasks)
      const summaries = operations().map(({ summary }) => summary)
      expect(new Set(summaries).size).to.equal(summaries.length)
    })

    it('gives bodies examples that neither delete, rename nor promote', () => {
      const examples = operations().flatMap(({ requestBody }) => Object.values(requestBody?.content ?? {}))
      const example = (operationId: string) => {
        const { requestBody } = operations().find((operation) => operation.operationId === operationId) ?? {}
        return requestBody?.content?.['application/json']?.example
      }
      expect(example('editAccount')).to.deep.equal({ time_zone: 'Europe/Berlin' })
      expect(example('administerUser')).to.deep.equal({ disabled: true })
      expect(example('createTask')).to.include.keys('title').and.not.include.keys('completed')
      expect(example('editTask')).to.deep.equal({ completed: true })
      const passwords = ['register', 'logIn'].map((id) => (example(id) as { password: string }).password)
      for (const id of ['leave', 'leaveByPost'])
        expect(passwords).to.not.include((example(id) as { current_password: string }).current_password)
      expect(JSON.stringify(examples)).to.not.include('"delete"')
    })

    it('gives each header an example, and Link one that can be followed', async () => {
      const jane = await api.signUp()
      const headers = operations().flatMap(({ responses }) => {
        return Object.values(responses).flatMap((answer) =>
          Object.entries(('headers' in answer && answer.headers) || {}),
        )
      })
      for (const [name, header] of [...headers, ...Object.entries(api.document.components.headers)]) {
        if (!('$ref' in header)) expect(header.example, name).to.not.equal(undefined)
      }
      const [, link] = headers.find(([name]) => name === 'Link') ?? []
      const [, target = ''] = /^<(.+?)>; rel="next"/.exec(String((link as { example?: string }).example)) ?? []
      await jane.get(target).expect(200)
    })

    it('defines each error response as a component with an example for each code', () => {
      for (const { path, method, responses } of operations()) {
        for (const [status, answer] of Object.entries(responses)) {
          if (Number(status) < 400) continue
          expect('$ref' in answer && answer.$ref, `${method} ${path} ${status}`).to.match(
            /^#\/components\/responses\/\w+$/,
          )
          const { description, content } = resolve(answer) as DocumentedResponse
          const codes = Array.from(description.matchAll(/`(\w+)`/g), ([, code]) => code)
          const { examples = {}, schema = {} } = content?.['application/problem+json'] ?? {}
          const pointer = (schema as { $ref: string }).$ref.split('/').slice(1)
          expect(Object.keys(examples), description).to.have.members(codes).and.not.be.empty
          for (const [code, { value }] of Object.entries(examples)) {
            expect(value, description).to.include({ code, status: Number(status), title: STATUS_CODES[status] })
            expect(api.documented.matches(pointer, value), description).to.equal(true)
          }
        }
      }
    })

    it('gives each error example the path of an operation that returns it', () => {
      for (const [name, { content }] of Object.entries(api.document.components.responses)) {
        const users = operations().filter(({ responses }) => JSON.stringify(responses).includes(`/responses/${name}"`))
        for (const { value } of Object.values(content?.['application/problem+json']?.examples ?? {})) {
          const { instance } = value as { instance: string }
          const paths = users.map(({ path }) => path.replace('{id}', '1'))
          expect(paths, name).to.include(instance)
        }
      }
    })

    it('contains the problems that the service returns', async () => {
      const jane = await api.signUp()
      const credentials = { email: jane.email, password: PASSWORD }
      const answers = [
        await api.get(ME),
        await api.get(ME).set('Authorization', 'Bearer x'),
        await api.post(REGISTER).send(credentials),
        await api.post(LOGIN).send({ username: jane.email, password: 'wrong' }),
        await jane.get(`${TASKS}/${Number.MAX_SAFE_INTEGER}`),
        await jane.post(TASKS).type('json').send('{'),
        await jane.post(TASKS).type('text/plain').send('x'),
        await jane.post(TASKS).send({ title: 'a'.repeat(1_048_576) }),
      ]
      for (const { status, body } of answers) {
        const shown = Object.values(api.document.components.responses)
          .map(({ content }) => content?.['application/problem+json']?.examples?.[body.code]?.value as object)
          .filter((example) => example && 'error' in example === 'error' in body)
        expect(shown, `${status} ${body.code}`).to.not.be.empty
        for (const example of shown) expect({ ...example, instance: body.instance }).to.deep.equal(body)
      }
    })

    it('contains the validation errors that the service returns', async () => {
      const admin = await api.signUpAdmin()
      for (const { path, method, requestBody, responses } of operations()) {
        if (!responses[422]) continue
        const { content } = resolve(responses[422]) as DocumentedResponse
        const example = content?.['application/problem+json']?.examples?.invalid_input?.value
        const { errors } = example as { errors: readonly { pointer?: string; parameter?: string }[] }
        const body = { ...(Object.values(requestBody?.content ?? {})[0]?.example as object) }
        const query = new URLSearchParams()
        for (const { pointer, parameter } of errors) {
          if (pointer) Object.assign(body, { [pointer.slice(1)]: 'x' })
          if (parameter) query.set(parameter, 'x')
        }
        const request = admin[method as 'get' | 'post'](`${path.replace('{id}', '1')}?${query}`)
        const answer = await (requestBody ? request.send(body) : request).expect(422)
        expect(answer.body.errors, `${method} ${path}`).to.deep.equal(errors)
      }
    })

    it('requires the violations in a response that only `invalid_input` has', () => {
      for (const [name, { content }] of Object.entries(api.document.components.responses)) {
        const { schema = {}, examples = {} } = content?.['application/problem+json'] ?? {}
        const { required } = resolve(schema) as { readonly required: readonly string[] }
        const invalidOnly = Object.keys(examples).join() === 'invalid_input'
        expect(required.includes('errors'), name).to.equal(invalidOnly)
      }
    })

    it('lists JSON first among the media types of a request body', () => {
      for (const { path, method, requestBody } of operations()) {
        if (requestBody)
          expect(Object.keys(requestBody.content ?? {})[0], `${method} ${path}`).to.equal('application/json')
      }
    })

    it('limits the length of login members without rejecting valid credentials', async () => {
      const jane = await api.signUp()
      const { properties } = resolve({ $ref: '#/components/schemas/LogIn' }) as {
        properties: Record<string, { type: string; maxLength?: number }>
      }
      for (const [name, { type, maxLength }] of Object.entries(properties)) {
        expect(type, name).to.equal('string')
        if (['username', 'password'].includes(name)) expect(maxLength, name).to.be.a('number')
      }
      // The service trims blanks, so valid credentials can be this long.
      const { maxLength = 0 } = properties.username ?? {}
      const logIn = (length: number) => ({ username: jane.email.padEnd(length), password: PASSWORD })
      const accepts = (body: object) => api.documented.accepts(LOGIN, 'POST', 'application/json', body)
      expect([accepts(logIn(maxLength)), accepts(logIn(maxLength + 1))]).to.deep.equal([true, false])
      await api.post(LOGIN).send(logIn(maxLength)).expect(200)
      await api
        .post(LOGIN)
        .send(logIn(maxLength + 1))
        .expect(401)
    })
  })

  describe('A response with an undocumented member', () => {
    const answerOf = (body: object, type = 'application/json', status = 200) => ({
      status,
      headers: { 'content-type': type },
      text: JSON.stringify(body),
    })

    it('fails the spec that receives it', async () => {
      const task = await (await api.signUp()).createTask()
      const check = (answer: object) => () => api.documented.check('GET', TASKS, answerOf(answer))
      expect(check([task])).to.not.throw()
      expect(check([{ ...task, no_such_member: 1 }])).to.throw('additional properties')
      const problem = (await api.get(ME).expect(401)).body
      const checkProblem = (answer: object) => () =>
        api.documented.check('GET', ME, answerOf(answer, 'application/problem+json', 401))
      expect(checkProblem(problem)).to.not.throw()
      expect(checkProblem({ ...problem, stack: '' })).to.throw('additional properties')
      expect(checkProblem({ ...problem, errors: [{ pointer: '', code: '', detail: '', value: 1 }] })).to.throw(
        'additional',
      )
    })
  })

  describe('A documentation page', () => {
    const DIRECTIVES = [
      'default-src',
      'script-src',
      'style-src',
      'connect-src',
      'base-uri',
      'form-action',
      'frame-ancestors',
    ]

    for (const path of ['/docs', '/redoc']) {
      it(`${path} loads files from the service only`, async () => {
        const page = await api
          .get(path)
          .expect(200)
          .expect('Content-Type', /^text\/html; ?charset=utf-8$/i)
        const references = Array.from(page.text.matchAll(/\b(?:src|href|spec-url)="([^"]+)"/g), ([, target]) => target)
        const files = references
          .map((target) => new URL(String(target), api.url + path))
          .filter(({ protocol }) => protocol !== 'data:')
        expect(files).to.have.length.of.at.least(2)
        for (const file of files) {
          expect(file.origin).to.equal(api.url)
          const asset = await api.get(file.pathname).expect(200)
          expect(asset.headers['content-type'], file.pathname).to.match(/javascript|css|json/)
          expect(Number(asset.headers['content-length'] ?? asset.text.length), file.pathname).to.be.greaterThan(0)
        }
      })

      it(`${path} has a Content-Security-Policy without inline or foreign scripts`, async () => {
        const { headers, text } = await api.get(path).expect(200)
        const policy = String(headers['content-security-policy'])
        for (const directive of DIRECTIVES) expect(policy).to.include(directive)
        expect(policy)
          .to.match(/default-src 'none'/)
          .and.match(/script-src 'self'(?:;|$)/)
        expect(policy).to.not.match(/https?:|\*|unsafe-eval/)
        expect(text).to.not.match(/<script(?![^>]*\bsrc=)/)
        expect(text).to.not.match(/\son\w+=/)
      })

      it(`${path} ignores an invalid token`, async () => {
        await api.get(path).set('Authorization', 'Bearer x').expect(200)
      })
    }
  })
})

const REDIRECTS = [
  { from: '/', status: 302, to: 'docs', page: '/docs' },
  { from: '/docs/', status: 308, to: '../docs', page: '/docs' },
  { from: '/redoc/', status: 308, to: '../redoc', page: '/redoc' },
] as const

for (const rootPath of ['', '/tasks-api']) {
  describe(`A redirect to a documentation page (ROOT_PATH ${rootPath || 'empty'})`, () => {
    const api = new Api()
    before(() => api.start({ DATABASE_URL: 'memory:', ROOT_PATH: rootPath }))
    after(() => api.stop())

    for (const { from, status, to, page } of REDIRECTS) {
      it(`from ${from} is ${status} with a relative reference, for any query`, async () => {
        for (const method of ['GET', 'HEAD']) {
          for (const query of ['', '?t=1764082800', '?t=1&t=2&%ff']) {
            const { headers, ...answer } = await api.raw({ method, path: from + query })
            expect({ status: answer.status, location: headers.location }).to.deep.equal({ status, location: to })
          }
        }
        expect(new URL(to, `https://example.com/below/a/path${from}`).pathname).to.equal(`/below/a/path${page}`)
        expect(new URL(to, `https://example.com${from}`).pathname).to.equal(page)
      })
    }
  })
}

const FILES = [
  ...['/docs/swagger-ui.css', '/docs/page.css', '/docs/swagger-ui-bundle.js', '/docs/start.js'],
  ...['/redoc/page.css', '/redoc/redoc.standalone.js'],
]
/** Served from strings in the source, not from files. */
const OWN = new Set(['/docs/page.css', '/docs/start.js', '/redoc/page.css'])

describe('A documentation file', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:' }))
  after(() => api.stop())

  for (const path of ['/docs', '/redoc', ...FILES]) {
    it(`returns 304 for ${path} if If-None-Match has its ETag`, async () => {
      const whole = await api.get(path).expect(200)
      const { etag = '' } = whole.headers
      expect(etag).to.match(/^"[\w-]{20,}"$/)
      for (const has of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
        for (const request of [api.get(path), api.head(path)]) {
          const { headers, text } = await request.set('If-None-Match', has).expect(304)
          expect(text ?? '').to.equal('')
          for (const name of ['etag', 'cache-control', 'content-security-policy'])
            expect(headers[name], name).to.equal(whole.headers[name])
          expect(headers).to.not.have.any.keys('content-type', 'content-length')
        }
      }
    })

    it(`returns 200 for ${path} if If-None-Match has another ETag`, async () => {
      const { headers } = await api.get(path).expect(200)
      for (const has of ['"other"', 'W/"other"', String(headers.etag).slice(1, -1)]) {
        const answer = await api.get(path).set('If-None-Match', has).expect(200)
        expect(answer.headers.etag).to.equal(headers.etag)
        expect(Number(answer.headers['content-length'])).to.be.greaterThan(0)
      }
      const head = await api.head(path).set('If-None-Match', '"other"').expect(200)
      expect(head.headers).to.include({ etag: headers.etag, 'content-length': headers['content-length'] })
    })
  }

  it('may be cached for an hour, but a page is revalidated each time', async () => {
    for (const path of FILES)
      expect((await api.get(path).expect(200)).headers['cache-control'], path).to.equal('public, max-age=3600')
    for (const path of ['/docs', '/redoc'])
      expect((await api.get(path).expect(200)).headers['cache-control'], path).to.equal('no-cache')
  })

  it('references no source map, because browsers would fail to load it', async () => {
    for (const path of FILES) {
      const { body, text } = await api.get(path).expect(200)
      expect(text ?? String(body), path).to.not.match(/^(?:\/\/|\/\*)# sourceMappingURL=/m)
    }
  })

  it('has a unique ETag', async () => {
    const answers = await Promise.all(['/docs', '/redoc', ...FILES].map((path) => api.get(path).expect(200)))
    expect(new Set(answers.map(({ headers }) => headers.etag)).size).to.equal(answers.length)
  })
})

describe('A documentation file that cannot be read', () => {
  const api = new Api()
  const { readFile } = fileSystem
  before(() => api.start({ DATABASE_URL: 'memory:' }))
  afterEach(() => {
    fileSystem.readFile = readFile
  })
  after(() => api.stop())

  it('returns 500, logs the cause, and is read again at the next request', async () => {
    let reads = 0
    fileSystem.readFile = (async () => {
      reads++
      throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })
    }) as typeof readFile
    for (const path of FILES.filter((path) => !OWN.has(path))) {
      const answer = await api.get(path).set('X-Request-Id', 'unreadable').expect(500)
      expect(answer.headers['content-type']).to.match(/^application\/problem\+json/)
      expect(answer.headers).to.not.have.any.keys('etag')
      expect(answer.headers['cache-control']).to.equal('no-store')
      expect(answer.body).to.include({ code: 'internal_error', instance: path })
      const [line] = api.log
        .splice(0)
        .map((each) => JSON.parse(each))
        .filter(({ err }) => err)
      expect(line).to.include({ level: 50, requestId: 'unreadable' })
      expect(line.err).to.include({ type: 'Error', message: 'EMFILE: too many open files', code: 'EMFILE' })
    }
    expect(reads).to.equal(3)

    fileSystem.readFile = readFile
    for (const path of FILES) await api.get(path).expect(200)
  })

  it('is served from memory after it was read once', async () => {
    fileSystem.readFile = (async () => {
      throw new Error('It was read before.')
    }) as typeof readFile
    for (const path of FILES) await api.get(path).expect(200)
  })
})

describe('A service with another configuration', () => {
  const api = new Api()
  before(() =>
    api.start({
      DATABASE_URL: 'memory:',
      PROJECT_NAME: 'Tâches <b>&"',
      API_V1_PREFIX: '/mine/v9',
      ALGORITHM: 'HS512',
      ACCESS_TOKEN_EXPIRE_MINUTES: '1',
    }),
  )
  after(() => api.stop())

  it('is documented under PROJECT_NAME and API_V1_PREFIX', () => {
    expect(api.document.info.title).to.equal('Tâches <b>&"')
    expect(Object.keys(api.document.paths)).to.include.members(['/health', '/mine/v9/tasks', '/mine/v9/auth/login'])
    expect(JSON.stringify(api.document)).to.not.include('/api/v1')
  })

  it('serves and links under API_V1_PREFIX only, and signs tokens with ALGORITHM', async () => {
    const credentials = { email: 'jane@example.com', password: 'correct horse' }
    await api.post('/mine/v9/auth/register').send(credentials).expect(201)
    await api.post(REGISTER).send(credentials).expect(404)
    const form = { username: credentials.email, password: credentials.password }
    const { body } = await api.post('/mine/v9/auth/login').type('form').send(form).expect(200)
    expect(body.expires_in).to.equal(60)
    const [header = ''] = body.access_token.split('.')
    expect(JSON.parse(Buffer.from(header, 'base64url').toString())).to.include({ alg: 'HS512' })
    for (let count = 0; count < 2; count++) {
      const task = api.post('/mine/v9/tasks').set('Authorization', `Bearer ${body.access_token}`)
      const { headers } = await task.send({ title: 'Ship' }).expect(201)
      expect(headers.location).to.match(/\/mine\/v9\/tasks\/\d+$/)
    }
    const list = api.get('/mine/v9/tasks?limit=1').set('Authorization', `Bearer ${body.access_token}`)
    expect((await list.expect(200)).headers.link).to.include('/mine/v9/tasks?')
  })

  it('escapes PROJECT_NAME on its pages', async () => {
    for (const path of ['/docs', '/redoc']) expect((await api.get(path).expect(200)).text).to.not.include('<b>')
  })
})

describe('A service behind a proxy that strips a path (ROOT_PATH)', () => {
  const api = new Api()
  before(() => api.start({ DATABASE_URL: 'memory:', ROOT_PATH: '/tasks-api' }))
  after(() => api.stop())

  it('prefixes Location and Link with the path', async () => {
    const jane = await api.signUp()
    for (let count = 0; count < 3; count++) {
      const { headers, body } = await jane.post(TASKS).send({ title: 'Ship' }).expect(201)
      expect(headers.location).to.equal(`/tasks-api${TASKS}/${body.id}`)
    }
    const first = await jane.get(`${TASKS}?limit=1`).expect(200)
    const [, next = ''] = /^<\/tasks-api([^>]+)>; rel="next"$/.exec(String(first.headers.link)) ?? []
    const second = await jane.get(next).expect(200)
    expect(second.headers.link).to.match(/^<\/tasks-api\/[^>]+>; rel="next", <\/tasks-api\/[^>]+>; rel="prev"$/)
  })

  it('omits the path from its routes, problems and document', async () => {
    await api.get('/tasks-api/health').expect(404)
    const { body } = await api.get(`${TASKS}/1`).expect(401)
    expect(body.instance).to.equal(`${TASKS}/1`)
    expect(JSON.stringify(api.document)).to.not.include('tasks-api')
  })
})
