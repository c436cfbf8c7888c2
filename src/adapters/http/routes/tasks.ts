import * as v from 'valibot'
import { MAX_DUE } from '../../../domain/tasks/due.ts'
import type { ManageTasks } from '../../../domain/tasks/manage-tasks.ts'
import {
  DESCRIPTION_LIMITS,
  MAX_TAGS,
  PRIORITIES,
  type Precondition,
  type Priority,
  type Revisions,
  TAG_LIMITS,
  type Task,
  type TaskFields,
  TITLE_LIMITS,
  taskRules,
} from '../../../domain/tasks/task.ts'
import { scope } from '../endpoint/access.ts'
import { JSON_TYPE, MERGE_PATCH_TYPE } from '../endpoint/body.ts'
import {
  digest,
  type EntityTags,
  ifMatch,
  ifNoneMatch,
  includesTag,
  strongTag,
  weakTag,
} from '../endpoint/conditional.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import { idParameter } from '../endpoint/id-parameter.ts'
import { repeatableEndpoint } from '../endpoint/idempotency.ts'
import { timestamp, toTimestamp } from '../endpoint/timestamp.ts'
import { bodyOf, ruleSchema } from '../endpoint/validation.ts'
import { linkHeader, listParameters, listTag } from './task-list.ts'

type SnakeCase<Name extends string> = Name extends `${infer Letter}${infer Rest}`
  ? `${Letter extends Lowercase<Letter> ? Letter : `_${Lowercase<Letter>}`}${SnakeCase<Rest>}`
  : Name

/** Requires a member for every field that an owner sets, so that a new field cannot be forgotten. */
type Members = v.ObjectEntries & { readonly [Field in keyof TaskFields as SnakeCase<Field>]: v.GenericSchema }

/** The task of every example. */
export const TASK_EXAMPLE = {
  id: 1,
  title: 'Ship the release',
  description: null,
  completed: false,
  completed_at: null,
  due: '2026-02-02',
  priority: 'high',
  tags: ['release', 'work'],
  owner_id: 1,
  created_at: '2026-01-31T09:30:00.000Z',
  updated_at: '2026-01-31T09:30:00.000Z',
  revision: 1,
} as const

export const taskSchema = v.pipe(
  v.object({
    id: v.pipe(v.number(), v.integer()),
    title: v.string(),
    description: v.nullable(v.string()),
    completed: v.boolean(),
    completed_at: v.nullable(timestamp),
    due: v.nullable(v.string()),
    priority: v.picklist(PRIORITIES),
    tags: v.array(v.string()),
    owner_id: v.pipe(v.number(), v.integer()),
    created_at: timestamp,
    updated_at: timestamp,
    revision: v.pipe(v.number(), v.integer()),
  } satisfies Members),
  v.metadata({ title: 'Task', examples: [TASK_EXAMPLE] }),
)

/** Part of the tag of a list: a release that adds a member invalidates cached lists. */
const TASK_MEMBERS = Object.keys(taskSchema.entries)

/** A task in a response. */
export type TaskBody = v.InferOutput<typeof taskSchema>

export function present(task: Task): TaskBody {
  const state = task.snapshot()
  return {
    id: state.id,
    title: state.title,
    description: state.description,
    completed: state.completed,
    completed_at: state.completedAt && toTimestamp(state.completedAt),
    due: state.due,
    priority: state.priority,
    tags: state.tags as string[],
    owner_id: state.ownerId,
    created_at: toTimestamp(state.createdAt),
    updated_at: toTimestamp(state.updatedAt),
    revision: state.revision,
  }
}

const title = ruleSchema<string>(taskRules.title, {
  type: 'string',
  minLength: TITLE_LIMITS.min,
  maxLength: TITLE_LIMITS.max,
  description: 'Not blank.',
  examples: ['Ship the release'],
})
const description = ruleSchema<string | null>(taskRules.description, {
  type: ['string', 'null'],
  maxLength: DESCRIPTION_LIMITS.max,
  examples: ['Tag it, publish it, tell people.'],
})
const completed = ruleSchema<boolean>(taskRules.completed, { type: 'boolean', examples: [true] })
const due = ruleSchema<string | null>(taskRules.due, {
  type: ['string', 'null'],
  maxLength: MAX_DUE,
  description: 'A date, meaning all day, or an RFC 3339 instant; returned as you sent it.',
  examples: ['2026-02-02'],
})
const priority = ruleSchema<Priority>(taskRules.priority, { type: 'string', enum: PRIORITIES, examples: ['high'] })
const tags = ruleSchema<readonly string[]>(taskRules.tags, {
  type: 'array',
  items: { type: 'string', minLength: TAG_LIMITS.min },
  maxItems: MAX_TAGS,
  description: `Each has 1 to ${TAG_LIMITS.max} characters once trimmed. Duplicates are dropped; the order is kept.`,
  examples: [['release', 'work']],
})

