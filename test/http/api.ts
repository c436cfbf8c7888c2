import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { pino } from 'pino'
import supertest, { type Response, type Test } from 'supertest'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import { type AdapterSet, startService } from '#src/composition-root.ts'
import { readConfig } from '#src/config.ts'
import { AdministerUsers } from '#src/domain/accounts/administer-users.ts'
import type { Scope } from '#src/domain/accounts/caller.ts'
import type { Log } from '#src/log.ts'
import { adapterSets } from '#test/adapter-sets.ts'
import { checkCommonRules } from './common-rules.ts'
import { type Answer, Documented, type OpenApi } from './documented.ts'

export const SECRET_KEY = 'a secret that is known to these specs alone'
export const ORIGIN = 'https://app.example.com'
export const TASKS = '/api/v1/tasks'
export const ME = '/api/v1/auth/me'
export const REGISTER = '/api/v1/auth/register'
export const LOGIN = '/api/v1/auth/login'
export const REFRESH = '/api/v1/auth/refresh'
export const REVOKE = '/api/v1/auth/revoke'
export const SESSIONS = '/api/v1/auth/sessions'
export const TOKENS = '/api/v1/auth/tokens'
export const USERS = '/api/v1/admin/users'
export const PASSWORD = 'correct horse battery staple'

/** A request that is sent without encoding or normalising anything. */
export interface RawRequest {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
}

/** Runs a suite against a running service on each adapter set. */
export function describeApi(title: string, suite: (api: Api) => void): void {
  for (const { name, databaseUrl } of adapterSets) {
    describe(`${title} (${name})`, () => {
      const api = new Api()
      before(async () => api.start({ DATABASE_URL: await databaseUrl() }))
      after(() => api.stop())
      suite(api)
    })
  }
}

/**
 * A running service and an anonymous client of it. Every response is checked against the service's OpenAPI document and
 * against the rules that all responses follow.
 */
export class Api {
  /** The log in lines of JSON; empty if `start` was given another log. */
  readonly log: string[] = []
  #service: Awaited<ReturnType<typeof startService>> | undefined
  #documented: Documented | undefined
  #container: Parameters<AdapterSet['clock']>[0] | undefined
  #users = 0

  async start(
    environment: Readonly<Record<string, string>>,
    overrides: Partial<AdapterSet> = {},
    log: Log = pino({ level: 'trace' }, { write: (line) => this.log.push(line) }),
  ): Promise<void> {
    const config = readConfig({
      ENVIRONMENT: 'test',
      PORT: '0',
      SECRET_KEY,
      BCRYPT_ROUNDS: '4',
      RATE_LIMIT_ENABLED: 'false',
      DATABASE_PREPARED_STATEMENTS: process.env.TEST_PREPARED_STATEMENTS ?? 'true',
      BACKEND_CORS_ORIGINS: `${ORIGIN},http://localhost:3000`,
      ...environment,
    })
    const clock: AdapterSet['clock'] = (container) => {
      this.#container = container
      return overrides.clock?.(container) ?? { now: () => new Date() }
    }
    this.#service = await startService(config, log, { ...overrides, clock })
    const response = await fetch(`${this.#service.url}/openapi.json`)
    this.#documented = documentedBy(await response.text())
  }

  async stop(): Promise<void> {
    connections.destroy()
    await this.#service?.close()
  }

  get url(): string {
    return started(this.#service).url
  }

  get document(): OpenApi {
    return this.documented.document
  }

  get documented(): Documented {
    return started(this.#documented)
  }

  get(path: string): Test {
    return this.#send('get', path)
  }

  head(path: string): Test {
    return this.#send('head', path)
  }

  post(path: string): Test {
    return this.#send('post', path)
  }

  patch(path: string): Test {
    return this.#send('patch', path)
  }

  delete(path: string): Test {
    return this.#send('delete', path)
  }

  options(path: string): Test {
    return this.#send('options', path)
  }

  /** Adds the length of the body and nothing else. */
  async raw({ method, path, headers = {}, body }: RawRequest): Promise<Answer> {
    const { hostname, port } = new URL(this.url)
    const request = httpRequest({ agent: connections, hostname, port, method, path, headers })
    // Node's client sends a GET with a body without a Content-Length.
    if (body !== undefined && !headers['transfer-encoding'] && !headers['content-length']) {
      request.setHeader('content-length', Buffer.byteLength(body))
    }
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve).once('error', reject)
    })
    request.end(body)
    const response = await answered
    const answer = { status: response.statusCode ?? 0, headers: response.headers, text: await text(response) }
    this.#check(method, path, answer)
    return answer
  }

  /** Registers a new user and logs in. */
  async signUp(): Promise<User> {
    const email = `user-${++this.#users}@example.com`
    const { body } = await this.post(REGISTER).send({ email, password: PASSWORD }).expect(201)
    return this.logIn({ id: body.id, email })
  }

  /** Starts another session of a user. */
  async logIn({ id, email }: Pick<User, 'id' | 'email'>, password = PASSWORD): Promise<User> {
    const { body } = await this.post(LOGIN).send({ username: email, password }).expect(200)
    return new User(this, id, email, body.access_token, body.refresh_token)
  }

  /** Registers a new admin and logs in. */
  async signUpAdmin(): Promise<User> {
    const admin = await this.signUp()
    await started(this.#container).resolve(AdministerUsers).grant({}, admin.email)
    return admin
  }

  #send(method: 'get' | 'head' | 'post' | 'patch' | 'delete' | 'options', path: string): Test {
    const test: Test = supertest(this.url)[method](path).agent(connections)
    return test.expect((response) => {
      const { pathname, search } = new URL(response.request.url)
      this.#check(method.toUpperCase(), pathname + search, answerOf(response))
    })
  }

  #check(method: string, target: string, answer: Answer): void {
    this.documented.check(method, target, answer)
    checkCommonRules(method, target, answer)
  }
}

