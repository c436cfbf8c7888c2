import { readdirSync } from 'node:fs'
import { join, parse } from 'node:path'
import { expect } from 'chai'
import { openPersistence } from '#src/composition-root.ts'
import { readConfig } from '#src/config.ts'
import type { PostgresqlTarget } from '#src/database-target.ts'
import type { ApiTokenRepository, SessionRepository, UserRepository } from '#src/domain/accounts/ports.ts'
import { TaskNotFound } from '#src/domain/errors.ts'
import type { TaskKey, TaskRepository } from '#src/domain/tasks/ports.ts'
import type { Task, TaskDraft } from '#src/domain/tasks/task.ts'
import { type TaskQuery, taskQuery } from '#src/domain/tasks/task-query.ts'
import { aUserDraft } from '#test/builders.ts'

export interface Repositories {
  readonly tasks: TaskRepository
  readonly users: UserRepository
  readonly sessions: SessionRepository
  readonly apiTokens: ApiTokenRepository
  /** Purges the deletions of tasks before a time. */
  purgeDeletions(before: Date): Promise<void>
  /** Purges the results of writes with a key before a time. */
  purgeKeys(before: Date): Promise<void>
  /** Purges the sessions whose last use, or whose start, was before a time. */
  purgeSessions(before: { readonly lastUsed: Date; readonly created: Date }): Promise<void>
  /** Purges the API tokens that expired before a time. */
  purgeApiTokens(before: Date): Promise<void>
  /** Deletes the remaining rows of users who left. */
  purgeLeavers(): Promise<void>
  close(): Promise<void>
}

export async function openRepositories(
  databaseUrl: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<Repositories> {
  const database = await openPersistence(configOf(databaseUrl, environment).database)
  await database.migrate()
  return database
}

const configOf = (databaseUrl: string, environment: Readonly<Record<string, string>> = {}) =>
  readConfig({
    ENVIRONMENT: 'test',
    DATABASE_URL: databaseUrl,
    DATABASE_PREPARED_STATEMENTS: process.env.TEST_PREPARED_STATEMENTS ?? 'true',
    ...environment,
  })

export const targetOf = (databaseUrl: string) => configOf(databaseUrl).database.target

export const postgresqlTarget = (databaseUrl: string) => targetOf(databaseUrl) as PostgresqlTarget

/** Names of all migrations, in order. */
export const MIGRATIONS = readdirSync(join(import.meta.dirname, '../../src/adapters/mikro-orm/migrations'))
  .map((file) => parse(file).name)
  .sort()

let userCount = 0

/** Stores a user with a unique address. */
export async function anOwner({ users }: Pick<Repositories, 'users'>): Promise<number> {
  userCount++
  return (await users.add(aUserDraft({ email: `person-${userCount}@example.com` }))).snapshot().id
}

/** Leaves the repositories as if they were new, except that ids continue. A new database would take ten times as long. */
export async function removeUsers({ users, purgeLeavers }: Repositories): Promise<void> {
  const all = await users.list({ before: undefined, containing: undefined, limit: 1_000 })
  for (const { id } of all) await users.write(id, (user) => ({ remove: user }))
  await purgeLeavers()
}

type Tasks = Pick<TaskRepository, 'list' | 'write'>

/** Adds a task in a write of its own. */
export async function storeTask(tasks: Tasks, draft: TaskDraft): Promise<Task> {
  const [task] = await tasks.write(draft.ownerId, [], () => [{ add: draft }])
  return task as Task
}

/** @throws TaskNotFound, as the use case does */
export async function editTask(tasks: Tasks, { id, ownerId }: TaskKey, edit: (task: Task) => void): Promise<Task> {
  const [edited] = await tasks.write(ownerId, [id], (found) => {
    const task = foundTask(found, id)
    edit(task)
    return [{ save: task }]
  })
  return edited as Task
}

/** @throws TaskNotFound, as the use case does */
export async function removeTask(tasks: Tasks, { id, ownerId }: TaskKey, deletedAt = new Date(0)): Promise<void> {
  await tasks.write(ownerId, [id], (found) => [{ remove: foundTask(found, id), deletedAt }])
}

function foundTask(found: ReadonlyMap<number, Task>, id: number): Task {
  const task = found.get(id)
  if (!task) throw new TaskNotFound()
  return task
}

/** Lists all tasks, newest first, unless the query says otherwise. */
export async function listTasks(tasks: Tasks, ownerId: number, query?: Partial<TaskQuery>): Promise<readonly Task[]> {
  return (await tasks.list(ownerId, { ...taskQuery(), limit: 10_000, ...query })).tasks
}

export async function expectRejection(
  promise: Promise<unknown>,
  kind: abstract new (...of: never[]) => Error,
): Promise<Error> {
  const reason = await promise.then(
    (value) => expect.fail(`resolves to ${JSON.stringify(value)}`),
    (error: unknown) => error,
  )
  expect(reason).to.be.an.instanceOf(kind)
  return reason as Error
}

/** The number of promises that fulfil, and the reasons of those that reject. */
export async function outcomes(promises: readonly Promise<unknown>[]) {
  const settled = await Promise.allSettled(promises)
  const reasons = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []))
  return { succeeded: settled.length - reasons.length, reasons }
}
