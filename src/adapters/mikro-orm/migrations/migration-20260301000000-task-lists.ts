import { Migration } from '@mikro-orm/migrations'

export class TaskLists extends Migration {
  override up(): void {
    this.addSql(`
      create table "task_lists" (
        "owner_id" integer not null,
        "revision" bigint not null default 0,
        constraint "task_lists_pkey" primary key ("owner_id"),
        constraint "task_lists_owner_id_foreign" foreign key ("owner_id") references "users" ("id") on delete cascade
      )`)
    this.addSql('insert into "task_lists" ("owner_id") select "id" from "users"')
  }

  override down(): void {
    this.addSql('drop table "task_lists"')
  }
}