/** A client that sends a user's access token, or an API token, with each request. */
export class User {
  readonly #api: Api
  readonly id: number
  readonly email: string
  readonly token: string
  /** Empty with an API token. */
  readonly refreshToken: string

  constructor(api: Api, id: number, email: string, token: string, refreshToken = '') {
    this.#api = api
    this.id = id
    this.email = email
    this.token = token
    this.refreshToken = refreshToken
  }

  /** The same user as a script: a client that sends a new API token. */
  async asScript(...scopes: readonly Scope[]): Promise<User> {
    const { body } = await this.post(TOKENS).send({ name: 'script', scopes }).expect(201)
    return new User(this.#api, this.id, this.email, body.token)
  }

  get(path: string): Test {
    return this.#signed(this.#api.get(path))
  }

  head(path: string): Test {
    return this.#signed(this.#api.head(path))
  }

  post(path: string): Test {
    return this.#signed(this.#api.post(path))
  }

  patch(path: string): Test {
    return this.#signed(this.#api.patch(path))
  }

  delete(path: string): Test {
    return this.#signed(this.#api.delete(path))
  }

  raw(request: RawRequest): Promise<Answer> {
    return this.#api.raw({ ...request, headers: { authorization: `Bearer ${this.token}`, ...request.headers } })
  }

  async createTask(fields: object = {}): Promise<TaskBody> {
    const { body } = await this.post(TASKS)
      .send({ title: 'Ship', ...fields })
      .expect(201)
    return body
  }

  async getTask(id: number): Promise<TaskBody> {
    return (await this.get(`${TASKS}/${id}`).expect(200)).body
  }

  /** The first page. */
  async listTasks(): Promise<TaskBody[]> {
    return (await this.get(TASKS).expect(200)).body
  }

  async editTask(id: number, changes: object): Promise<TaskBody> {
    return (await this.patch(`${TASKS}/${id}`).send(changes).expect(200)).body
  }

  async deleteTask(id: number): Promise<void> {
    await this.delete(`${TASKS}/${id}`).expect(204)
  }

  #signed(test: Test): Test {
    return test.set('Authorization', `Bearer ${this.token}`)
  }
}

/** The validation errors of a response, each as `pointer: code` or `?parameter: code`. */
export function mistakes(answer: Answer | Response): string[] {
  const { errors = [] } = JSON.parse(answer.text) as { errors?: Record<'pointer' | 'parameter' | 'code', string>[] }
  return errors.map(({ pointer, parameter, code }) => `${pointer ?? `?${parameter}`}: ${code}`)
}

/** The targets of a Link header (RFC 8288) by their relation. */
export function linksOf({ headers }: Pick<Response, 'headers'>): Record<string, string> {
  const links = String(headers.link ?? '').matchAll(/<([^>]*)>\s*;\s*rel="?([^";,]+)"?/g)
  return Object.fromEntries(Array.from(links, ([, target, relation]) => [relation, target]))
}

export const codeOf = (answer: Answer | Response): string => JSON.parse(answer.text).code

/** supertest leaves the text undefined if there is no body. */
const answerOf = ({ status, headers, text }: Response): Answer => ({ status, headers, text: text ?? '' })

const connections = new Agent({ keepAlive: true })

/** Compiles the schemas of each document once, because most services share one. */
const documents = new Map<string, Documented>()
function documentedBy(document: string): Documented {
  const documented = documents.get(document) ?? new Documented(JSON.parse(document))
  documents.set(document, documented)
  return documented
}

function started<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error('The service has not started. Use it in a test or a hook.')
  return value
}
