import { testEnds } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import type { Client, Task } from './client.ts'

/**
 * The history of compare-and-set edits of tasks. Each edit writes a unique title, so that a read shows which edit was
 * stored.
 */
export class EditHistory {
  readonly #tasks = new Map<number, TaskHistory>()

  created({ id, title, revision }: Task): void {
    this.#tasks.set(id, { created: revision, titles: new Map([[revision, title]]), edits: new Map(), violations: [] })
  }

  /** Records an edit. Call this before sending it. */
  sent({ id, revision }: Task, title: string): void {
    this.#of(id).edits.set(title, revision)
  }

  /** Records that the service refused the edit. */
  refused({ id }: Task, title: string): void {
    this.#of(id).edits.delete(title)
  }

  /** Records a task from a response. */
  read({ id, title, revision }: Task): void {
    const { titles, violations } = this.#of(id)
    const known = titles.get(revision) ?? title
    if (known !== title) violations.push(`${id}: revision ${revision} is “${known}” and “${title}”`)
    titles.set(revision, title)
  }

  /**
   * Ends the history with a read of the current tasks. The edits of a task must then form one chain from its creation to its
   * current revision: two edits of one revision, or a revision outside the chain, mean that an edit was lost. Takes
   * linear time, because a revision names its place in the chain.
   */
  violations(current: readonly Task[]): readonly string[] {
    for (const task of current) if (this.#tasks.has(task.id)) this.read(task)
    const revisions = new Map(current.map(({ id, revision }) => [id, revision]))
    return [...this.#tasks].flatMap(([id, history]) => [
      ...history.violations,
      ...brokenLinks(id, history, revisions.get(id)),
    ])
  }

  #of(id: number): TaskHistory {
    const history = this.#tasks.get(id)
    if (!history) throw new Error(`Task ${id} was not created in this history.`)
    return history
  }
}

interface TaskHistory {
  readonly created: number
  /** Titles by the revision under which a response contained them. */
  readonly titles: Map<number, string>
  /** The revision that each edit expected, by its title. */
  readonly edits: Map<string, number>
  readonly violations: string[]
}

function brokenLinks(id: number, { created, titles, edits }: TaskHistory, current: number | undefined): string[] {
  const violations: string[] = []
  const next = new Map<number, number>()
  for (const [revision, title] of titles) {
    if (revision === created) continue
    const expected = edits.get(title)
    if (expected === undefined) violations.push(`${id}: “${title}” was refused or never sent, and is stored`)
    else if (next.has(expected)) violations.push(`${id}: two edits of revision ${expected} succeeded`)
    else next.set(expected, revision)
  }
  let last = created
  let length = 1
  for (let revision = next.get(last); revision !== undefined && revision > last; revision = next.get(last)) {
    last = revision
    length++
  }
  if (length < titles.size || last !== current) violations.push(`${id}: the edits after revision ${last} are lost`)
  return violations
}

/** Edits tasks on many connections at once, each time expecting the revision that it has read before. */
export class EditLoad {
  readonly #history: EditHistory
  readonly #writers: Promise<unknown>
  #acknowledged = 0
  #stopped = false

  /** @param clients one for each connection */
  constructor(history: EditHistory, clients: readonly Client[], tasks: readonly Task[]) {
    this.#history = history
    this.#writers = Promise.all(clients.map((client) => this.#write(client, tasks)))
  }

  /** @returns tasks for a load to edit */
  static async createTasks(client: Client, history: EditHistory, count = 2): Promise<Task[]> {
    const tasks = await Promise.all(Array.from({ length: count }, () => client.createTask('Created')))
    for (const task of tasks) history.created(task)
    return tasks
  }

  async #write(client: Client, tasks: readonly Task[]): Promise<void> {
    const testEnd = testEnds
    while (!this.#stopped && !testEnd.aborted) {
      const { id } = tasks[Math.floor(Math.random() * tasks.length)] as Task
      // A lost connection leaves the outcome open.
      await this.#edit(client, `/api/v1/tasks/${id}`).catch(() => {})
    }
  }

  async #edit(client: Client, path: string): Promise<void> {
    const seen = await client.send('GET', path)
    const task = (await seen.json()) as Task
    if (seen.status !== 200) return
    this.#history.read(task)
    const title = crypto.randomUUID()
    this.#history.sent(task, title)
    const answer = await client.send('PATCH', path, { title }, { 'if-match': `"${task.revision}"` })
    const body = await answer.json()
    if (answer.status === 200) {
      this.#history.read(body as Task)
      this.#acknowledged++
    } else if ((body as { code: string }).code !== 'outcome_unknown') this.#history.refused(task, title)
  }

  async waitForAcknowledged(count: number): Promise<void> {
    const enough = this.#acknowledged + count
    await waitUntil(() => this.#acknowledged >= enough)
  }

  /** Resolves once the requests in flight are answered. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#writers
  }
}
