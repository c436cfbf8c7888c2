/** Reads that take as long in a long list as in a short one. */
import { purgeExpired } from '#src/adapters/mikro-orm/purge-expired.ts'
import { LeaverPurge } from '#src/adapters/mikro-orm/purge-leavers.ts'
import type { Session } from '#src/domain/accounts/session.ts'
import type { TaskRepository } from '#src/domain/tasks/ports.ts'
import type { Task } from '#src/domain/tasks/task.ts'
import { placeOf } from '#src/domain/tasks/task-order.ts'
import { taskQuery } from '#src/domain/tasks/task-query.ts'
import { anAddress, anApiTokenDraft, aSessionDraft, aTaskDraft, aUserDraft } from '#test/builders.ts'
import type { ObservedStore } from '#test/contracts/observed-store.ts'

const LENGTH = 2_000
export const LIMIT = 10

const DAY = 86_400_000

/** A long list of mostly completed tasks, half of them due, with some deletions. */
export async function makeLongList(tasks: TaskRepository, ownerId: number): Promise<Task> {
  const added = await tasks.write(ownerId, [], () =>
    Array.from({ length: LENGTH }, (_, index) => {
      const completed = index % 20 !== 0
      const due = index % 2 === 0 ? new Date(DAY * ((index * 7) % LENGTH)).toISOString() : null
      return { add: aTaskDraft({ ownerId, completed, due, completedAt: completed ? new Date(0) : null }) }
    }),
  )
  const removed = added.flatMap((task, index) => (index % 10 === 5 ? [(task as Task).snapshot().id] : []))
  await tasks.write(ownerId, removed, (found) =>
    Array.from(found.values(), (remove) => ({ remove, deletedAt: new Date(0) })),
  )
  return added[LENGTH / 2] as Task
}

const DUE = [{ field: 'due', descending: false }] as const
const OPEN = [{ name: 'completed', value: false }] as const

/** Reads and changes accounts, and purges them. None of these statements may scan a table. */
export async function useAccounts({ users, sessions, apiTokens, store }: ObservedStore): Promise<void> {
  const user = await users.add(aUserDraft({ email: 'accounts@example.com' }))
  const ownerId = user.id
  await users.findById(ownerId)
  await users.findByEmail(anAddress('accounts@example.com'))
  await users.list({ before: ownerId + 1, containing: undefined, limit: LIMIT })
  await users.replaceHash(user.snapshot(), 'new')
  const session = (await sessions.start(aSessionDraft({ ownerId }), { hashedPassword: 'new' })) as Session
  await sessions.find(session)
  await sessions.list(ownerId)
  await sessions.use(session, new Date())
  await sessions.refresh(session, () => ({ outcome: 'rotated', session }))
  await sessions.end(session)
  await sessions.start(aSessionDraft({ ownerId, createdAt: new Date(0) }), { hashedPassword: 'new' })
  await purgeExpired(store, ['sessions', 'created_at'], new Date(1))
  await purgeExpired(store, ['sessions', 'last_used_at'], new Date(1))
  const apiToken = await apiTokens.add(anApiTokenDraft({ ownerId, expiresAt: new Date(0) }))
  await apiTokens.find(apiToken)
  await apiTokens.list(ownerId)
  await apiTokens.use(apiToken, new Date())
  await purgeExpired(store, ['api_tokens', 'expires_at'], new Date(1))
  await apiTokens.remove(apiToken)
  await users.write(ownerId, () => ({ save: user, endSessions: { except: undefined } }))
  await users.write(ownerId, () => ({ remove: user }))
  await new LeaverPurge(store).run()
}

/** @param task in the middle of a long list */
export function indexedReads(tasks: TaskRepository, task: Task): Readonly<Record<string, () => Promise<unknown>>> {
  const { id, ownerId } = task.snapshot()
  const list = (given: Parameters<typeof taskQuery>[0]) => () =>
    tasks.list(ownerId, taskQuery({ limit: LIMIT, ...given }))
  const byDue = placeOf(task.snapshot(), DUE)
  return {
    'the default list': list({}),
    'the default list after a task': list({ position: { after: [id] } }),
    'the default list before a task': list({ position: { before: [id] } }),
    'the default list with a count': list({ count: true }),
    'open tasks': list({ conditions: OPEN }),
    'open tasks after a task': list({ conditions: OPEN, position: { after: [id] } }),
    'open tasks before a task': list({ conditions: OPEN, position: { before: [id] } }),
    'tasks by due date': list({ sort: DUE }),
    'tasks by due date after a task': list({ sort: DUE, position: { after: byDue } }),
    'tasks by due date before a task': list({ sort: DUE, position: { before: byDue } }),
    'open tasks by due date': list({ conditions: OPEN, sort: DUE }),
    'open tasks by due date after a task': list({ conditions: OPEN, sort: DUE, position: { after: byDue } }),
    'the head of the change feed': () => tasks.head(ownerId),
    'the change feed': async () =>
      tasks.changes(ownerId, { ...(await tasks.head(ownerId)), revision: LENGTH / 2 }, LIMIT),
    'one task': () => tasks.get({ id, ownerId }),
  }
}
