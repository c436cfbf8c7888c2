/** The measurements: scenes of servers, each with rows of the table and their goals. */
import type { Request } from 'autocannon'
import jwt from 'jsonwebtoken'
import {
  apiTokenOf,
  type Content,
  type Databases,
  dueDay,
  emailOf,
  PASSWORD,
  refreshTokenOf,
  seededTask,
  sessionOf,
} from './databases.ts'
import { type Load, type Side, startLoad } from './load.ts'
import {
  type Place,
  processesOf,
  SECRET_KEY,
  type Server,
  startBareStreams,
  startFloor,
  startProduct,
} from './servers.ts'
import { memoryOfStreams, openStreams } from './streams.ts'
import type { Fact } from './table.ts'

export interface Goal {
  /** Minimum of A's requests per second relative to B's. */
  readonly ratio?: number
  /** Maximum of A's p99 relative to B's. */
  readonly p99Ratio?: number
}

export interface Row {
  readonly what: string
  readonly against: string
  readonly goal: Goal
  /** A is compared with B. */
  readonly sides: readonly [a: Side, b: Side]
}

export interface Stage {
  /** The started servers by name. */
  readonly servers: Readonly<Record<string, Server>>
  /** @returns the sides to compare, or a fact that was measured */
  row(name: string): Promise<Row | Omit<Fact, 'row'>>
}

export interface Scene {
  readonly rows: readonly string[]
  readonly place: Place
  /** Whether to report the memory of its servers. */
  readonly memory?: true
  open(databases: Databases): Promise<Stage>
}

const TASKS = '/api/v1/tasks'
const CONNECTIONS = 32

const tokens = new Map<number, string>()
function headersOf(user: number) {
  const token =
    tokens.get(user) ??
    jwt.sign({ sub: String(user), sid: String(sessionOf(user).id) }, SECRET_KEY, { expiresIn: '1h' })
  tokens.set(user, token)
  return { authorization: `Bearer ${token}` }
}

/** Each connection has its own user. */
const userOf = (connection: number) => 1 + (connection % CONNECTIONS)
export const ROUTE_CONTENT: Content = { users: CONNECTIONS, tasks: CONNECTIONS * 200, owner: (task) => userOf(task) }

const idsOf = (user: number, content: Content) =>
  Array.from({ length: content.tasks }, (_, index) => content.tasks - index).filter((id) => content.owner(id) === user)
const ownIds = Array.from({ length: CONNECTIONS + 1 }, (_, user) => idsOf(user, ROUTE_CONTENT))
const idsAt = (connection: number) => ownIds[userOf(connection)] as number[]

const users = Array.from({ length: CONNECTIONS }, (_, connection) => userOf(connection))
const json = (user: number) => ({ ...headersOf(user), 'content-type': 'application/json' })

const SEEDED_MEMBERS = Object.keys(seededTask(1, ROUTE_CONTENT))
const seededMembers = (body: object) => JSON.stringify(body, SEEDED_MEMBERS)

/** Checks each distinct body only once, to keep the load cheap. */
function checkedOnce(isRight: (body: string) => boolean): Load['accepts'] {
  const right = new Set<string>()
  return (body) => {
    if (!right.has(body) && isRight(body)) right.add(body)
    return right.has(body)
  }
}

/** Expects the seeded tasks. */
function reads(expected: readonly object[], requests: (connection: number) => Request[]): Load {
  const seeded = new Set(expected.map(seededMembers))
  const accepts = checkedOnce((body) => seeded.has(seededMembers(JSON.parse(body))))
  return { status: 200, connections: CONNECTIONS, requests, accepts }
}

const bodiesOf = (ids: readonly number[], content: Content) => ids.map((id) => seededTask(id, content))

const readOne = reads(bodiesOf(ownIds.flat(), ROUTE_CONTENT), (connection) =>
  idsAt(connection)
    .slice(0, 50)
    .map((id) => ({ method: 'GET', path: `${TASKS}/${id}`, headers: headersOf(userOf(connection)) })),
)

const readPage = (limit: number) =>
  reads(
    users.map((user) => bodiesOf((ownIds[user] as number[]).slice(0, limit), ROUTE_CONTENT)),
    (connection) => [{ method: 'GET', path: `${TASKS}?limit=${limit}`, headers: headersOf(userOf(connection)) }],
  )