/** Accepted in a body and ignored, so that a client can send back the task it read. */
const readOnlyMembers = ['id', 'owner_id', 'created_at', 'updated_at', 'completed_at', 'revision']

const optionalMembers = {
  description: v.exactOptional(description),
  completed: v.exactOptional(completed),
  due: v.exactOptional(due),
  priority: v.exactOptional(priority),
  tags: v.exactOptional(tags),
}
export const newTask = bodyOf('NewTask', readOnlyMembers, { title, ...optionalMembers } satisfies Members, {
  examples: [{ title: 'Ship the release', due: '2026-02-02', priority: 'high', tags: ['release', 'work'] }],
})
export const taskChanges = bodyOf(
  'TaskChanges',
  readOnlyMembers,
  { title: v.exactOptional(title), ...optionalMembers } satisfies Members,
  { examples: [{ completed: true }] },
)

const etagHeader = { ETag: { description: 'The revision of the task, in quotes.', example: '"1"' } }
const listEtagHeader = {
  ETag: {
    description:
      'Weak; changes with every write to your tasks. Absent with `overdue`, because that list also changes as time passes.',
    example: 'W/"42-X5RbGmOXjxCZmZ1TPU3lXA"',
  },
}
const notModified = 'Not modified: the current ETag is among those of `If-None-Match`.'

const REVISION = /^(?:0|[1-9]\d{0,15})$/

/** The revisions that entity tags of tasks stand for. */
const revisionsIn = (tags: EntityTags | undefined): Revisions | undefined =>
  tags === undefined || tags === 'any' ? tags : tags.filter((tag) => REVISION.test(tag)).map(Number)

const preconditions = v.object({
  'if-match': v.exactOptional(ifMatch),
  'if-none-match': v.exactOptional(ifNoneMatch),
})
const preconditionOf = (headers: v.InferOutput<typeof preconditions>): Precondition => ({
  match: revisionsIn(headers['if-match']),
  noneMatch: revisionsIn(headers['if-none-match']),
})
const revalidation = v.object({ 'if-none-match': v.exactOptional(ifNoneMatch) })

