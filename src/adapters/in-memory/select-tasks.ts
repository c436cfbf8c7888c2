import { Task, type TaskSnapshot } from '../../domain/tasks/task.ts'
import { matches } from '../../domain/tasks/task-filter.ts'
import { comparePlaces, placeOf, type Sort, totalOrder } from '../../domain/tasks/task-order.ts'
import { isEdge, type TaskQuery, type TaskRows } from '../../domain/tasks/task-query.ts'

/**
 * Evaluates a query. By creation and without conditions it takes a binary search and the copy of a page.
 *
 * @param tasks in ascending order of id
 */
export function selectTasks(tasks: readonly TaskSnapshot[], query: TaskQuery): Omit<TaskRows, 'revision'> {
  const { conditions, sort, count } = query
  const matching =
    conditions.length === 0 ? tasks : tasks.filter((task) => conditions.every((one) => matches(task, one)))
  const [key] = totalOrder(sort)
  const byId = key?.field === 'createdAt'
  const backwards = byId && key.descending
  const rows = byId ? matching : sorted(matching, sort)
  const { start, end } = range(rows, query, backwards)
  const page = rows.slice(start, end).map(Task.restore)
  const before = start > 0
  const after = end < rows.length
  return {
    tasks: backwards ? page.reverse() : page,
    hasPrevious: backwards ? after : before,
    hasNext: backwards ? before : after,
    ...(count && { total: rows.length }),
  }
}

function sorted(tasks: readonly TaskSnapshot[], sort: Sort): readonly TaskSnapshot[] {
  return tasks
    .map((task) => ({ task, place: placeOf(task, sort) }))
    .sort((one, other) => comparePlaces(one.place, other.place, sort))
    .map(({ task }) => task)
}

/**
 * The indexes of a page: from `start`, up to but not including `end`.
 *
 * @param backwards whether the rows are in the reverse of the query's order
 */
function range(rows: readonly TaskSnapshot[], query: TaskQuery, backwards: boolean): { start: number; end: number } {
  const { sort, position, skip, limit } = query
  const place = 'after' in position ? position.after : position.before
  const order = (task: TaskSnapshot) => comparePlaces(placeOf(task, sort), place, sort) * (backwards ? -1 : 1)
  if ('after' in position !== backwards) {
    const from = isEdge(place) ? 0 : firstIndex(rows, (task) => order(task) > 0)
    const start = Math.min(from + skip, rows.length)
    return { start, end: Math.min(start + limit, rows.length) }
  }
  const to = isEdge(place) ? rows.length : firstIndex(rows, (task) => order(task) >= 0)
  const end = Math.max(to - skip, 0)
  return { start: Math.max(end - limit, 0), end }
}

/** Index of the first task that passes a test which all later ones pass, by binary search. */
export function firstIndex(tasks: readonly TaskSnapshot[], passes: (task: TaskSnapshot) => boolean): number {
  let low = 0
  let high = tasks.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (passes(tasks[middle] as TaskSnapshot)) high = middle
    else low = middle + 1
  }
  return low
}
