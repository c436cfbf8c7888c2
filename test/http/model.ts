import { expect } from 'chai'
import fc from 'fast-check'
import type { Response } from 'supertest'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import type { Api, User } from './api.ts'
import { linksOf, mistakes, TASKS } from './api.ts'

const PRIORITIES = ['none', 'low', 'medium', 'high', 'urgent'] as const
const TITLES = ['a', 'A', 'ab', 'ß', 'SS', '\uffff', '\u{10000}', 'é', 'e\u0301']
const DUES = [null, '2026-02-01', '2026-02-01T12:00:00Z', '2026-02-03T00:00:00+02:00', '2026-02-05']
const SORTS = ['created_at', 'updated_at', 'due', 'priority', 'title', 'completed_at'] as const
const MISSING = Number.MAX_SAFE_INTEGER

/** A model of one user's tasks, which checks the API's responses in the simplest way. */
class TaskList {
  /** By ascending id. */
  tasks: readonly TaskBody[] = []
  /** The revision of the last write. */
  revision = 0
  /** The first request with each idempotency key, and its response. */
  readonly answers = new Map<string, { readonly request: string; readonly text: string }>()
  readonly replica = new Map<number, TaskBody>()
  since = ''

  /** @returns one of the tasks, or sometimes none */
  at(index: number): TaskBody | undefined {
    return this.tasks[index % (this.tasks.length + 1)]
  }

  added(stored: TaskBody, fields: Partial<Fields>): void {
    expect(stored).to.deep.include({
      description: null,
      completed: false,
      due: null,
      priority: 'none',
      tags: [],
      ...fields,
    })
    expect(stored.id).to.be.above(this.tasks.at(-1)?.id ?? 0)
    expect(stored.updated_at).to.equal(stored.created_at)
    expect(stored.completed_at).to.equal(stored.completed ? stored.created_at : null)
    this.#written(stored)
    this.tasks = [...this.tasks, stored]
  }

  edited(stored: TaskBody, before: TaskBody, changes: Partial<Fields>): void {
    if (Object.keys(changes).length === 0) {
      expect(stored).to.deep.equal(before)
      return
    }
    const { revision, updated_at } = stored
    const after = { ...before, ...changes, revision, updated_at }
    const completed_at = after.completed ? (before.completed_at ?? updated_at) : null
    expect(stored).to.deep.equal({ ...after, completed_at })
    expect(Date.parse(updated_at)).to.be.above(Date.parse(before.updated_at))
    this.#written(stored)
    this.tasks = this.tasks.map((task) => (task.id === stored.id ? stored : task))
  }

  removed({ id }: TaskBody): void {
    this.tasks = this.tasks.filter((task) => task.id !== id)
  }

  #written({ revision }: TaskBody): void {
    expect(revision).to.be.above(this.revision)
    this.revision = revision
  }
}

interface Fields {
  readonly title: string
  readonly description: string | null
  readonly completed: boolean
  readonly due: string | null
  readonly priority: (typeof PRIORITIES)[number]
  readonly tags: readonly string[]
}

type Command = fc.AsyncCommand<TaskList, User>

const command = <Given>(
  name: string,
  given: fc.Arbitrary<Given>,
  run: (list: TaskList, user: User, given: Given) => Promise<void>,
): fc.Arbitrary<Command> =>
  given.map((value) => ({
    check: () => true,
    run: (list, user) => run(list, user, value),
    toString: () => `${name}(${fc.stringify(value)})`,
  }))

const members = {
  title: fc.constantFrom(...TITLES),
  description: fc.constantFrom(null, '', ...TITLES),
  completed: fc.boolean(),
  due: fc.constantFrom(...DUES),
  priority: fc.constantFrom(...PRIORITIES),
  tags: fc.subarray(['home', 'work', '🙂']),
}
const newTasks = fc.record(members, { requiredKeys: ['title'] })
const changes = fc.record(members, { requiredKeys: [] })
const indexes = fc.nat({ max: 9 })
const expectations = fc.constantFrom('none', 'any', 'current', 'stale')
type Expectation = 'none' | 'any' | 'current' | 'stale'

const STALE = 0
const tagFor = (expected: Expectation, task: TaskBody | undefined) =>
  expected === 'any' ? '*' : `"${expected === 'current' ? (task?.revision ?? STALE) : STALE}"`

const ifMatch = (expected: Expectation, task: TaskBody | undefined): Record<string, string> =>
  expected === 'none' ? {} : { 'If-Match': tagFor(expected, task) }

const statusOf = (task: TaskBody | undefined, expected: Expectation, success: number) => {
  if (task === undefined) return 404
  return expected === 'stale' ? 412 : success
}

const create = command('create', newTasks, async (list, user, fields) => {
  const { body, headers } = await user.post(TASKS).send(fields).expect(201)
  expect(headers).to.include({ etag: `"${body.revision}"`, location: `${TASKS}/${body.id}` })
  list.added(body, fields)
})

