/**
 * The floor: the same routes written by hand for speed, on `node:http` with prepared statements. As in the product, each
 * request checks the token, loads the user and the session, validates, and touches only that owner's rows, and each write
 * raises the revision of the owner's list. Unlike the product, the floor sends no common headers, no `Link`, no problem
 * documents and no deletions in the change feed, and commits each write separately.
 */
import { createSecretKey } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import BetterSqlite3 from 'better-sqlite3'
import jwt from 'jsonwebtoken'
import pg from 'pg'

interface Row {
  readonly id: number
  readonly title: string
  readonly description: string | null
  readonly completed: boolean | number
  readonly owner_id: number
  readonly created_at: Date | number
  readonly updated_at: Date | number
  readonly completed_at: Date | number | null
  readonly due: string | null
  readonly priority: number
  readonly tags: string
  readonly revision: number
}

interface Changes {
  readonly title?: string
  readonly description?: string | null
  readonly completed?: boolean
}

type Found = Row | undefined

interface Store {
  user(id: number, sessionId: number): { id: number } | undefined | Promise<{ id: number } | undefined>
  get(id: number, ownerId: number): Found | Promise<Found>
  list(ownerId: number, limit: number): Row[] | Promise<Row[]>
  changes(ownerId: number, since: number, limit: number): Row[] | Promise<Row[]>
  add(task: Required<Changes>, ownerId: number): Found | Promise<Found>
  edit(id: number, ownerId: number, changes: Changes): Found | Promise<Found>
}

const COLUMNS =
  'id, title, description, completed, owner_id, created_at, updated_at, completed_at, due, priority, tags, revision'
const NO_DUE = Number.MAX_SAFE_INTEGER
const PRIORITIES = ['none', 'low', 'medium', 'high', 'urgent']

const fold = (text: string) => text.normalize('NFC').toUpperCase().normalize('NFC')
const searchText = (title: string, description: string | null) =>
  description === null ? fold(title) : `${fold(title)}x${fold(description)}`

function sqliteStore(path: string): Store {
  const database = new BetterSqlite3(path)
  for (const pragma of ['journal_mode = wal', 'synchronous = full', 'foreign_keys = on', 'busy_timeout = 5000']) {
    database.pragma(pragma)
  }
  const user = database.prepare<unknown[], { id: number }>(
    `select users.id, email, hashed_password, disabled, users.created_at, last_used_at
     from users join sessions on owner_id = users.id where users.id = ? and sessions.id = ?`,
  )
  const get = database.prepare<unknown[], Row>(`select ${COLUMNS} from tasks where id = ? and owner_id = ?`)
  const list = database.prepare<unknown[], Row>(
    `select ${COLUMNS} from tasks where owner_id = ? order by id desc limit ?`,
  )
  const changes = database.prepare<unknown[], Row>(
    `select ${COLUMNS} from tasks where owner_id = ? and revision > ? order by revision limit ?`,
  )
  const add = database.prepare<unknown[], Row>(
    `insert into tasks (title, description, completed, owner_id, created_at, updated_at, completed_at, search, revision,
       due_moment, due_all_day, priority, tags)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ${NO_DUE}, 0, 0, '[]') returning ${COLUMNS}`,
  )
  const raise = database.prepare<unknown[], { revision: number }>(
    'update task_lists set revision = revision + 1, size = size + ? where owner_id = ? returning revision',
  )
  const edit = database.prepare<unknown[], Row>(
    `update tasks set title = ?, description = ?, completed = ?, completed_at = ?, updated_at = ?, search = ?, revision = ?
     where id = ? and owner_id = ? returning ${COLUMNS}`,
  )
  const bit = (value: boolean | undefined) => (value === undefined ? null : Number(value))
  return {
    user: (id, sessionId) => user.get(id, sessionId),
    get: (id, ownerId) => get.get(id, ownerId),
    list: (ownerId, limit) => list.all(ownerId, limit),
    changes: (ownerId, since, limit) => changes.all(ownerId, since, limit),
    // `.get()` would leave the statement open, so that the write-ahead log keeps growing.
    add: database.transaction(({ title, description, completed }: Required<Changes>, ownerId: number) => {
      const now = Date.now()
      const [list] = raise.all(1, ownerId)
      const search = searchText(title, description)
      const completedAt = completed ? now : null
      return add.all(title, description, bit(completed), ownerId, now, now, completedAt, search, list?.revision)[0]
    }).immediate,
    edit: database.transaction((id: number, ownerId: number, changes: Changes) => {
      const [row] = get.all(id, ownerId)
      if (!row) return undefined
      const [list] = raise.all(0, ownerId)
      const { title, description, completed } = { ...row, ...changes }
      const now = Date.now()
      const completedAt = completed ? (row.completed_at ?? now) : null
      const search = searchText(title, description)
      return edit.all(title, description, Number(completed), completedAt, now, search, list?.revision, id, ownerId)[0]
    }).immediate,
  }
}

