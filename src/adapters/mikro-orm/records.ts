/**
 * The tables, separate from the aggregates: a change to a Task reaches the store only if a repository saves it. A new column is
 * added in this file and in a migration; this file does not compile until every mapping has the column.
 */
import { defineEntity, type EntityProperty, IntegerType, type Platform, p } from '@mikro-orm/core'
import { PostgreSqlPlatform } from '@mikro-orm/postgresql'
import type { InferKyselyTable } from '@mikro-orm/sqlite'
import type { ColumnType, Insertable, InsertType, Selection, SelectType, UpdateType } from 'kysely'
import { ApiToken, type ApiTokenDraft } from '../../domain/accounts/api-token.ts'
import type { Scope } from '../../domain/accounts/caller.ts'
import { Session, type SessionDraft } from '../../domain/accounts/session.ts'
import { type Role, User, type UserDraft } from '../../domain/accounts/user.ts'
import { parseDue } from '../../domain/tasks/due.ts'
import { PRIORITIES, type Priority, Task, type TaskDraft } from '../../domain/tasks/task.ts'
import { fold, searchText } from '../../domain/tasks/task-filter.ts'
import type { Store } from './store.ts'
import type { Constraint } from './store-errors.ts'

export const USERS_EMAIL_UNIQUE: Constraint = {
  name: 'users_email_unique',
  sqlite: 'UNIQUE constraint failed: users.email',
}

export const USERS_EMAIL_KEY_UNIQUE: Constraint = {
  name: 'users_email_key_unique',
  sqlite: 'UNIQUE constraint failed: users.email_key',
}

/** The columns after `created_at` have defaults because SQLite adds no other NOT NULL column to a table with rows. */
export const UserRecord = defineEntity({
  name: 'UserRecord',
  tableName: 'users',
  properties: {
    id: p.integer().primary().autoincrement(),
    email: p.string().columnType('varchar(320)'),
    hashedPassword: p.string().columnType('varchar(255)'),
    createdAt: p.datetime(3),
    emailKey: p.text().nullable(),
    role: p.string().columnType('varchar(16)').default('user'),
    disabled: p.boolean().columnType('boolean').default(false),
    timeZone: p.string().columnType('varchar(64)').default('UTC'),
    /** The folded address. */
    search: p.text().default(''),
    /** Set when the user has left: no query finds the row, which is deleted once the user's other rows are. */
    leftAt: p.datetime(3).nullable(),
  },
  uniques: [
    { name: USERS_EMAIL_UNIQUE.name, properties: ['email'] },
    { name: USERS_EMAIL_KEY_UNIQUE.name, properties: ['emailKey'] },
  ],
  indexes: [
    { name: 'users_admin_index', properties: ['id'], where: `role = 'admin'` },
    { name: 'users_left_at_index', properties: ['leftAt'], where: 'left_at is not null' },
  ],
})

/** 64 bits on both databases: SQLite's integers always have 64 bits, and autoincrement works for no other type. */
class Id extends IntegerType {
  override getColumnType(property: EntityProperty, platform: Platform): string {
    return platform instanceof PostgreSqlPlatform
      ? platform.getBigIntTypeDeclarationSQL(property)
      : super.getColumnType(property, platform)
  }
}

export const TaskRecord = defineEntity({
  name: 'TaskRecord',
  tableName: 'tasks',
  properties: {
    id: p.type(Id).primary().autoincrement(),
    title: p.string().columnType('varchar(255)'),
    description: p.text().nullable(),
    completed: p.boolean().columnType('boolean').default(false),
    owner: () => p.manyToOne(UserRecord).deleteRule('cascade').index(false).foreignKeyName('tasks_owner_id_foreign'),
    createdAt: p.datetime(3),
    updatedAt: p.datetime(3),
    completedAt: p.datetime(3).nullable(),
    due: p.string().columnType('varchar(40)').nullable(),
    /** NO_DUE without a due date, so that one index serves the order in which it comes last. */
    dueMoment: p.bigint('number').columnType('bigint'),
    dueAllDay: p.boolean().columnType('boolean'),
    priority: p.smallint().columnType('smallint'),
    /** JSON with a line for each tag, so that a search for a line finds exactly that tag. */
    tags: p.text(),
    revision: p.bigint('number').columnType('bigint'),
    /** The folded texts. */
    search: p.text(),
  },
  indexes: [
    { name: 'tasks_owner_id_id_index', properties: ['owner', 'id'] },
    { name: 'tasks_owner_id_completed_id_index', properties: ['owner', 'completed', 'id'] },
    { name: 'tasks_owner_id_due_moment_id_index', properties: ['owner', 'dueMoment', 'id'] },
    { name: 'tasks_owner_id_completed_due_moment_id_index', properties: ['owner', 'completed', 'dueMoment', 'id'] },
  ],
  uniques: [{ name: 'tasks_owner_id_revision_unique', properties: ['owner', 'revision'] }],
})

