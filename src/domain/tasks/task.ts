import { RevisionMismatch } from '../errors.ts'
import {
  all,
  atMostUnits,
  boolean,
  enforce,
  listOf,
  notBlank,
  nullable,
  oneOf,
  type Rule,
  text,
  wellFormed,
} from '../rules.ts'
import { dueRule } from './due.ts'

export const TITLE_LIMITS = { min: 1, max: 255 }
export const DESCRIPTION_LIMITS = { min: 0, max: 2_000 }
export const TAG_LIMITS = { min: 1, max: 50 }
export const MAX_TAGS = 20

/** In ascending order. */
export const PRIORITIES = ['none', 'low', 'medium', 'high', 'urgent'] as const
export type Priority = (typeof PRIORITIES)[number]

/** The fields that an owner sets. */
export interface TaskFields {
  readonly title: string
  readonly description: string | null
  readonly completed: boolean
  /** A date, meaning all day, or an RFC 3339 instant; as it was given. */
  readonly due: string | null
  readonly priority: Priority
  /** Trimmed and without duplicates, in the order given. */
  readonly tags: readonly string[]
}

/** UTF-16 code units of a tag before it is trimmed. */
const MAX_RAW_TAG = 2 * TAG_LIMITS.max + 128
const trimmedTag = text(TAG_LIMITS)
const tag = all(atMostUnits(MAX_RAW_TAG, TAG_LIMITS.max), wellFormed, (value) => trimmedTag((value as string).trim()))

/** The rule for each field. */
export const taskRules: Readonly<Record<keyof TaskFields, Rule>> = {
  title: all(text(TITLE_LIMITS), notBlank),
  description: nullable(text(DESCRIPTION_LIMITS)),
  completed: boolean,
  due: nullable(dueRule),
  priority: oneOf(PRIORITIES),
  tags: listOf(tag, MAX_TAGS),
}

export type NewTask = Pick<TaskFields, 'title'> & Partial<TaskFields>
export type TaskChanges = Partial<TaskFields>

/** The complete state of a task. */
export interface TaskSnapshot extends TaskFields {
  readonly id: number
  readonly ownerId: number
  /** The revision of the owner's list when the task was last written; no other write of that list has it. */
  readonly revision: number
  /** When the task was completed; null while it is open. */
  readonly completedAt: Date | null
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** A task before the store assigns its id and its revision. */
export type TaskDraft = Omit<TaskSnapshot, 'id' | 'revision'>

/** The revisions that a caller names (RFC 9110, section 13.1); `any` is every one that a task may have. */
export type Revisions = 'any' | readonly number[]

/** A condition on the revision of a task that is to be changed. */
export interface Precondition {
  readonly match?: Revisions | undefined
  readonly noneMatch?: Revisions | undefined
}

export class Task {
  /** TypeScript's `private` instead of `#state`, because `console.log` and deep equality ignore `#` members. */
  private state: TaskSnapshot

  private constructor(state: TaskSnapshot) {
    this.state = state
  }

  /** @throws InvalidInput */
  static create(ownerId: number, given: NewTask, now: Date): TaskDraft {
    const { title, description = null, completed = false, due = null, priority = 'none', tags = [] } = given
    const fields = { title, description, completed, due, priority, tags }
    enforce(taskRules, fields)
    return { ...normalized(fields), ownerId, completedAt: completed ? now : null, createdAt: now, updatedAt: now }
  }

  /**
   * The given fields of a change, and nothing else.
   *
   * @throws InvalidInput
   */
  static validChanges(changes: TaskChanges): TaskChanges {
    const given = FIELDS.filter((field) => changes[field] !== undefined)
    enforce(pick(taskRules, given), changes)
    return normalized(pick(changes, given))
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
    const edited = Task.validChanges(changes)
    if (Object.keys(edited).length === 0) return
    const before = this.state
    const updatedAt = new Date(Math.max(now.getTime(), before.updatedAt.getTime() + 1))
    const after = { ...before, ...edited, updatedAt }
    this.state = { ...after, completedAt: after.completed ? (before.completedAt ?? updatedAt) : null }
  }

  /** @throws RevisionMismatch when the precondition does not hold */
  expect({ match, noneMatch }: Precondition): void {
    const { revision } = this.state
    const holds = (match === undefined || includes(match, revision)) && !(noneMatch && includes(noneMatch, revision))
    if (holds) return
    const satisfiable = match?.length !== 0 && noneMatch !== 'any'
    throw new RevisionMismatch(revision, satisfiable)
  }

  /** Returns the same object until the task changes. */
  snapshot(): TaskSnapshot {
    return this.state
  }

  toJSON(): TaskSnapshot {
    return this.state
  }
}

const FIELDS = Object.keys(taskRules) as readonly (keyof TaskFields)[]

const pick = <From extends object, Name extends keyof From>(from: From, names: readonly Name[]) =>
  Object.fromEntries(names.map((name) => [name, from[name]])) as Pick<From, Name>

const normalized = <Fields extends TaskChanges>(fields: Fields): Fields =>
  fields.tags ? { ...fields, tags: normalizedTags(fields.tags) } : fields

/** Trimmed, and each once, in the order given. */
export const normalizedTags = (tags: readonly string[]): readonly string[] => [
  ...new Set(tags.map((tag) => tag.trim())),
]

const includes = (revisions: Revisions, revision: number) => revisions === 'any' || revisions.includes(revision)