function postgresqlStore(url: string): Store {
  const pool = new pg.Pool({ connectionString: url, max: 10 })
  const named =
    <Result extends object>(name: string, text: string) =>
    async (...values: unknown[]) =>
      (await pool.query<Result>({ name, text, values })).rows
  const user = named<{ id: number }>(
    'user',
    `select users.id, email, hashed_password, disabled, users.created_at, last_used_at
     from users join sessions on owner_id = users.id where users.id = $1 and sessions.id = $2`,
  )
  const get = named<Row>('get', `select ${COLUMNS} from tasks where id = $1 and owner_id = $2`)
  const list = named<Row>('list', `select ${COLUMNS} from tasks where owner_id = $1 order by id desc limit $2`)
  const changes = named<Row>(
    'changes',
    `select ${COLUMNS} from tasks where owner_id = $1 and revision > $2 order by revision limit $3`,
  )
  const add = named<Row>(
    'add',
    `with list as (update task_lists set revision = revision + 1, size = size + 1 where owner_id = $4 returning revision)
     insert into tasks (title, description, completed, owner_id, created_at, updated_at, completed_at, search, revision,
       due_moment, due_all_day, priority, tags)
     select $1, $2, $3::boolean, $4, $5::timestamptz, $5, case when $3 then $5 end, $6, list.revision, ${NO_DUE}, false, 0, '[]'
     from list returning ${COLUMNS}`,
  )
  const edit = named<Row>(
    'edit',
    `with list as (update task_lists set revision = revision + 1 where owner_id = $7 returning revision)
     update tasks set title = coalesce($1, title), description = case when $2 then $3 else description end,
       completed = coalesce($4, completed), updated_at = $5, revision = list.revision,
       completed_at = case when coalesce($4, completed) then coalesce(completed_at, $5) end,
       search = upper(coalesce($1, title) || coalesce('x' || case when $2 then $3 else description end, ''))
     from list where id = $6 and owner_id = $7
     returning ${COLUMNS.replace('revision', 'tasks.revision')}`,
  )
  return {
    user: async (id, sessionId) => (await user(id, sessionId))[0],
    get: async (id, ownerId) => (await get(id, ownerId))[0],
    list,
    changes,
    add: async ({ title, description, completed }, ownerId) =>
      (await add(title, description, completed, ownerId, new Date(), searchText(title, description)))[0],
    edit: async (id, ownerId, { title, description, completed }) =>
      (await edit(title, description !== undefined, description, completed, new Date(), id, ownerId))[0],
  }
}

const { DATABASE_URL = '', SECRET_KEY = '' } = process.env
const store = DATABASE_URL.startsWith('sqlite:///')
  ? sqliteStore(DATABASE_URL.slice('sqlite:///'.length))
  : postgresqlStore(DATABASE_URL)
const key = createSecretKey(SECRET_KEY, 'utf8')

const BASE = '/api/v1/tasks'

async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const user = await authenticated(request)
  if (!user) return answer(response, 401)
  const { method, url = '' } = request
  if (method === 'GET' && url.startsWith(`${BASE}/changes?`)) {
    const query = new URLSearchParams(url.slice(`${BASE}/changes?`.length))
    const [epoch, since = '0'] = (query.get('since') ?? '00000000').split('-')
    const limit = Number(query.get('limit'))
    const rows = await store.changes(user.id, Number(since), limit + 1)
    const items = rows.slice(0, limit).map(present)
    const next = `${epoch}-${items.at(-1)?.revision ?? since}`
    return answer(response, 200, { items, deleted: [], next_since: next, has_more: rows.length > limit })
  }
  if (url.startsWith(`${BASE}/`)) {
    const id = Number(url.slice(BASE.length + 1))
    if (!Number.isSafeInteger(id)) return answer(response, 422)
    if (method === 'GET') return answerTask(response, 200, await store.get(id, user.id))
    if (method === 'PATCH') {
      const changes = JSON.parse(await bodyOf(request))
      if (changes.title !== undefined && !isTitle(changes.title)) return answer(response, 422)
      return answerTask(response, 200, await store.edit(id, user.id, changes))
    }
  }
  if (method === 'GET' && url.startsWith(`${BASE}?`)) {
    const limit = Number(new URLSearchParams(url.slice(BASE.length + 1)).get('limit') ?? 100)
    return answer(response, 200, (await store.list(user.id, limit)).map(present))
  }
  if (method === 'POST' && url === BASE) {
    const { title, description = null, completed = false } = JSON.parse(await bodyOf(request))
    if (!isTitle(title)) return answer(response, 422)
    return answerTask(response, 201, await store.add({ title, description, completed }, user.id))
  }
  return answer(response, 404)
}

const isTitle = (title: unknown) => typeof title === 'string' && title.length >= 1 && title.length <= 255

async function authenticated(request: IncomingMessage): Promise<{ id: number } | undefined> {
  const { authorization = '' } = request.headers
  if (!authorization.startsWith('Bearer ')) return undefined
  try {
    const payload = jwt.verify(authorization.slice('Bearer '.length), key, { algorithms: ['HS256'] })
    const { sub, sid } = payload as jwt.JwtPayload
    return store.user(Number(sub), Number(sid))
  } catch {
    return undefined
  }
}

function bodyOf(request: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => resolve(body))
    request.on('error', reject)
  })
}

const present = (row: Row) => ({
  id: Number(row.id),
  title: row.title,
  description: row.description,
  completed: Boolean(row.completed),
  owner_id: row.owner_id,
  created_at: new Date(row.created_at).toISOString(),
  updated_at: new Date(row.updated_at).toISOString(),
  completed_at: row.completed_at === null ? null : new Date(row.completed_at).toISOString(),
  due: row.due,
  priority: PRIORITIES[row.priority],
  tags: JSON.parse(row.tags),
  revision: Number(row.revision),
})

function answerTask(response: ServerResponse, status: number, row: Found): void {
  if (row) answer(response, status, present(row))
  else answer(response, 404)
}

function answer(response: ServerResponse, status: number, body: object = { status }): void {
  const text = JSON.stringify(body)
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) })
  response.end(text)
}

const server = createServer((request, response) => {
  route(request, response).catch((error) => {
    console.error(error)
    answer(response, 500)
  })
})
server.listen(0, '127.0.0.1', () => {
  console.log(`floor on http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1, nothing else`)
})
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => process.exit())