/**
 * One row per user: the lock for writes to the user and to the user's tasks, sessions and API tokens, and the counter of the
 * writes to tasks. Code that deletes a user must lock this row first, or it could deadlock with a new task, whose transaction
 * locks the list before the user.
 */
export const TaskListRecord = defineEntity({
  name: 'TaskListRecord',
  tableName: 'task_lists',
  properties: {
    owner: () =>
      p
        .manyToOne(UserRecord)
        .primary()
        .index(false)
        .deleteRule('cascade')
        .updateRule('no action')
        .index(false)
        .foreignKeyName('task_lists_owner_id_foreign'),
    revision: p.bigint('number').columnType('bigint').defaultRaw('0'),
    /** Number of tasks. */
    size: p.integer().columnType('integer').defaultRaw('0'),
    epoch: p.string().columnType('varchar(8)'),
    /** Tombstones up to this revision are purged. */
    forgotten: p.bigint('number').columnType('bigint').defaultRaw('0'),
  },
})

export const TombstoneRecord = defineEntity({
  name: 'TombstoneRecord',
  tableName: 'tombstones',
  properties: {
    owner: () =>
      p
        .manyToOne(UserRecord)
        .primary()
        .deleteRule('cascade')
        .updateRule('no action')
        .index(false)
        .foreignKeyName('tombstones_owner_id_foreign'),
    revision: p.bigint('number').columnType('bigint').primary(),
    id: p.bigint('number').columnType('bigint'),
    deletedAt: p.datetime(3),
  },
  indexes: [{ name: 'tombstones_deleted_at_index', properties: ['deletedAt'] }],
})

/** The result of a request with an idempotency key, for requests that repeat it. */
export const IdempotencyKeyRecord = defineEntity({
  name: 'IdempotencyKeyRecord',
  tableName: 'idempotency_keys',
  properties: {
    owner: () =>
      p
        .manyToOne(UserRecord)
        .primary()
        .deleteRule('cascade')
        .updateRule('no action')
        .index(false)
        .foreignKeyName('idempotency_keys_owner_id_foreign'),
    scope: p.string().columnType('varchar(255)').primary(),
    key: p.string().columnType('varchar(255)').primary(),
    fingerprint: p.string().columnType('varchar(64)'),
    /** JSON: for each write the stored row, without the id of a new task, or null for a removed task. */
    result: p.text(),
    /** The ids of new tasks in order, separated by commas. */
    newIds: p.text(),
    createdAt: p.datetime(3),
  },
  indexes: [{ name: 'idempotency_keys_created_at_index', properties: ['createdAt'] }],
})

export const SessionRecord = defineEntity({
  name: 'SessionRecord',
  tableName: 'sessions',
  properties: {
    id: p.type(Id).primary().autoincrement(),
    owner: () =>
      p
        .manyToOne(UserRecord)
        .deleteRule('cascade')
        .updateRule('no action')
        .index(false)
        .foreignKeyName('sessions_owner_id_foreign'),
    createdAt: p.datetime(3),
    lastUsedAt: p.datetime(3),
    userAgent: p.string().columnType('varchar(255)').nullable(),
    counter: p.integer().columnType('integer'),
    tokenHash: p.string().columnType('varchar(64)'),
    rotatedAt: p.datetime(3),
  },
  indexes: [
    { name: 'sessions_owner_id_id_index', properties: ['owner', 'id'] },
    { name: 'sessions_created_at_index', properties: ['createdAt'] },
    { name: 'sessions_last_used_at_index', properties: ['lastUsedAt'] },
  ],
})

export const ApiTokenRecord = defineEntity({
  name: 'ApiTokenRecord',
  tableName: 'api_tokens',
  properties: {
    id: p.type(Id).primary().autoincrement(),
    owner: () =>
      p
        .manyToOne(UserRecord)
        .deleteRule('cascade')
        .updateRule('no action')
        .index(false)
        .foreignKeyName('api_tokens_owner_id_foreign'),
    name: p.string().columnType('varchar(100)'),
    /** Separated by spaces. */
    scopes: p.string().columnType('varchar(255)'),
    tokenHash: p.string().columnType('varchar(64)'),
    createdAt: p.datetime(3),
    expiresAt: p.datetime(3).nullable(),
    lastUsedAt: p.datetime(3).nullable(),
  },
  indexes: [
    { name: 'api_tokens_owner_id_id_index', properties: ['owner', 'id'] },
    { name: 'api_tokens_expires_at_index', properties: ['expiresAt'] },
  ],
})

/** The tables whose ids the database assigns and never reuses. */
export const NUMBERED_TABLES = ['users', 'tasks', 'sessions', 'api_tokens'] as const

