/** Databases with the product's schema and the same content: SQLite files, and a PostgreSQL server of the run's own. */
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { BcryptPasswordHasher } from '#src/adapters/security/bcrypt-password-hasher.ts'
import { CheckedApiTokenService } from '#src/adapters/security/checked-api-token-service.ts'
import { HmacRefreshTokenService } from '#src/adapters/security/hmac-refresh-token-service.ts'
import { databaseTarget, type PersistentTarget } from '#src/database-target.ts'
import { startPostgresql } from '#test/embedded-postgresql.ts'
import { query } from '#test/query.ts'
import { BCRYPT_ROUNDS, folder, SECRET_KEY } from './servers.ts'

/** Users 1 to `users` and tasks 1 to `tasks`; task i belongs to the user `owner(i)`. */
export interface Content {
  readonly users: number
  readonly tasks: number
  owner(task: number): number
  /** Whether the task is completed; by default, none is. */
  completed?(task: number): boolean
}

export interface Databases {
  readonly name: 'SQLite' | 'PostgreSQL'
  /** Creates databases with the content. @returns their DATABASE_URLs */
  create(content: Content, count: number): Promise<string[]>
  close(): Promise<void>
}

export const PASSWORD = 'the password of every user'
export const emailOf = (user: number) => `user-${user}@example.com`

const apiTokens = new CheckedApiTokenService()
const refreshTokens = new HmacRefreshTokenService({ secretKey: SECRET_KEY })
const apiSecret = apiTokens.newSecret()
const refreshSecret = refreshTokens.newSecret()

/** Each user has one session and one API token, both with the user's id. */
export const sessionOf = (user: number) => ({ id: user, ownerId: user })
export const apiTokenOf = (user: number) => apiTokens.issue({ id: user, ownerId: user }, apiSecret)
export const refreshTokenOf = (user: number) => refreshTokens.issue(sessionOf(user), refreshSecret)

const TIME = '2026-01-31T09:30:00.000Z'
const DESCRIPTION = 'Tag it, publish it, write the notes, tell the people who asked for it.'

const DUE_DAYS = 19
/** Tasks are due on one of the days from 2026-02-10 on. */
export const dueDay = (task: number) => 10 + (task % DUE_DAYS)
const END_OF_FIRST_DUE_DAY = Date.parse('2026-02-10T23:59:59.999Z')

/** The task as the API must return it. Half of the tasks have a description. */
export const seededTask = (id: number, { owner, completed }: Content) => ({
  id,
  title: `Task ${id}`,
  description: id % 2 === 0 ? DESCRIPTION : null,
  completed: completed?.(id) ?? false,
  owner_id: owner(id),
  created_at: TIME,
  updated_at: TIME,
})

const passwordHash = new BcryptPasswordHasher(BCRYPT_ROUNDS).hash(PASSWORD)

const INSERT_USERS = `insert into users (email, email_key, hashed_password, created_at)
  select value, value, $hash, $time from $emails`
const INSERT_SESSIONS = `insert into sessions (owner_id, created_at, last_used_at, counter, token_hash, rotated_at)
  select id, $now, $now, 0, '${refreshSecret.hash}', $now from users order by id`
const INSERT_API_TOKENS = `insert into api_tokens (owner_id, name, scopes, token_hash, created_at, last_used_at)
  select id, 'bench', 'tasks:write', '${apiSecret.hash}', $now, $now from users order by id`
const INSERT_TASKS = `insert into tasks (title, description, completed, owner_id, created_at, updated_at,
    due, due_moment, due_all_day, priority, tags, revision, search)
  select 'Task ' || i, case when i % 2 = 0 then $description end, false, value, $time, $time,
    '2026-02-' || (10 + i % ${DUE_DAYS}), ${END_OF_FIRST_DUE_DAY} + i % ${DUE_DAYS} * 86400000, true, 0, '[]', i, upper('Task ' || i || case when i % 2 = 0 then 'x' || $description else '' end)
  from $owners order by i`
