/** What is measured: scenes of servers, each with rows of the table and their goals. */
import type { Request } from 'autocannon'
import jwt from 'jsonwebtoken'
import { type Content, type Databases, emailOf, PASSWORD, seededTask } from './databases.ts'
import { type Load, type Side, startLoad } from './load.ts'
import { type Place, processesOf, SECRET_KEY, type Server, startFloor, startProduct } from './servers.ts'

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
  /** @returns the reason if the row cannot be measured */
  row(name: string): Promise<Row | string>
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
  const token = tokens.get(user) ?? jwt.sign({ sub: String(user) }, SECRET_KEY, { expiresIn: '1h' })
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

/** Expects the seeded tasks. Parses each distinct body only once, to keep the load cheap. */
function reads(expected: readonly object[], requests: (connection: number) => Request[]): Load {
  const seeded = new Set(expected.map(seededMembers))
  const right = new Set<string>()
  const accepts = (body: string) => {
    if (!right.has(body) && seeded.has(seededMembers(JSON.parse(body)))) right.add(body)
    return right.has(body)
  }
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

const create = (connections = CONNECTIONS): Load => ({
  status: 201,
  connections,
  requests: (connection) => [
    {
      method: 'POST',
      path: TASKS,
      headers: json(userOf(connection)),
      body: '{"title":"Write the release notes","description":"For people who were not there."}',
    },
  ],
  accepts: stored(/^Write the release notes$/, false),
})

const edit: Load = {
  status: 200,
  connections: CONNECTIONS,
  requests: (connection) =>
    idsAt(connection)
      .slice(0, 50)
      .map((id) => ({
        method: 'PATCH',
        path: `${TASKS}/${id}`,
        headers: json(userOf(connection)),
        body: '{"completed":true}',
      })),
  accepts: stored(/^Task \d+$/, true),
}

const P99 = 2
/** Each route with its goals. Reads come first, because writes change what they return. */
const routes: Readonly<Record<string, { what: string; load: Load; SQLite?: number; PostgreSQL?: number }>> = {
  get: { what: 'GET /tasks/{id}', load: readOne, SQLite: 0.6, PostgreSQL: 1.2 },
  list20: { what: 'GET /tasks?limit=20', load: readPage(20), SQLite: 0.8, PostgreSQL: 1 },
  list100: { what: 'GET /tasks?limit=100', load: readPage(100), SQLite: 0.75, PostgreSQL: 0.9 },
  patch: { what: 'PATCH /tasks/{id}', load: edit, SQLite: 3, PostgreSQL: 0.8 },
  post: { what: 'POST /tasks', load: create(), SQLite: 3, PostgreSQL: 1.5 },
  single: { what: 'POST /tasks, one connection', load: create(1) },
}

const productAgainstFloor: Scene = {
  rows: Object.keys(routes),
  place: 'server',
  memory: true,
  async open(databases) {
    const [productUrl = '', floorUrl = ''] = await databases.create(ROUTE_CONTENT, 2)
    const [product, floor] = await Promise.all([startProduct(productUrl), startFloor(floorUrl)])
    const row = async (name: string): Promise<Row> => {
      const { what, load, [databases.name]: ratio } = routes[name] as (typeof routes)[string]
      const goal = ratio === undefined ? {} : { ratio, p99Ratio: P99 }
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
}

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
  // bcrypt has its own threads, and the row measures what they take from other requests.
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
    const row = async (name: string): Promise<Row | string> => {
      if (processesOf(two).length < 3) return 'not yet: WEB_CONCURRENCY=2 starts no workers'
      const { what, load } = routes[name.replace('cluster-', '')] as (typeof routes)[string]
      const sides = [
        { server: two, load },
        { server: one, load },
      ] as const
      return { what: `${what}, WEB_CONCURRENCY=2`, against: '1', goal: {}, sides }
    }
    return { servers: { two, one }, row }
  },
}

export const scenes: readonly Scene[] = [productAgainstFloor, pages, login, cluster]