const TIME = /^\d{4}-\d\d-\d\dT[\d:.]{12}Z$/
const stored = (title: RegExp, completed: boolean) => (body: string) => {
  const task = JSON.parse(body)
  return task.id > 0 && title.test(task.title) && task.completed === completed && TIME.test(task.updated_at)
}

const NEW_TASK = { title: 'Write the release notes', description: 'For people who were not there.' }
const create = (connections = CONNECTIONS, user = userOf): Load => ({
  status: 201,
  connections,
  requests: (connection) => [
    {
      method: 'POST',
      path: TASKS,
      headers: json(user(connection)),
      body: JSON.stringify(NEW_TASK),
    },
  ],
  accepts: stored(/^Write the release notes$/, false),
})

const edit = (ids: (connection: number) => readonly number[], user = userOf): Load => ({
  status: 200,
  connections: CONNECTIONS,
  requests: (connection) =>
    ids(connection).map((id) => ({
      method: 'PATCH',
      path: `${TASKS}/${id}`,
      headers: json(user(connection)),
      body: '{"completed":true}',
    })),
  accepts: stored(/^Task \d+$/, true),
})

interface Route {
  readonly what: string
  readonly load: Load
  /** The goal for the ratio on each database. */
  readonly SQLite?: number
  readonly PostgreSQL?: number
}

/** Each route with its goals. Reads come first, because writes change what they return. */
const routes: Readonly<Record<string, Route>> = {
  get: { what: 'GET /tasks/{id}', load: readOne, SQLite: 0.6, PostgreSQL: 1.2 },
  list20: { what: 'GET /tasks?limit=20', load: readPage(20), SQLite: 0.8, PostgreSQL: 1 },
  list100: { what: 'GET /tasks?limit=100', load: readPage(100), SQLite: 0.75, PostgreSQL: 0.9 },
  patch: {
    what: 'PATCH /tasks/{id}',
    load: edit((connection) => idsAt(connection).slice(0, 50)),
    SQLite: 3,
    PostgreSQL: 0.8,
  },
  post: { what: 'POST /tasks', load: create(), SQLite: 3, PostgreSQL: 1.5 },
  single: { what: 'POST /tasks, one connection', load: create(1) },
}

const againstFloor = (content: Content, routes: Readonly<Record<string, Route>>, p99: Goal = {}): Scene => ({
  rows: Object.keys(routes),
  place: 'server',
  async open(databases) {
    const [productUrl = '', floorUrl = ''] = await databases.create(content, 2)
    const [product, floor] = await Promise.all([startProduct(productUrl), startFloor(floorUrl)])
    const row = async (name: string): Promise<Row> => {
      const { what, load, [databases.name]: ratio } = routes[name] as Route
      const goal = ratio === undefined ? {} : { ratio, ...p99 }
      return {
        what,
        against: 'the floor',
        goal,
        sides: [
          { server: product, load },
          { server: floor, load },
        ],
      }
    }
    return { servers: { 'the product': product, 'the floor': floor }, row }
  },
})

const productAgainstFloor: Scene = { ...againstFloor(ROUTE_CONTENT, routes, { p99Ratio: 2 }), memory: true }

const ONLY_USER = 1
const onlyUser = () => ONLY_USER
const ofOneUser: Content = { users: 1, tasks: CONNECTIONS * 50, owner: onlyUser }

const oneUser = againstFloor(ofOneUser, {
  'one-user-post': { what: 'POST /tasks, all by one user', load: create(CONNECTIONS, onlyUser), PostgreSQL: 2 },
  'one-user-patch': {
    what: 'PATCH /tasks/{id}, different tasks of one user',
    load: edit((connection) => Array.from({ length: 50 }, (_, index) => connection * 50 + index + 1), onlyUser),
    PostgreSQL: 2,
  },
  'one-task-patch': { what: 'PATCH /tasks/{id}, one task', load: edit(() => [1], onlyUser), PostgreSQL: 0.5 },
})

const SYNC_TASKS = 100_000
const SYNC_LIMIT = 1_000
const synced: Content = { users: 1, tasks: SYNC_TASKS, owner: onlyUser }

