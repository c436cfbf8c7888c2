import { all, boolean, enforce, notBlank, nullable, type Rule, text } from '../rules.ts'

export const TITLE_LIMITS = { min: 1, max: 255 }
export const DESCRIPTION_LIMITS = { min: 0, max: 2_000 }

/** The fields that an owner sets. */
export interface TaskFields {
  readonly title: string
  readonly description: string | null
  readonly completed: boolean
}

/** The rule for each field. */
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
  /** TypeScript's `private` instead of `#state`, because `console.log` and deep equality ignore `#` members. */
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
   * Changes fields and moves `updatedAt` strictly forward, even within one millisecond or after the clock was set back. Does
   * nothing if there is no field to change.
   *
   * @throws InvalidInput and leaves the task unchanged
   */
  edit(changes: TaskChanges, now: Date): void {
    const fields = definedFields(changes)
    if (fields.length === 0) return
    const edited = Object.fromEntries(fields.map((field) => [field, changes[field]]))
    enforce(Object.fromEntries(fields.map((field) => [field, taskRules[field]])), edited)
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

function definedFields(changes: TaskChanges): (keyof TaskFields)[] {
  return (Object.keys(taskRules) as (keyof TaskFields)[]).filter((field) => changes[field] !== undefined)
}