/** Few keys and titles, so that keys recur with the same task and with a different one. */
const keyedTasks = fc.record({ key: fc.constantFrom('a', 'b'), title: fc.constantFrom('a', 'a', 'A') })

const createOnce = command('create once', keyedTasks, async (list, user, { key, title }) => {
  const request = JSON.stringify({ title })
  const first = list.answers.get(key)
  const status = first && first.request !== request ? 422 : 201
  const { body, headers, text } = await user.post(TASKS).set('Idempotency-Key', key).send({ title }).expect(status)
  if (status === 422) {
    expect(body.code).to.equal('idempotency_key_reused')
    return
  }
  expect(headers['idempotency-replayed']).to.equal(first && 'true')
  expect(headers).to.include({ etag: `"${body.revision}"`, location: `${TASKS}/${body.id}` })
  if (first) {
    expect(text).to.equal(first.text)
    return
  }
  list.answers.set(key, { request, text })
  list.added(body, { title })
})

const get = command('get', fc.record({ index: indexes, expected: expectations }), async (list, user, given) => {
  const task = list.at(given.index)
  const request = user.get(`${TASKS}/${task?.id ?? MISSING}`)
  if (given.expected !== 'none') request.set('If-None-Match', tagFor(given.expected, task))
  const status = { none: 200, any: 304, current: 304, stale: 200 }[given.expected]
  const { body } = await request.expect(task ? status : 404)
  if (task && status === 200) expect(body).to.deep.equal(task)
})

const edit = command(
  'edit',
  fc.record({ index: indexes, changes, expected: expectations }),
  async (list, user, given) => {
    const task = list.at(given.index)
    const status = statusOf(task, given.expected, 200)
    const request = user.patch(`${TASKS}/${task?.id ?? MISSING}`).set(ifMatch(given.expected, task))
    const { body, headers } = await request.send(given.changes).expect(status)
    if (status === 412) expect(headers.etag).to.equal(`"${task?.revision}"`)
    if (task && status === 200) list.edited(body, task, given.changes)
  },
)

const remove = command('delete', fc.record({ index: indexes, expected: expectations }), async (list, user, given) => {
  const task = list.at(given.index)
  const status = statusOf(task, given.expected, 204)
  await user
    .delete(`${TASKS}/${task?.id ?? MISSING}`)
    .set(ifMatch(given.expected, task))
    .expect(status)
  if (task && status === 204) list.removed(task)
})

const operations = fc.uniqueArray(
  fc.oneof(
    fc.record({ op: fc.constant('create' as const), index: fc.integer({ min: 100 }), task: newTasks }),
    fc.record({
      op: fc.constantFrom('update' as const, 'delete' as const),
      index: fc.nat({ max: 4 }),
      task: changes,
      // Mostly conditions that hold, because one failed operation fails its batch.
      expected: fc.constantFrom<Expectation>('none', 'current', 'current', 'current', 'stale'),
    }),
  ),
  { selector: ({ index }) => index, minLength: 1, maxLength: 5 },
)

const batch = command('batch', operations, async (list, user, given) => {
  const found = given.map((operation) => (operation.op === 'create' ? undefined : list.tasks[operation.index]))
  const body = given.map((operation, index) => {
    if (operation.op === 'create') return { op: 'create', task: operation.task }
    const { op, expected, task } = operation
    const revision = expected === 'current' ? (found[index]?.revision ?? STALE) : STALE
    const condition = expected === 'none' ? {} : { if_revision: revision }
    return { op, id: found[index]?.id ?? MISSING - index, ...condition, ...(op === 'update' && { task }) }
  })
  const statuses = given.map((operation, index) =>
    operation.op === 'create' ? 200 : statusOf(found[index], operation.expected, 200),
  )
  const failed = statuses.findIndex((status) => status !== 200)
  const answer = await user
    .post(`${TASKS}/batch`)
    .send({ operations: body })
    .expect(statuses[failed] ?? 200)
  if (failed >= 0) {
    expect(mistakes(answer).join()).to.match(new RegExp(`^/operations/${failed}: `))
    return
  }
  for (const [index, operation] of given.entries()) {
    const stored = answer.body.results[index]
    if (operation.op === 'create') list.added(stored, operation.task)
    else if (operation.op === 'update') list.edited(stored, found[index] as TaskBody, operation.task)
    else {
      expect(stored).to.equal(null)
      list.removed(found[index] as TaskBody)
    }
  }
})

const fold = (text: string) => text.normalize('NFC').toUpperCase().normalize('NFC')

/** In milliseconds. A date stands for the last millisecond of its day in UTC. */
const momentOf = (due: string) => (due.length === 10 ? Date.parse(`${due}T23:59:59.999Z`) : Date.parse(due))