/** Pages of a first synchronization, at the positions that the seeded revisions lead to. */
const fullSync: Load = {
  status: 200,
  connections: 1,
  requests: () =>
    Array.from({ length: SYNC_TASKS / SYNC_LIMIT }, (_, page) => {
      const since = page === 0 ? '' : `&since=00000000-${page * SYNC_LIMIT}-${SYNC_TASKS}`
      return { method: 'GET', path: `${TASKS}/changes?limit=${SYNC_LIMIT}${since}`, headers: headersOf(ONLY_USER) }
    }),
  accepts: checkedOnce((body) => {
    const { items, deleted, next_since: next, has_more: hasMore } = JSON.parse(body)
    const first = items[0].id
    const last = first + SYNC_LIMIT - 1
    const expected = Array.from({ length: SYNC_LIMIT }, (_, index) => seededTask(first + index, synced))
    return (
      seededMembers(items) === seededMembers(expected) &&
      deleted.length === 0 &&
      next.startsWith(`00000000-${last}`) &&
      hasMore === last < SYNC_TASKS
    )
  }),
}

const sync = againstFloor(synced, {
  sync: { what: 'full sync of 100,000 tasks, 1,000 a page', load: fullSync, SQLite: 0.9, PostgreSQL: 0.9 },
})

const FEW = 1
const MANY = 2
const fewAlone: Content = { users: 12, tasks: 100, owner: () => FEW }
const fewAmongMany: Content = {
  users: 12,
  tasks: 1_000_000,
  owner: (task) => (task % 10_000 === 0 ? FEW : task % 10 === 1 ? MANY : 3 + (task % 10)),
}
/** A costs at most a third more than B. */
const WITHIN_A_THIRD: Goal = { ratio: 3 / 4 }

const pageOf = (user: number, content: Content, number = 1, path = TASKS) => {
  const ids = idsOf(user, content).slice((number - 1) * 100, number * 100)
  return reads([bodiesOf(ids, content)], () => [{ method: 'GET', path, headers: headersOf(user) }])
}

const pages: Scene = {
  rows: ['pages-first', 'pages-1000'],
  place: 'server',
  async open(databases) {
    const [small = ''] = await databases.create(fewAlone, 1)
    const [large = ''] = await databases.create(fewAmongMany, 1)
    const [amongMany, alone] = await Promise.all([startProduct(large), startProduct(small)])
    const row = async (name: string): Promise<Row> => {
      if (name === 'pages-first') {
        const a = { server: amongMany, load: pageOf(FEW, fewAmongMany) }
        const b = { server: alone, load: pageOf(FEW, fewAlone) }
        const what = 'first page of 100 tasks among 1,000,000'
        return { what, against: 'among 100', goal: WITHIN_A_THIRD, sides: [a, b] }
      }
      const path = await followNext(amongMany, `${TASKS}?limit=100`, 1_000 - 1)
      const a = { server: amongMany, load: pageOf(MANY, fewAmongMany, 1_000, path) }
      const b = { server: amongMany, load: pageOf(MANY, fewAmongMany) }
      const what = 'page 1,000 of a user with 100,000 tasks'
      return { what, against: 'page 1', goal: WITHIN_A_THIRD, sides: [a, b] }
    }
    return { servers: { amongMany, alone }, row }
  },
}

/** Follows `Link` from a page. @returns the path of the page after that number of steps */
async function followNext({ url }: Server, from: string, steps: number): Promise<string> {
  let path = from
  for (let step = 0; step < steps; step++) {
    const { headers } = await fetch(new URL(path, url), { headers: headersOf(MANY) })
    const next = /<([^>]+)>; rel="next"/.exec(headers.get('Link') ?? '')?.[1]
    if (!next) throw new Error(`Page ${step + 1} has no next page.`)
    path = next
  }
  return path
}

const OPEN_OF_FEW = 100
/** One user has 100 open tasks only; another has 1,000 open tasks among 100,000. */
const mostlyCompleted: Content = {
  users: MANY,
  tasks: OPEN_OF_FEW + 100_000,
  owner: (task) => (task <= OPEN_OF_FEW ? FEW : MANY),
  completed: (task) => task > OPEN_OF_FEW && task % 100 !== 0,
}

const openTasks = (user: number, sort?: (a: number, b: number) => number): Load => {
  const ids = idsOf(user, mostlyCompleted).filter((id) => !mostlyCompleted.completed?.(id))
  const page = (sort ? ids.toSorted(sort) : ids).slice(0, 100)
  const path = `${TASKS}?completed=false&limit=100${sort ? '&sort=due' : ''}`
  return reads([bodiesOf(page, mostlyCompleted)], () => [{ method: 'GET', path, headers: headersOf(user) }])
}
const byDue = (a: number, b: number) => dueDay(a) - dueDay(b) || a - b

