import { Task, type TaskSnapshot } from '#src/domain/tasks/task.ts'
import { matches } from '#src/domain/tasks/task-filter.ts'
import { comparePlaces, placeOf } from '#src/domain/tasks/task-order.ts'
import { isEdge, type TaskQuery, type TaskRows } from '#src/domain/tasks/task-query.ts'

/** Implements the reads of the port in the simplest way, regardless of speed. */
export function readPlainly(tasks: readonly TaskSnapshot[], query: TaskQuery): Omit<TaskRows, 'revision'> {
  const { conditions, sort, position, skip, limit, count } = query
  const matching = tasks
    .filter((task) => conditions.every((condition) => matches(task, condition)))
    .sort((one, other) => comparePlaces(placeOf(one, sort), placeOf(other, sort), sort))
  const forward = 'after' in position
  const place = forward ? position.after : position.before
  const isBeyond = (task: TaskSnapshot) => {
    const order = comparePlaces(placeOf(task, sort), place, sort)
    return forward ? order > 0 : order < 0
  }
  const nearestFirst = (forward ? matching : matching.toReversed()).filter((task) => isEdge(place) || isBeyond(task))
  const read = nearestFirst.slice(skip, skip + limit)
  const isFurther = nearestFirst.length > skip + limit
  const isNearer = read.length > 0 ? matching.length > nearestFirst.length || skip > 0 : matching.length > 0
  return {
    tasks: (forward ? read : read.reverse()).map(Task.restore),
    hasPrevious: forward ? isNearer : isFurther,
    hasNext: forward ? isFurther : isNearer,
    ...(count && { total: matching.length }),
  }
}