/** The table in which MikroORM keeps the names of applied migrations. */
export const MIGRATIONS_TABLE = 'mikro_orm_migrations'
/** Marks a SQLite file as this service's: never rename it. */
export const FIRST_MIGRATION = 'migration-20260131000000-users-and-tasks'

/** The counters of rate-limiter-flexible, on PostgreSQL only. */
export const RATE_LIMITS_TABLE = 'rate_limits'

/** Types as drivers return them: times as milliseconds, and booleans as numbers on SQLite. */
type AsRead<Value> = Value extends Date ? number : Value extends boolean ? boolean | number : Value
type Columns<Table> = {
  [Name in keyof Table]: ColumnType<AsRead<SelectType<Table[Name]>>, InsertType<Table[Name]>, UpdateType<Table[Name]>>
}

export interface Tables {
  users: Columns<InferKyselyTable<typeof UserRecord>>
  tasks: Columns<InferKyselyTable<typeof TaskRecord>>
  task_lists: Columns<InferKyselyTable<typeof TaskListRecord>>
  tombstones: Columns<InferKyselyTable<typeof TombstoneRecord>>
  idempotency_keys: Columns<InferKyselyTable<typeof IdempotencyKeyRecord>>
  sessions: Columns<InferKyselyTable<typeof SessionRecord>>
  api_tokens: Columns<InferKyselyTable<typeof ApiTokenRecord>>
}

/** Every column except the key, including those with a default and nullable ones. */
type NewRow<Name extends keyof Tables> = Required<Omit<Insertable<Tables[Name]>, 'id'>>

/** Selects a column as milliseconds. */
type Milliseconds = Store['milliseconds']

/** A row with these columns only, so that a column that a query does not select cannot be read. */
type Row<Name extends keyof Tables, Columns extends (milliseconds: Milliseconds) => readonly unknown[]> = Selection<
  Tables,
  Name,
  ReturnType<Columns>[number]
>

const time = <Name extends string>(milliseconds: Milliseconds, name: Name) => milliseconds(name).as(name)

export const userColumns = (milliseconds: Milliseconds) =>
  ['id', ...detailsOfUser, time(milliseconds, 'created_at')] as const

const detailsOfUser = ['email', 'email_key', 'hashed_password', 'role', 'disabled', 'time_zone'] as const

type UserRow = Row<'users', typeof userColumns>

export const toUser = (row: UserRow): User =>
  User.restore({
    id: row.id,
    email: row.email,
    emailKey: row.email_key,
    hashedPassword: row.hashed_password,
    role: row.role as Role,
    disabled: Boolean(row.disabled),
    timeZone: row.time_zone,
    createdAt: new Date(row.created_at),
  })

/** Folds the address before a query binds it. */
export const searchable = <Given extends { readonly email: string }>(user: Given) => ({
  ...user,
  search: fold(user.email),
})

type Searchable<Given> = Given & { readonly search: string }

/** The columns that a change of a user sets. */
export const toChangedUserColumns = (user: Searchable<Omit<UserDraft, 'createdAt'>>) => ({
  email: user.email,
  email_key: user.emailKey,
  search: user.search,
  hashed_password: user.hashedPassword,
  role: user.role,
  disabled: user.disabled,
  time_zone: user.timeZone,
})

export const toUserColumns = (user: Searchable<UserDraft>): NewRow<'users'> => ({
  ...toChangedUserColumns(user),
  created_at: user.createdAt,
  left_at: null,
})

/** Columns of a user in a join with rows that the user owns. */
export const ownerColumns = (milliseconds: Milliseconds) =>
  [...detailsOfUser, milliseconds('users.created_at').as('user_created_at')] as const

type OwnerRow = Omit<UserRow, 'id' | 'created_at'> & { readonly owner_id: number; readonly user_created_at: number }

export const toOwner = (row: OwnerRow): User => toUser({ ...row, id: row.owner_id, created_at: row.user_created_at })

export const sessionColumns = (milliseconds: Milliseconds) =>
  [
    ...(['sessions.id', 'owner_id', 'user_agent', 'counter', 'token_hash'] as const),
    milliseconds('sessions.created_at').as('created_at'),
    time(milliseconds, 'last_used_at'),
    time(milliseconds, 'rotated_at'),
  ] as const

type SessionRow = Row<'sessions', typeof sessionColumns>

export const toSession = (row: SessionRow): Session =>
  Session.restore({
    id: row.id,
    ownerId: row.owner_id,
    createdAt: new Date(row.created_at),
    lastUsedAt: new Date(row.last_used_at),
    userAgent: row.user_agent,
    counter: row.counter,
    tokenHash: row.token_hash,
    rotatedAt: new Date(row.rotated_at),
  })