const open: Scene = {
  rows: ['open', 'open-due'],
  place: 'server',
  async open(databases) {
    const [url = ''] = await databases.create(mostlyCompleted, 1)
    const server = await startProduct(url)
    const row = async (name: string): Promise<Row> => {
      const sort = name === 'open-due' ? byDue : undefined
      return {
        what: `first page of open tasks${sort ? ' by due' : ''}, of 100,000`,
        against: 'of 100',
        goal: WITHIN_A_THIRD,
        sides: [
          { server, load: openTasks(MANY, sort) },
          { server, load: openTasks(FEW, sort) },
        ],
      }
    }
    return { servers: { server }, row }
  },
}

const notModified: Scene = {
  rows: ['list304'],
  place: 'server',
  async open(databases) {
    const [url = ''] = await databases.create(ROUTE_CONTENT, 1)
    const server = await startProduct(url)
    const load = readPage(100)
    const row = async (): Promise<Row> => ({
      what: 'GET /tasks?limit=100, 304 to If-None-Match',
      against: '200',
      goal: { ratio: 2.5 },
      sides: [
        { server, load: await unchanged(server, load) },
        { server, load },
      ],
    })
    return { servers: { server }, row }
  },
}

/** The same requests with the ETag of their responses. */
async function unchanged({ url }: Server, load: Load): Promise<Load> {
  const requests = await Promise.all(
    Array.from({ length: load.connections }, (_, connection) =>
      Promise.all(
        load.requests(connection).map(async (request) => {
          const headers = request.headers as Record<string, string>
          const answer = await fetch(new URL(request.path ?? '', url), { headers })
          return { ...request, headers: { ...headers, 'if-none-match': answer.headers.get('ETag') ?? '' } }
        }),
      ),
    ),
  )
  return { ...load, status: 304, requests: (connection) => requests[connection] ?? [], accepts: (body) => body === '' }
}

const BATCH = 100
const createBatch: Load = {
  status: 200,
  connections: 1,
  weight: BATCH,
  requests: () => [
    {
      method: 'POST',
      path: `${TASKS}/batch`,
      headers: json(ONLY_USER),
      body: JSON.stringify({ operations: Array.from({ length: BATCH }, () => ({ op: 'create', task: NEW_TASK })) }),
    },
  ],
  accepts: (body) => {
    const { results } = JSON.parse(body)
    return results.length === BATCH && results.every(({ title }: { title: string }) => title === NEW_TASK.title)
  },
}

const batch: Scene = {
  rows: ['batch'],
  place: 'server',
  async open(databases) {
    const [url = ''] = await databases.create(ofOneUser, 1)
    const server = await startProduct(url)
    const row = async (): Promise<Row> => ({
      what: `creates in batches of ${BATCH}, one connection`,
      against: 'single creates',
      goal: { ratio: 8 },
      sides: [
        { server, load: createBatch },
        { server, load: create(1, onlyUser) },
      ],
    })
    return { servers: { server }, row }
  },
}

const STREAMS = 1_000
const STREAMS_MEMORY_GOAL = 2.5
/** Each user has one stream, including the users who write. */
const streaming: Content = { ...ROUTE_CONTENT, users: STREAMS }
const streamHeaders = () => Array.from({ length: STREAMS }, (_, index) => headersOf(index + 1))

const streams: Scene = {
  rows: ['streams-memory', 'streams-post'],
  place: 'server',
  async open(databases) {
    const [url = ''] = await databases.create(streaming, 1)
    const [server, bare] = await Promise.all([startProduct(url), startBareStreams()])
    const row: Stage['row'] = async (name) => {
      if (name === 'streams-memory') {
        const each = await memoryOfStreams(server, streamHeaders())
        const least = await memoryOfStreams(bare, streamHeaders())
        const [kilobytes, leastKilobytes] = [each, least].map((bytes) => (bytes / 1e3).toFixed(1))
        return {
          what: '1,000 event streams against bare node:http',
          value: `${(each / least).toFixed(2)} (${kilobytes} / ${leastKilobytes} kB each)`,
          goal: `≤ ${STREAMS_MEMORY_GOAL}`,
          met: each <= STREAMS_MEMORY_GOAL * least,
        }
      }
      return {
        what: 'POST /tasks beside 1,000 event streams',
        against: 'without them',
        goal: { p99Ratio: 2 },
        sides: [
          { server, load: create(), beside: () => openStreams(server, streamHeaders()) },
          { server, load: create() },
        ],
      }
    }
    return { servers: { server, bare }, row }
  },
}