const COMPLETE_TASKS = `update tasks set completed = true, completed_at = $time where id in (select value from $completed)`
const INSERT_LISTS = `insert into task_lists (owner_id, epoch, revision, size)
  select users.id, '00000000', coalesce(max(tasks.revision), 0), count(tasks.id)
  from users left join tasks on tasks.owner_id = users.id group by users.id`

const SEEDS = [INSERT_USERS, INSERT_TASKS, COMPLETE_TASKS, INSERT_LISTS, INSERT_SESSIONS, INSERT_API_TOKENS]

/** The SQL that seeds a database. The databases differ only in their values for time and lists. */
function seeding(
  content: Content,
  hash: string,
  timeOf: (time: Date) => string,
  list: (json: string, type: string) => string,
): string[] {
  const ids = (count: number) => Array.from({ length: count }, (_, index) => index + 1)
  const text = (value: string) => `'${value}'`
  const values: Readonly<Record<string, string>> = {
    hash: text(hash),
    time: timeOf(new Date(TIME)),
    now: timeOf(new Date()),
    description: text(DESCRIPTION),
    emails: list(text(JSON.stringify(ids(content.users).map(emailOf))), 'text'),
    owners: list(text(JSON.stringify(ids(content.tasks).map(content.owner))), 'integer'),
    completed: list(text(JSON.stringify(ids(content.tasks).filter((id) => content.completed?.(id)))), 'integer'),
  }
  // A function, because `$`, which a bcrypt hash contains, is special in a replacement string.
  return SEEDS.map((sql) => sql.replaceAll(/\$(\w+)/g, (_, name) => values[name] ?? ''))
}

export const sqlite: Databases = {
  name: 'SQLite',
  async create(content, count) {
    const paths = Array.from({ length: count }, () => newName('.db')).map((name) => join(folder, name))
    const [first = '', ...others] = paths
    await migrate({ kind: 'sqlite', path: first })
    const database = new BetterSqlite3(first)
    const list = (json: string) => `(select key + 1 as i, value from json_each(${json}))`
    for (const sql of seeding(content, await passwordHash, (time) => String(time.getTime()), list)) database.exec(sql)
    database.exec('analyze')
    database.close()
    for (const path of others) copyFileSync(first, path)
    return paths.map((path) => `sqlite:///${path}`)
  },
  async close() {},
}

/** Starts PostgreSQL with its default settings, so that an acknowledged write survives a power cut, as on SQLite. */
export async function openPostgresql(): Promise<Databases> {
  const server = await startPostgresql({ folder: join(folder, 'postgresql') })
  // If the run ends without `close`, stop the server before its folder is removed.
  process.prependOnceListener('exit', () => void server.stop())
  const urlOf = (name: string) => new URL(`/${name}`, server.url).href
  return {
    name: 'PostgreSQL',
    async create(content, count) {
      const names = Array.from({ length: count }, () => newName(''))
      const [first = '', ...others] = names
      await query(urlOf('postgres'), `create database ${first}`)
      await migrate(databaseTarget(urlOf(first)) as PersistentTarget)
      const list = (json: string, type: string) =>
        `(select i, value::${type} from json_array_elements_text(${json}) with ordinality as list (value, i)) as list`
      const seeds = seeding(content, await passwordHash, (time) => `'${time.toISOString()}'`, list)
      for (const sql of [...seeds, 'vacuum (analyze)']) await query(urlOf(first), sql)
      for (const name of others) await query(urlOf('postgres'), `create database ${name} template ${first}`)
      // Writes dirty pages now, so that no checkpoint disturbs a measurement.
      await query(urlOf('postgres'), 'checkpoint')
      return names.map(urlOf)
    },
    close: () => server.stop(),
  }
}

let named = 0
const newName = (suffix: string) => `bench_${++named}${suffix}`

async function migrate(target: Parameters<typeof openDatabase>[0]): Promise<void> {
  const database = await openDatabase(target)
  await database.migrate()
  await database.close()
}
