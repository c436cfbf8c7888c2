import { Migration } from '@mikro-orm/migrations'
import { PostgreSqlPlatform } from '@mikro-orm/postgresql'
import { searchText } from '../../../domain/tasks/task-filter.ts'

interface OldTask {
  readonly id: number
  readonly owner_id: number
  readonly title: string
  readonly description: string | null
}

/** At most some megabytes of text in memory, and fewer parameters than a statement may have. */
const BATCH = 1_000

/** The due moment of tasks without a due date, which sorts them after all others. */
const NO_DUE = Number.MAX_SAFE_INTEGER

/** The new columns, which follow the old ones. */
const ADDED = ['completed_at', 'due', 'due_moment', 'due_all_day', 'priority', 'tags', 'revision', 'search'] as const
const KEPT = ['id', 'title', 'description', 'completed', 'owner_id', 'created_at', 'updated_at'] as const
const INDEXES = [
  ['owner_id', 'completed', 'id'],
  ['owner_id', 'due_moment', 'id'],
  ['owner_id', 'completed', 'due_moment', 'id'],
]
const NULLABLE: readonly string[] = ['completed_at', 'due']

export class Revisions extends Migration {
  override async up(): Promise<void> {
    const types = this.#types()
    for (const name of ADDED) await this.execute(`alter table "tasks" add column "${name}" ${types[name]} null`)
    await this.#fill()
    for (const sql of this.#isPostgresql() ? demandValues() : rebuildTasks(types)) await this.execute(sql)
    await this.execute('create unique index "tasks_owner_id_revision_unique" on "tasks" ("owner_id", "revision")')
    for (const columns of INDEXES) {
      const names = columns.map((column) => `"${column}"`).join(', ')
      await this.execute(`create index "tasks_${columns.join('_')}_index" on "tasks" (${names})`)
    }
    await this.#makeLists(types.completed_at)
  }

  /** Numbers each owner's tasks by id and folds their texts, which SQL cannot do in every script. */
  async #fill(): Promise<void> {
    const last = new Map<number, number>()
    for (let from = 0; ; ) {
      const tasks = (await this.execute(
        `select "id", "owner_id", "title", "description" from "tasks" where "id" > ${from} order by "id" limit ${BATCH}`,
      )) as unknown as OldTask[]
      if (tasks.length === 0) return
      from = (tasks.at(-1) as OldTask).id
      const values = tasks.flatMap((task) => {
        const revision = (last.get(task.owner_id) ?? 0) + 1
        last.set(task.owner_id, revision)
        return [task.id, revision, searchText(task)]
      })
      const rows = tasks.map(() => '(cast(? as bigint), cast(? as bigint), ?)').join()
      await this.execute(
        `update "tasks" set "revision" = "filled"."column2", "search" = "filled"."column3",
          "completed_at" = case when "completed" then "updated_at" end,
          "due_moment" = ${NO_DUE}, "due_all_day" = false, "priority" = 0, "tags" = '[]'
        from (values ${rows}) as "filled" where "tasks"."id" = "filled"."column1"`,
        values,
      )
    }
  }

  /** Also for users whom the previous release registered without a list. */
  async #makeLists(time: string): Promise<void> {
    const owner = (table: string) =>
      `constraint "${table}_owner_id_foreign" foreign key ("owner_id") references "users" ("id") on delete cascade`
    await this.execute('drop table "task_lists"')
    await this.execute(`
      create table "task_lists" (
        "owner_id" integer not null,
        "revision" bigint not null default 0,
        "size" integer not null default 0,
        "epoch" varchar(8) not null,
        "forgotten" bigint not null default 0,
        constraint "task_lists_pkey" primary key ("owner_id"),
        ${owner('task_lists')}
      )`)
    const epoch = this.#isPostgresql()
      ? 'substr(md5(cast(random() as text)), 1, 8)'
      : 'substr(lower(hex(randomblob(4))), 1, 8)'
    await this.execute(`
      insert into "task_lists" ("owner_id", "revision", "size", "epoch")
      select "users"."id", count("tasks"."id"), count("tasks"."id"), ${epoch}
      from "users" left join "tasks" on "tasks"."owner_id" = "users"."id" group by "users"."id"`)
    await this.execute(`
      create table "tombstones" (
        "owner_id" integer not null,
        "revision" bigint not null,
        "id" bigint not null,
        "deleted_at" ${time} not null,
        constraint "tombstones_pkey" primary key ("owner_id", "revision"),
        ${owner('tombstones')}
      )`)
  }

  override down(): void {
    this.addSql('drop index "tasks_owner_id_revision_unique"')
    for (const columns of INDEXES) this.addSql(`drop index "tasks_${columns.join('_')}_index"`)
    for (const name of ADDED) this.addSql(`alter table "tasks" drop column "${name}"`)
    if (this.#isPostgresql()) {
      this.addSql('alter table "tasks" alter column "id" type integer')
      this.addSql('alter sequence "tasks_id_seq" as integer')
    }
    this.addSql('drop table "tombstones"')
    for (const name of ['size', 'epoch', 'forgotten']) this.addSql(`alter table "task_lists" drop column "${name}"`)
  }

  #isPostgresql(): boolean {
    return this.driver.getPlatform() instanceof PostgreSqlPlatform
  }

  #types() {
    const time = this.driver.getPlatform().getDateTimeTypeDeclarationSQL({ length: 3 })
    return {
      completed_at: time,
      due: 'varchar(40)',
      due_moment: 'bigint',
      due_all_day: 'boolean',
      priority: 'smallint',
      tags: 'text',
      revision: 'bigint',
      search: 'text',
    }
  }
}

const filled = ADDED.filter((name) => !NULLABLE.includes(name))

const demandValues = (): readonly string[] => [
  `alter table "tasks" alter column "id" type bigint, ${filled.map((name) => `alter column "${name}" set not null`).join(', ')}`,
  'alter sequence "tasks_id_seq" as bigint',
]

/**
 * SQLite adds no column without a default to a table with rows, and a default would let instances of the previous release
 * write tasks without a revision.
 */
function rebuildTasks(types: Readonly<Record<(typeof ADDED)[number], string>>): readonly string[] {
  const columns = [...KEPT, ...ADDED].map((name) => `"${name}"`).join()
  return [
    `create table "tasks_rebuilt" (
      "id" integer not null primary key autoincrement,
      "title" varchar(255) not null,
      "description" text null,
      "completed" boolean not null default false,
      "owner_id" integer not null,
      "created_at" ${types.completed_at} not null,
      "updated_at" ${types.completed_at} not null,
      ${ADDED.map((name) => `"${name}" ${types[name]} ${NULLABLE.includes(name) ? 'null' : 'not null'}`).join()},
      constraint "tasks_owner_id_foreign" foreign key ("owner_id") references "users" ("id") on delete cascade
    )`,
    `insert into "tasks_rebuilt" (${columns}) select ${columns} from "tasks" order by "id"`,
    // Ids are never reused, not even that of a deleted task with the highest id.
    `delete from sqlite_sequence where name = 'tasks_rebuilt'`,
    `insert into sqlite_sequence (name, seq) select 'tasks_rebuilt', seq from sqlite_sequence where name = 'tasks'`,
    'drop table "tasks"',
    'alter table "tasks_rebuilt" rename to "tasks"',
    'create index "tasks_owner_id_id_index" on "tasks" ("owner_id", "id")',
  ]
}
