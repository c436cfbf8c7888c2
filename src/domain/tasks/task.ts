import { all, boolean, enforce, notBlank, nullable, type Rule, text } from '../rules.ts'

export const TITLE_LIMITS = { min: 1, max: 255 }
export const DESCRIPTION_LIMITS = { min: 0, max: 2_000 }

/** The fields that an owner sets. */
export interface TaskFields {
  readonly title: string
  readonly description: string | null
  readonly completed: boolean
}

/** The rule for each field, wherever its value comes from. */
export const taskRules: Readonly<Record<keyof TaskFields, Rule>> = {
  title: all(text(TITLE_LIMITS), notBlank),
  description: nullable(text(DESCRIPTION_LIMITS)),
  completed: boolean,
}

export type NewTask = Pick<TaskFields, 'title'> & Partial<TaskFields>
export type TaskChanges = Partial<TaskFields>

/** The complete state of a task. */
export interface TaskSnapshot extends TaskFields {
  readonly id: number
  readonly ownerId: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** A task before the store assigns its id. */
export type TaskDraft = Omit<TaskSnapshot, 'id'>

export class Task {
  /** Not a `#member`, which `console.log` and deep equality would ignore. */
  private state: TaskSnapshot

  private constructor(state: TaskSnapshot) {
    this.state = state
  }

  /** @throws InvalidInput */
  static create(ownerId: number, { title, description = null, completed = false }: NewTask, now: Date): TaskDraft {
    const fields = { title, description, completed }
    enforce(taskRules, fields)
    return { ...fields, ownerId, createdAt: now, updatedAt: now }
  }

  /** Trusts the store: tasks stored under older rules stay readable. */
  static restore(state: TaskSnapshot): Task {
    return new Task(state)
  }

  /**
   * Changes the given fields and moves `updatedAt` strictly forward, even within one millisecond or after the clock was
   * set back. Without any field nothing changes.
   *
   * @throws InvalidInput and leaves the task unchanged
   */
  edit(changes: TaskChanges, now: Date): void {
    const given = fieldsOf(changes)
    if (given.length === 0) return
    const edited = Object.fromEntries(given.map((field) => [field, changes[field]]))
    enforce(Object.fromEntries(given.map((field) => [field, taskRules[field]])), edited)
    const updatedAt = new Date(Math.max(now.getTime(), this.state.updatedAt.getTime() + 1))
    this.state = { ...this.state, ...edited, updatedAt }
  }

  /** Returns the same object until the task changes. */
  snapshot(): TaskSnapshot {
    return this.state
  }

  toJSON(): TaskSnapshot {
    return this.state
  }
}

function fieldsOf(changes: TaskChanges): (keyof TaskFields)[] {
  return (Object.keys(taskRules) as (keyof TaskFields)[]).filter((field) => changes[field] !== undefined)
}