export const toSessionColumns = (session: SessionDraft): NewRow<'sessions'> => ({
  owner_id: session.ownerId,
  created_at: session.createdAt,
  last_used_at: session.lastUsedAt,
  user_agent: session.userAgent,
  counter: session.counter,
  token_hash: session.tokenHash,
  rotated_at: session.rotatedAt,
})

export const apiTokenColumns = (milliseconds: Milliseconds) =>
  [
    ...(['api_tokens.id', 'owner_id', 'name', 'scopes', 'token_hash'] as const),
    milliseconds('api_tokens.created_at').as('created_at'),
    time(milliseconds, 'expires_at'),
    time(milliseconds, 'last_used_at'),
  ] as const

type ApiTokenRow = Row<'api_tokens', typeof apiTokenColumns>

export const toApiToken = (row: ApiTokenRow): ApiToken =>
  ApiToken.restore({
    id: row.id,
    ownerId: row.owner_id,
    name: row.name,
    scopes: row.scopes.split(' ') as Scope[],
    tokenHash: row.token_hash,
    createdAt: new Date(row.created_at),
    expiresAt: toDate(row.expires_at),
    lastUsedAt: toDate(row.last_used_at),
  })

type WithScopeText<Given> = Omit<Given, 'scopes'> & { readonly scopes: string }

/** Joins the scopes before a query binds them. */
export const withScopeText = (token: ApiTokenDraft): WithScopeText<ApiTokenDraft> => ({
  ...token,
  scopes: token.scopes.join(' '),
})

export const toApiTokenColumns = (token: WithScopeText<ApiTokenDraft>): NewRow<'api_tokens'> => ({
  owner_id: token.ownerId,
  name: token.name,
  scopes: token.scopes,
  token_hash: token.tokenHash,
  created_at: token.createdAt,
  expires_at: token.expiresAt,
  last_used_at: token.lastUsedAt,
})

const toDate = (milliseconds: number | null) => (milliseconds === null ? null : new Date(milliseconds))

/** Stands for the due moment of a task without one. */
export const NO_DUE = Number.MAX_SAFE_INTEGER

export const taskColumns = (milliseconds: Milliseconds) =>
  [
    ...(['id', 'title', 'description', 'completed', 'due', 'priority', 'tags', 'owner_id', 'revision'] as const),
    time(milliseconds, 'completed_at'),
    time(milliseconds, 'created_at'),
    time(milliseconds, 'updated_at'),
  ] as const

export type TaskRow = Row<'tasks', typeof taskColumns>

export const toTask = (row: TaskRow): Task =>
  Task.restore({
    id: row.id,
    title: row.title,
    description: row.description,
    completed: Boolean(row.completed),
    due: row.due,
    priority: PRIORITIES[row.priority] as Priority,
    tags: JSON.parse(row.tags),
    ownerId: row.owner_id,
    revision: row.revision,
    completedAt: toDate(row.completed_at),
    createdAt: new Date(row.created_at),
    updatedAt: new Date(row.updated_at),
  })

/** The columns that a write sets. The database assigns the id, and the list the revision. */
export type TaskColumns = Omit<NewRow<'tasks'>, 'revision'>

/** The SQL type of each column that a write sets: PostgreSQL infers none for the values of `insert … select`. */
export const taskColumnTypes: Readonly<Record<keyof TaskColumns, string>> = {
  title: 'text',
  description: 'text',
  completed: 'boolean',
  due: 'text',
  due_moment: 'bigint',
  due_all_day: 'boolean',
  priority: 'smallint',
  tags: 'text',
  search: 'text',
  owner_id: 'bigint',
  completed_at: 'timestamptz',
  created_at: 'timestamptz',
  updated_at: 'timestamptz',
}

export function toTaskColumns(task: TaskDraft): TaskColumns {
  const due = task.due === null ? undefined : parseDue(task.due)
  return {
    title: task.title,
    description: task.description,
    completed: task.completed,
    due: task.due,
    due_moment: due?.moment ?? NO_DUE,
    due_all_day: due?.allDay ?? false,
    priority: PRIORITIES.indexOf(task.priority),
    tags: JSON.stringify(task.tags, null, 1),
    search: searchText(task),
    owner_id: task.ownerId,
    completed_at: task.completedAt,
    created_at: task.createdAt,
    updated_at: task.updatedAt,
  }
}

/** The columns in which a changed task differs from the stored one. */
export function changedColumns(stored: TaskDraft, changed: TaskDraft): Partial<TaskColumns> {
  const before = toTaskColumns(stored)
  const after = Object.entries(toTaskColumns(changed)) as [keyof TaskColumns, unknown][]
  return Object.fromEntries(after.filter(([name, value]) => value !== before[name]))
}

/** The line for a tag in the column `tags`. */
export const tagLine = (tag: string): string => `\n ${JSON.stringify(tag)}`