const LOGINS = 16
const logIn: Load = {
  status: 200,
  connections: LOGINS,
  requests: (connection) => [
    {
      method: 'POST',
      path: '/api/v1/auth/login',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username: emailOf(userOf(connection)), password: PASSWORD }),
    },
  ],
  accepts: (body) => body.startsWith('{"access_token":"'),
}

const login: Scene = {
  rows: ['login'],
  // bcrypt runs in its own threads, and the row measures how they delay other requests.
  place: 'any',
  async open(databases) {
    const [url = ''] = await databases.create(ROUTE_CONTENT, 1)
    const server = await startProduct(url, 'any')
    const row = async (): Promise<Row> => ({
      what: `GET /tasks/{id} beside ${LOGINS} logins at a time`,
      against: 'without them',
      goal: { p99Ratio: 3 },
      sides: [
        { server, load: readOne, beside: () => startLoad(server, logIn) },
        { server, load: readOne },
      ],
    })
    return { servers: { server }, row }
  },
}

const byScripts: Load = {
  ...readOne,
  requests: (connection) => {
    const headers = { authorization: `Bearer ${apiTokenOf(userOf(connection))}` }
    return readOne.requests(connection).map((request) => ({ ...request, headers }))
  },
}

/** Each connection sends the refresh token that it received last. */
function refreshing(): Load {
  const latest = new Map<number, string>()
  return {
    status: 200,
    connections: CONNECTIONS,
    requests: (connection) => [
      {
        method: 'POST',
        path: '/api/v1/auth/refresh',
        headers: { 'content-type': 'application/json' },
        setupRequest: (request) => {
          const token = latest.get(connection) ?? refreshTokenOf(userOf(connection))
          return { ...request, body: JSON.stringify({ refresh_token: token }) }
        },
        onResponse: (status, body) => {
          if (status === 200) latest.set(connection, JSON.parse(body).refresh_token)
        },
      },
    ],
    accepts: (body) => body.startsWith('{"access_token":"'),
  }
}

const credentials: Scene = {
  rows: ['api-token', 'refresh'],
  place: 'server',
  async open(databases) {
    const [url = ''] = await databases.create(ROUTE_CONTENT, 1)
    // A measurement may end before a connection has read its new token. The next one begins after that of the other side.
    const server = await startProduct(url, 'server', { REFRESH_GRACE_SECONDS: '300' })
    const row: Stage['row'] = async (name) =>
      name === 'api-token'
        ? {
            what: 'GET /tasks/{id} with an API token',
            against: 'a JSON Web Token',
            goal: { ratio: 0.9 },
            sides: [
              { server, load: byScripts },
              { server, load: readOne },
            ],
          }
        : {
            what: 'POST /auth/refresh',
            against: 'PATCH /tasks/{id}',
            goal: {},
            sides: [
              { server, load: refreshing() },
              { server, load: edit((connection) => idsAt(connection).slice(0, 50)) },
            ],
          }
    return { servers: { server }, row }
  },
}

const cluster: Scene = {
  rows: ['cluster-get', 'cluster-list100', 'cluster-post'],
  // Two workers need two cores.
  place: 'any',
  async open(databases) {
    const [first = '', second = ''] = await databases.create(ROUTE_CONTENT, 2)
    const [two, one] = await Promise.all([
      startProduct(first, 'any', { WEB_CONCURRENCY: '2' }),
      startProduct(second, 'any', { WEB_CONCURRENCY: '1' }),
    ])
    const row: Stage['row'] = async (name) => {
      if (processesOf(two).length < 3) return { what: 'WEB_CONCURRENCY=2 starts no workers', value: '' }
      const { what, load } = routes[name.replace('cluster-', '')] as Route
      const sides = [
        { server: two, load },
        { server: one, load },
      ] as const
      return { what: `${what}, WEB_CONCURRENCY=2`, against: '1', goal: {}, sides }
    }
    return { servers: { two, one }, row }
  },
}

export const scenes: readonly Scene[] = [
  productAgainstFloor,
  oneUser,
  sync,
  notModified,
  pages,
  open,
  batch,
  streams,
  credentials,
  login,
  cluster,
]
