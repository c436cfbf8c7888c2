import { enforce, optional, wholeNumber } from '../rules.ts'
import type { TaskRange } from './ports.ts'
import type { Task } from './task.ts'

export const LIMIT = { min: 1, max: 200 }
export const SKIP = { min: 0, max: Number.MAX_SAFE_INTEGER }

const BEFORE_ANY_ID = 0
const AFTER_ANY_ID = Number.MAX_SAFE_INTEGER
const besideAnId = wholeNumber(BEFORE_ANY_ID, AFTER_ANY_ID)

const pageRules = {
  limit: wholeNumber(LIMIT.min, LIMIT.max),
  skip: wholeNumber(SKIP.min, SKIP.max),
  newerThan: optional(besideAnId),
  olderThan: optional(besideAnId),
}

/**
 * A page beside the task with that id, itself not on it. An id and not an offset: such a page costs the same however
 * deep it lies, and what is added or removed meanwhile shifts nothing.
 */
export type Position = { readonly newerThan: number } | { readonly olderThan: number }

export interface TaskPage {
  /** Newest first, at most `limit`. */
  readonly tasks: readonly Task[]
  /** Where the page of newer tasks is, if there are any. */
  readonly newer?: Position
  /** Where the page of older tasks is, if there are any. */
  readonly older?: Position
}

/**
 * Reads one task more than the page holds to learn whether the run goes on; on the side it came from it has to look,
 * for the task that it was counted from may be gone. An empty page has everything that is left on that side.
 *
 * @throws InvalidInput
 */
export async function readPage(read: (range: TaskRange) => Promise<Task[]>, range: TaskRange): Promise<TaskPage> {
  enforce(pageRules, range)
  const { newerThan, olderThan, skip, limit } = range
  const exists = async (side: Position) => (await read({ ...side, skip: 0, limit: 1 })).length > 0

  const found = await read({ ...range, limit: limit + 1 })
  const goesOn = found.length > limit

  if (newerThan !== undefined) {
    const tasks = found.slice(-limit)
    const older = { olderThan: idOf(tasks.at(-1)) ?? AFTER_ANY_ID }
    return {
      tasks,
      ...(goesOn && { newer: { newerThan: idOf(tasks[0]) as number } }),
      ...((await exists(older)) && { older }),
    }
  }
  const tasks = found.slice(0, limit)
  const newer = { newerThan: idOf(tasks[0]) ?? BEFORE_ANY_ID }
  const startsAtNewest = olderThan === undefined && skip === 0
  return {
    tasks,
    ...(!startsAtNewest && (await exists(newer)) && { newer }),
    ...(goesOn && { older: { olderThan: idOf(tasks.at(-1)) as number } }),
  }
}

const idOf = (task: Task | undefined) => task?.snapshot().id
