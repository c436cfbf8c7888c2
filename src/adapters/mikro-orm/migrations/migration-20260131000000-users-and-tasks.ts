import { Migration } from '@mikro-orm/migrations'

export class UsersAndTasks extends Migration {
  override up(): void {
    const { id, time } = this.#types()
    this.addSql(`
      create table "users" (
        "id" ${id},
        "email" varchar(320) not null,
        "hashed_password" varchar(255) not null,
        "created_at" ${time} not null
      )`)
    this.addSql('create unique index "users_email_unique" on "users" ("email")')
    this.addSql(`
      create table "tasks" (
        "id" ${id},
        "title" varchar(255) not null,
        "description" text null,
        "completed" boolean not null default false,
        "owner_id" integer not null,
        "created_at" ${time} not null,
        "updated_at" ${time} not null,
        constraint "tasks_owner_id_foreign" foreign key ("owner_id") references "users" ("id") on delete cascade
      )`)
    this.addSql('create index "tasks_owner_id_id_index" on "tasks" ("owner_id", "id")')
  }

  override down(): void {
    this.addSql('drop table "tasks"')
    this.addSql('drop table "users"')
  }

  /** Neither database reuses keys of these types. */
  #types() {
    const platform = this.driver.getPlatform()
    const key = platform.getIntegerTypeDeclarationSQL({ autoincrement: true })
    return {
      id: key === 'serial' ? 'serial primary key' : 'integer not null primary key autoincrement',
      time: platform.getDateTimeTypeDeclarationSQL({ length: 3 }),
    }
  }
}
