/**
 * The tables, separate from the aggregates: a change to a Task reaches the store only if a repository saves it. A new column is
 * added in this file and in a migration; this file does not compile until every mapping has the column.
 */
import { defineEntity, p } from '@mikro-orm/core'
import type { InferKyselyTable } from '@mikro-orm/sqlite'
import type { ColumnType, Insertable, InsertType, Selection, SelectType, UpdateType } from 'kysely'
import { User, type UserDraft } from '../../domain/accounts/user.ts'
import { Task, type TaskDraft } from '../../domain/tasks/task.ts'
import type { Store } from './store.ts'
import type { Constraint } from './store-errors.ts'

export const USERS_EMAIL_UNIQUE: Constraint = {
  name: 'users_email_unique',
  sqlite: 'UNIQUE constraint failed: users.email',
}

/** SQLite does not tell which foreign key is violated; all of them name the owner. */
const FOREIGN_KEY = 'FOREIGN KEY constraint failed'
export const TASKS_OWNER_FOREIGN: Constraint = { name: 'tasks_owner_id_foreign', sqlite: FOREIGN_KEY }
export const TASK_LISTS_OWNER_FOREIGN: Constraint = { name: 'task_lists_owner_id_foreign', sqlite: FOREIGN_KEY }

export const UserRecord = defineEntity({
  name: 'UserRecord',
  tableName: 'users',
  properties: {
    id: p.integer().primary().autoincrement(),
    email: p.string().columnType('varchar(320)'),
    hashedPassword: p.string().columnType('varchar(255)'),
    createdAt: p.datetime(3),
  },
  uniques: [{ name: USERS_EMAIL_UNIQUE.name, properties: ['email'] }],
})

export const TaskRecord = defineEntity({
  name: 'TaskRecord',
  tableName: 'tasks',
  properties: {
    id: p.integer().primary().autoincrement(),
    title: p.string().columnType('varchar(255)'),
    description: p.text().nullable(),
    completed: p.boolean().columnType('boolean').default(false),
    owner: () => p.manyToOne(UserRecord).deleteRule('cascade').index(false).foreignKeyName(TASKS_OWNER_FOREIGN.name),
    createdAt: p.datetime(3),
    updatedAt: p.datetime(3),
  },
  indexes: [{ name: 'tasks_owner_id_id_index', properties: ['owner', 'id'] }],
})

/**
 * One row per user: the lock for writes to the user's tasks, and the counter of these writes. Code that deletes a user must
 * lock this row first, or it could deadlock with a new task, whose transaction locks the list before the user.
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
        .foreignKeyName(TASK_LISTS_OWNER_FOREIGN.name),
    revision: p.bigint('number').columnType('bigint').defaultRaw('0'),
  },
})

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
  ['id', 'email', 'hashed_password', time(milliseconds, 'created_at')] as const

export const toUser = (row: Row<'users', typeof userColumns>): User =>
  User.restore({
    id: row.id,
    email: row.email,
    hashedPassword: row.hashed_password,
    createdAt: new Date(row.created_at),
  })

export const toUserColumns = (user: UserDraft): NewRow<'users'> => ({
  email: user.email,
  hashed_password: user.hashedPassword,
  created_at: user.createdAt,
})

export const taskColumns = (milliseconds: Milliseconds) =>
  [
    ...(['id', 'title', 'description', 'completed', 'owner_id'] as const),
    time(milliseconds, 'created_at'),
    time(milliseconds, 'updated_at'),
  ] as const

export const toTask = (row: Row<'tasks', typeof taskColumns>): Task =>
  Task.restore({
    id: row.id,
    title: row.title,
    description: row.description,
    completed: Boolean(row.completed),
    ownerId: row.owner_id,
    createdAt: new Date(row.created_at),
    updatedAt: new Date(row.updated_at),
  })

export const toTaskColumns = (task: TaskDraft): NewRow<'tasks'> => ({
  title: task.title,
  description: task.description,
  completed: task.completed,
  owner_id: task.ownerId,
  created_at: task.createdAt,
  updated_at: task.updatedAt,
})