const filters: { readonly [Name: string]: (task: TaskBody, value: string) => boolean } = {
  completed: (task, value) => String(task.completed) === value,
  priority: (task, value) => task.priority === value,
  tag: (task, value) => task.tags.includes(value),
  q: ({ title, description }, value) => [title, description ?? ''].some((text) => fold(text).includes(fold(value))),
  due_before: ({ due }, value) => due !== null && momentOf(due) < Date.parse(value),
  due_after: ({ due }, value) => due !== null && momentOf(due) >= Date.parse(value),
}

const conditions = fc.record(
  {
    completed: fc.constantFrom('true', 'false'),
    priority: fc.constantFrom<string>(...PRIORITIES),
    tag: fc.constantFrom('home', 'work', '🙂'),
    q: fc.constantFrom(...TITLES),
    due_before: fc.constantFrom('2026-02-02', '2026-02-01T12:00:00Z'),
    due_after: fc.constantFrom('2026-02-02', '2026-02-01T12:00:00Z'),
  },
  { requiredKeys: [] },
)

const sortKeys = fc
  .shuffledSubarray([...SORTS], { maxLength: 3 })
  .chain((names) =>
    fc.tuple(...names.map((name) => fc.boolean().map((descending) => (descending ? `-${name}` : name)))),
  )

type SortValue = number | string | null

function sortValue(task: TaskBody, name: (typeof SORTS)[number]): SortValue {
  if (name === 'created_at') return task.id
  if (name === 'priority') return PRIORITIES.indexOf(task.priority)
  if (name === 'due') return task.due && momentOf(task.due)
  return task[name]
}

function compare(one: SortValue, other: SortValue): number {
  if (typeof one === 'number' && typeof other === 'number') return one - other
  // The byte order of UTF-8 is the order of code points.
  return Buffer.compare(Buffer.from(String(one)), Buffer.from(String(other)))
}

function inOrder(tasks: readonly TaskBody[], keys: readonly string[]): TaskBody[] {
  const last = keys.at(-1) ?? '-'
  const all = [...keys, last.startsWith('-') ? '-created_at' : 'created_at']
  return [...tasks].sort((one, other) => {
    for (const key of all) {
      const name = key.replace('-', '') as (typeof SORTS)[number]
      const [first, second] = [sortValue(one, name), sortValue(other, name)]
      if (first === second) continue
      if (first === null) return 1
      if (second === null) return -1
      return key.startsWith('-') ? compare(second, first) : compare(first, second)
    }
    return 0
  })
}

const list = command(
  'list',
  fc.record({ conditions, keys: sortKeys, limit: fc.integer({ min: 1, max: 4 }) }),
  async (model, user, given) => {
    const named = Object.entries(given.conditions)
    const matching = model.tasks.filter((task) => named.every(([name, value]) => filters[name]?.(task, value)))
    const sort = given.keys.length > 0 ? { sort: given.keys.join() } : {}
    const query = new URLSearchParams({ ...given.conditions, ...sort, limit: String(given.limit), count: 'true' })
    const listed: TaskBody[] = []
    for (let path: string | undefined = `${TASKS}?${query}`; path !== undefined; ) {
      const page: Response = await user.get(path).expect(200)
      expect(page.headers['x-total-count']).to.equal(String(matching.length))
      listed.push(...page.body)
      await user.get(path).set('If-None-Match', String(page.headers.etag)).expect(304)
      path = linksOf(page).next
    }
    expect(listed).to.deep.equal(inOrder(matching, given.keys))
  },
)

const sync = command('sync', fc.integer({ min: 1, max: 4 }), async (model, user, limit) => {
  for (let more = true; more; ) {
    const { body } = await user
      .get(`${TASKS}/changes?limit=${limit}${model.since && `&since=${model.since}`}`)
      .expect(200)
    for (const task of body.items) model.replica.set(task.id, task)
    for (const { id } of body.deleted) model.replica.delete(id)
    model.since = body.next_since
    more = body.has_more
  }
  expect([...model.replica.values()].sort((one, other) => one.id - other.id)).to.deep.equal(model.tasks)
})

/** Milliseconds. A slow machine does fewer runs, and still shrinks a failure before the test times out. */
const MAX_RUN_TIME = 300

/** Runs random commands against the API and a model, each time as a new user. */
export const checkModel = (api: Api, numRuns: number): Promise<void> =>
  fc.assert(
    fc.asyncProperty(
      fc.commands([create, create, create, createOnce, get, edit, remove, batch, list, sync], {
        maxCommands: 60,
        size: 'max',
      }),
      async (commands) => {
        const real = await api.signUp()
        await fc.asyncModelRun(() => ({ model: new TaskList(), real }), commands)
      },
    ),
    { numRuns, interruptAfterTimeLimit: numRuns * MAX_RUN_TIME },
  )