/** @param rootPath prefix of the paths in `Location` and `Link` */
export function taskEndpoints(prefix: string, tasks: ManageTasks, rootPath: string): readonly Endpoint[] {
  const collection = `${prefix}/tasks`
  const item = `${collection}/{id}`
  const publicPath = `${rootPath}${collection}`
  const representation = digest([publicPath, ...TASK_MEMBERS].join())
  const { Link: exampleLink = '' } = linkHeader(
    collection,
    { parameters: '', page: { limit: 20, count: false } },
    { next: { after: [42] }, previous: { before: [61] } },
  )
  return [
    repeatableEndpoint({
      method: 'POST',
      path: collection,
      operationId: 'createTask',
      tag: 'Tasks',
      summary: 'Create a task',
      description: 'Only `title` is required.',
      access: scope('tasks:write'),
      body: { types: [JSON_TYPE], schema: newTask },
      responses: {
        201: {
          description: 'The created task.',
          schema: taskSchema,
          headers: {
            ...etagHeader,
            Location: { description: 'Path of the task.', example: `${collection}/1` },
          },
        },
      },
      errors: ['task_limit_reached', 'outcome_unknown'],
      async handle({ caller, body, key }) {
        const { result, replayed } = await tasks.create(caller.user.id, body, key)
        const task = present(result)
        return {
          status: 201,
          body: task,
          headers: { ETag: strongTag(task.revision), Location: `${publicPath}/${task.id}` },
          replayed,
        }
      },
    }),
    endpoint({
      method: 'GET',
      path: collection,
      operationId: 'listTasks',
      tag: 'Tasks',
      summary: 'List your tasks, newest first unless `sort` says otherwise',
      description:
        'Returns one page of the tasks that meet all conditions. Follow the `Link` header to the other pages: unlike `skip`, its links are not affected by tasks created or deleted meanwhile.',
      access: scope('tasks:read'),
      query: listParameters,
      headers: revalidation,
      responses: {
        200: {
          description: 'One page of tasks.',
          schema: v.array(taskSchema),
          headers: {
            ...listEtagHeader,
            Link: {
              description:
                'Links to the next page, `rel="next"`, and to the previous one, `rel="prev"`, where they exist (RFC 8288).',
              example: exampleLink,
            },
            'X-Total-Count': { description: 'Number of tasks that match, with `count=true`.', example: '42' },
          },
        },
        304: { description: notModified, headers: listEtagHeader },
      },
      errors: [],
      async handle({ caller, query, headers: { 'if-none-match': known } }) {
        const { filter, page } = query
        const conditions = tasks.conditions({ timeZone: caller.user.timeZone, ...filter })
        const tagAt = listTag(query, conditions, representation)
        if (known) {
          const tag = tagAt?.(await tasks.revision(caller.user.id))
          if (includesTag(known, tag)) return { status: 304, headers: { ...(tag && { ETag: weakTag(tag) }) } }
        }
        const { revision, total, ...found } = await tasks.list(caller.user.id, { ...page, conditions })
        return {
          status: 200,
          body: found.tasks.map(present),
          headers: {
            ...(tagAt && { ETag: weakTag(tagAt(revision)) }),
            ...linkHeader(publicPath, query, found),
            ...(total !== undefined && { 'X-Total-Count': String(total) }),
          },
        }
      },
    }),
    endpoint({
      method: 'GET',
      path: item,
      operationId: 'getTask',
      tag: 'Tasks',
      summary: 'Get a task',
      description: 'Another user’s task is indistinguishable from a missing one.',
      access: scope('tasks:read'),
      params: idParameter,
      headers: revalidation,
      responses: {
        200: { description: 'The task.', schema: taskSchema, headers: etagHeader },
        304: { description: notModified, headers: etagHeader },
      },
      errors: ['task_not_found'],
      async handle({ caller, params, headers: { 'if-none-match': known = [] } }) {
        const task = present(await tasks.get({ id: params.id, ownerId: caller.user.id }))
        const headers = { ETag: strongTag(task.revision) }
        if (includesTag(known, String(task.revision))) return { status: 304, headers }
        return { status: 200, body: task, headers }
      },
    }),
    endpoint({
      method: 'PATCH',
      path: item,
      operationId: 'editTask',
      tag: 'Tasks',
      summary: 'Update a task',
      description:
        'JSON Merge Patch (RFC 7396): absent members keep their values, and null clears `description` and `due`.',
      access: scope('tasks:write'),
      params: idParameter,
      headers: preconditions,
      body: { types: [JSON_TYPE, MERGE_PATCH_TYPE], schema: taskChanges },
      responses: { 200: { description: 'The changed task.', schema: taskSchema, headers: etagHeader } },
      errors: ['task_not_found', 'revision_mismatch', 'outcome_unknown'],
      async handle({ caller, params, headers, body }) {
        const key = { id: params.id, ownerId: caller.user.id }
        const task = present(await tasks.edit(key, body, preconditionOf(headers)))
        return { status: 200, body: task, headers: { ETag: strongTag(task.revision) } }
      },
    }),
    endpoint({
      method: 'DELETE',
      path: item,
      operationId: 'deleteTask',
      tag: 'Tasks',
      summary: 'Delete a task',
      description: 'Deletion is final, and the id is never reused.',
      access: scope('tasks:write'),
      params: idParameter,
      headers: preconditions,
      responses: { 204: { description: 'Deleted.' } },
      errors: ['task_not_found', 'revision_mismatch', 'outcome_unknown'],
      async handle({ caller, params, headers }) {
        await tasks.remove({ id: params.id, ownerId: caller.user.id }, preconditionOf(headers))
        return { status: 204 }
      },
    }),
  ]
}
