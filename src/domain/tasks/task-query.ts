import { enforce, optional, wholeNumber } from '../rules.ts'
import type { TaskRange } from './ports.ts'
import type { Task } from './task.ts'

export const LIMIT = { min: 1, max: 200, default: 100 }
export const SKIP = { min: 0, max: Number.MAX_SAFE_INTEGER, default: 0 }

const BEFORE_ANY_ID = 0
const AFTER_ANY_ID = Number.MAX_SAFE_INTEGER
const boundaryId = wholeNumber(BEFORE_ANY_ID, AFTER_ANY_ID)

const pageRules = {
  limit: wholeNumber(LIMIT.min, LIMIT.max),
  skip: wholeNumber(SKIP.min, SKIP.max),
  newerThan: optional(boundaryId),
  olderThan: optional(boundaryId),
}

/**
 * Keyset pagination: the page starts next to the task with this id. A page costs the same at any depth, and tasks added or
 * removed meanwhile do not shift it.
 */
export type Position = { readonly newerThan: number } | { readonly olderThan: number }

export interface TaskPage {
  /** Newest first, at most `limit`. */
  readonly tasks: readonly Task[]
  /** Position of the page of newer tasks, if there are any. */
  readonly newer?: Position
  /** Position of the page of older tasks, if there are any. */
  readonly older?: Position
}

/**
 * Fetches one extra row to see whether more tasks follow; the other direction needs its own query, because the task that
 * the position names may be gone.
 *
 * @throws InvalidInput
 */
export async function readPage(read: (range: TaskRange) => Promise<Task[]>, range: TaskRange): Promise<TaskPage> {
  enforce(pageRules, range)
  const { newerThan, olderThan, skip, limit } = range
  const hasTasks = async (position: Position) => (await read({ ...position, skip: 0, limit: 1 })).length > 0

  const fetched = await read({ ...range, limit: limit + 1 })
  const hasMore = fetched.length > limit

  if (newerThan !== undefined) {
    const tasks = fetched.slice(-limit)
    const older = { olderThan: idOf(tasks.at(-1)) ?? AFTER_ANY_ID }
    return {
      tasks,
      ...(hasMore && { newer: { newerThan: idOf(tasks[0]) as number } }),
      ...((await hasTasks(older)) && { older }),
    }
  }
  const tasks = fetched.slice(0, limit)
  const newer = { newerThan: idOf(tasks[0]) ?? BEFORE_ANY_ID }
  const startsAtNewest = olderThan === undefined && skip === 0
  return {
    tasks,
    ...(!startsAtNewest && (await hasTasks(newer)) && { newer }),
    ...(hasMore && { older: { olderThan: idOf(tasks.at(-1)) as number } }),
  }
}

const idOf = (task: Task | undefined) => task?.snapshot().id
