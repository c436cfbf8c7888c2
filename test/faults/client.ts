/** Who uses the service while these specs hurt it. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { testEnds } from '#test/process.ts'

export interface Task {
  readonly id: number
  readonly title: string
}

/** Milliseconds, more than any answer takes: one that never comes fails by itself, not as a test that takes too long. */
export const PATIENCE = 20_000

/** Somebody who has registered and logged in. Every request has a connection, or takes one that is free. */
export class Client {
  readonly url: string
  readonly token: string

  constructor(url: string, token: string) {
    this.url = url
    this.token = token
  }

  static async registered(url: string, email = 'jane@example.com'): Promise<Client> {
    const registered = await Client.register(url, email)
    expect(registered.status, await registered.text()).to.equal(201)
    return Client.loggedIn(url, email)
  }

  static register(url: string, email: string): Promise<Response> {
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ email, password: 'correct horse' })
    return fetch(`${url}/api/v1/auth/register`, {
      method: 'POST',
      headers,
      body,
      signal: AbortSignal.timeout(PATIENCE),
    })
  }

  static async loggedIn(url: string, email = 'jane@example.com'): Promise<Client> {
    const body = new URLSearchParams({ username: email, password: 'correct horse' })
    const signal = AbortSignal.timeout(PATIENCE)
    const answer = await fetch(`${url}/api/v1/auth/login`, { method: 'POST', body, signal })
    expect(answer.status).to.equal(200)
    const { access_token: token } = (await answer.json()) as { access_token: string }
    return new Client(url, token)
  }

  /** The same person at another instance, or at one that was started again. */
  at(url: string): Client {
    return new Client(url, this.token)
  }

  send(method: string, path: string, body?: object): Promise<Response> {
    return fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${this.token}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(PATIENCE),
    })
  }

  addTask(title: string, description: string | null = null): Promise<Response> {
    return this.send('POST', '/api/v1/tasks', { title, description })
  }

  async task(title: string): Promise<Task> {
    const answer = await this.addTask(title)
    expect(answer.status).to.equal(201)
    return (await answer.json()) as Task
  }

  /** All of them, page by page. */
  async tasks(): Promise<Task[]> {
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

  /** Those of the given tasks that are not there any more, or are others. */
  async missing(acknowledged: readonly Task[]): Promise<Task[]> {
    const stored = new Map((await this.tasks()).map(({ id, title }) => [id, title]))
    return acknowledged.filter(({ id, title }) => stored.get(id) !== title)
  }
}

export interface Refusal {
  readonly title: string
  readonly status: number
  readonly code: string
  readonly retryAfter: string | null
}

/**
 * Writes on many connections at once, for as long as the service is there and nobody says stop.
 * What was acknowledged is added to `acknowledged` as soon as the answer is read.
 */
export class Storm {
  readonly acknowledged: Task[] = []
  /** Answers that were not 201. */
  readonly refusals: Refusal[] = []
  readonly #end: Promise<unknown>
  #stopped = false

  constructor(client: Client, connections: number, description: string | null = null) {
    const writers = Array.from({ length: connections }, (_, writer) => this.#write(client, writer, description))
    this.#end = Promise.all(writers)
  }

  async #write(client: Client, writer: number, description: string | null): Promise<void> {
    const ends = testEnds
    for (let number = 0; !this.#stopped && !ends.aborted; number++) {
      const answer = await client.addTask(`${writer}/${number}`, description).catch(() => undefined)
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

  async acknowledges(count: number): Promise<void> {
    const enough = this.acknowledged.length + count
    await until(() => this.acknowledged.length >= enough)
  }

  /** After the answers to what was sent. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#end
  }

  /** When every connection was cut. */
  async end(): Promise<void> {
    await this.#end
  }
}

/** Asks again and again until it is so. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 2 * PATIENCE
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`It never comes true: ${condition}`)
    await delay(10)
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
