import { expect } from 'chai'
import { testEnds } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'

export interface Task {
  readonly id: number
  readonly title: string
  readonly revision: number
}

/** Milliseconds; less than the timeout of a test, so that a hanging request fails before its test does. */
export const TIMEOUT = 20_000

/** A client that sends an access token with each request. */
export class Client {
  readonly url: string
  readonly token: string

  constructor(url: string, token: string) {
    this.url = url
    this.token = token
  }

  static async signUp(url: string, email = 'jane@example.com'): Promise<Client> {
    const answer = await Client.register(url, email)
    expect(answer.status, await answer.text()).to.equal(201)
    return Client.logIn(url, email)
  }

  static register(url: string, email: string): Promise<Response> {
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ email, password: 'correct horse' })
    return fetch(`${url}/api/v1/auth/register`, {
      method: 'POST',
      headers,
      body,
      signal: AbortSignal.timeout(TIMEOUT),
    })
  }

  static postLogin(url: string, email = 'jane@example.com'): Promise<Response> {
    const body = new URLSearchParams({ username: email, password: 'correct horse' })
    const signal = AbortSignal.timeout(TIMEOUT)
    return fetch(`${url}/api/v1/auth/login`, { method: 'POST', body, signal })
  }

  static async logIn(url: string, email?: string): Promise<Client> {
    const answer = await Client.postLogin(url, email)
    expect(answer.status).to.equal(200)
    const { access_token: token } = (await answer.json()) as { access_token: string }
    return new Client(url, token)
  }

  /** A client of another instance with the same token. */
  at(url: string): Client {
    return new Client(url, this.token)
  }

  send(method: string, path: string, body?: object, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    const authorization = `Bearer ${this.token}`
    return fetch(this.url + path, {
      method,
      headers: { authorization, ...(body && { 'content-type': 'application/json' }), ...headers },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(TIMEOUT),
    })
  }

  postTask(title: string, description: string | null = null): Promise<Response> {
    return this.send('POST', '/api/v1/tasks', { title, description })
  }

  async createTask(title: string): Promise<Task> {
    const answer = await this.postTask(title)
    expect(answer.status).to.equal(201)
    return (await answer.json()) as Task
  }

  /** Follows `Link` through all pages. */
  async listTasks(): Promise<Task[]> {
    const tasks: Task[] = []
    let next: string | undefined = '/api/v1/tasks?limit=200'
    while (next !== undefined) {
      const answer = await this.send('GET', next)
      expect(answer.status).to.equal(200)
      tasks.push(...((await answer.json()) as Task[]))
      next = /<([^>]+)>; rel="next"/.exec(answer.headers.get('link') ?? '')?.[1]
    }
    return tasks
  }

  /** The acknowledged tasks that are missing or have another title. */
  async findLost(acknowledged: readonly Task[]): Promise<Task[]> {
    const stored = new Map((await this.listTasks()).map(({ id, title }) => [id, title]))
    return acknowledged.filter(({ id, title }) => stored.get(id) !== title)
  }
}

export interface Refusal {
  readonly title: string
  readonly status: number
  readonly code: string
  readonly retryAfter: string | null
}

/** Creates tasks on many connections at once, each until it is cut or `stop` is called. */
export class WriteLoad {
  /** Tasks whose 201 was read. */
  readonly acknowledged: Task[] = []
  readonly refusals: Refusal[] = []
  readonly #writers: Promise<unknown>
  #stopped = false

  constructor(client: Client, connections: number, description: string | null = null) {
    this.#writers = Promise.all(
      Array.from({ length: connections }, (_, writer) => this.#write(client, writer, description)),
    )
  }

  async #write(client: Client, writer: number, description: string | null): Promise<void> {
    const testEnd = testEnds
    for (let number = 0; !this.#stopped && !testEnd.aborted; number++) {
      const answer = await client.postTask(`${writer}/${number}`, description).catch(() => undefined)
      const body = await answer?.json().catch(() => undefined)
      if (answer === undefined || body === undefined) return
      if (answer.status === 201) this.acknowledged.push(body as Task)
      else {
        const { code } = body as { code: string }
        const retryAfter = answer.headers.get('retry-after')
        this.refusals.push({ title: `${writer}/${number}`, status: answer.status, code, retryAfter })
      }
    }
  }

  async waitForAcknowledged(count: number): Promise<void> {
    const enough = this.acknowledged.length + count
    await waitUntil(() => this.acknowledged.length >= enough)
  }

  /** Resolves once the requests in flight are answered. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#writers
  }

  /** Resolves once every connection is cut. */
  async disconnected(): Promise<void> {
    await this.#writers
  }
}

export async function refusesConnections(url: string): Promise<boolean> {
  try {
    await fetch(`${url}/livez`)
    return false
  } catch {
    return true
  }
}
