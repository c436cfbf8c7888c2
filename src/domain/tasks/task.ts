import { all, boolean, enforce, notBlank, nullable, type Rule, text } from '../rules.ts'

export const TITLE_LIMITS = { min: 1, max: 255 }
export const DESCRIPTION_LIMITS = { min: 0, max: 2_000 }

/** What an owner decides about a task. */
export interface TaskFields {
  readonly title: string
  readonly description: string | null
  readonly completed: boolean
}

/** The rule of each field, wherever its value comes from. */
export const taskRules: Readonly<Record<keyof TaskFields, Rule>> = {
  title: all(text(TITLE_LIMITS), notBlank),
  description: nullable(text(DESCRIPTION_LIMITS)),
  completed: boolean,
}

export type NewTask = Pick<TaskFields, 'title'> & Partial<TaskFields>
export type TaskChanges = Partial<TaskFields>

/** Everything there is to know of a task. */
export interface TaskSnapshot extends TaskFields {
  readonly id: number
  readonly ownerId: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** A task that the store has not yet given an id. */
export type TaskDraft = Omit<TaskSnapshot, 'id'>

export class Task {
  #state: TaskSnapshot

  private constructor(state: TaskSnapshot) {
    this.#state = state
  }

  /** @throws InvalidInput */
  static create(ownerId: number, { title, description = null, completed = false }: NewTask, now: Date): TaskDraft {
    const fields = { title, description, completed }
    enforce(taskRules, fields)
    return { ...fields, ownerId, createdAt: now, updatedAt: now }
  }

  /** Trusts the store: what was stored under an older rule stays readable. */
  static restore(state: TaskSnapshot): Task {
    return new Task(state)
  }

  /**
   * Changes the fields that are given and moves `updatedAt`, always forwards: also within one millisecond
   * and when the clock was set back. No field given, nothing changed.
   *
   * @throws InvalidInput and the task stays as it was.
   */
  edit(changes: TaskChanges, now: Date): void {
    const given = fieldsOf(changes)
    if (given.length === 0) return
    const edited = Object.fromEntries(given.map((field) => [field, changes[field]]))
    enforce(Object.fromEntries(given.map((field) => [field, taskRules[field]])), edited)
    const updatedAt = new Date(Math.max(now.getTime(), this.#state.updatedAt.getTime() + 1))
    this.#state = { ...this.#state, ...edited, updatedAt }
  }

  /** The same object until the task changes. */
  snapshot(): TaskSnapshot {
    return this.#state
  }
}

function fieldsOf(changes: TaskChanges): (keyof TaskFields)[] {
  return (Object.keys(taskRules) as (keyof TaskFields)[]).filter((field) => changes[field] !== undefined)
}
