import { DomainError, InvalidInput, TaskNotFound } from '../errors.ts'
import { enforce, wholeNumber } from '../rules.ts'
import type { TaskWrite } from './ports.ts'
import { type NewTask, type Precondition, Task, type TaskChanges } from './task.ts'

/** A write of one task, as a caller requests it. */
export type Operation =
  | { readonly op: 'create'; readonly task: NewTask }
  | {
      readonly op: 'update'
      readonly id: number
      readonly task: TaskChanges
      readonly precondition?: Precondition | undefined
    }
  | { readonly op: 'delete'; readonly id: number; readonly precondition?: Precondition | undefined }

export const MAX_OPERATIONS = 100

/** An operation with valid input, which needs only the tasks that it names. */
export type Prepared = (tasks: ReadonlyMap<number, Task>) => TaskWrite

/** @throws InvalidInput */
export function prepareOperation(operation: Operation, ownerId: number, now: Date): Prepared {
  if (operation.op === 'create') {
    const add = Task.create(ownerId, operation.task, now)
    return () => ({ add })
  }
  const { id, precondition = {} } = operation
  const changes = operation.op === 'update' ? Task.validChanges(operation.task) : undefined
  return (tasks) => {
    const task = tasks.get(id)
    if (task === undefined) throw new TaskNotFound()
    task.expect(precondition)
    if (changes === undefined) return { remove: task, deletedAt: now }
    task.edit(changes, now)
    return { save: task }
  }
}

/** Runs a step for each operation of a batch; a DomainError names the operation that failed. */
export const eachOperation = <Item, Result>(items: readonly Item[], step: (item: Item) => Result): Result[] =>
  items.map((item, operation) => {
    try {
      return step(item)
    } catch (error) {
      if (error instanceof DomainError) error.operation = operation
      throw error
    }
  })

/** @throws InvalidInput when there are too many operations, or two for one task */
export function checkOperations(operations: readonly Operation[]): void {
  const count = wholeNumber(1, MAX_OPERATIONS)
  enforce({ operations: count }, { operations: operations.length })
  const ids = new Set<number>()
  eachOperation(operations, (operation) => {
    if (operation.op === 'create') return
    if (ids.has(operation.id)) throw new InvalidInput([{ member: 'id', code: 'repeated', detail: 'must occur once' }])
    ids.add(operation.id)
  })
}

export const idsOf = (operations: readonly Operation[]): number[] =>
  operations.flatMap((operation) => ('id' in operation ? [operation.id] : []))
