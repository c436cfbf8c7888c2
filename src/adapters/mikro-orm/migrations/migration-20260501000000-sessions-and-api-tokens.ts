import { Migration } from '@mikro-orm/migrations'
import { PostgreSqlPlatform } from '@mikro-orm/postgresql'
import { toAddress } from '../../../domain/accounts/user.ts'
import { fold } from '../../../domain/tasks/task-filter.ts'
import { urlIdna } from '../../../idna.ts'

interface OldUser {
  readonly id: number
  readonly email: string
}

/** Fewer parameters than a statement may have. */
const BATCH = 1_000

const ADDED = {
  email_key: 'text null',
  role: `varchar(16) not null default 'user'`,
  disabled: 'boolean not null default false',
  time_zone: `varchar(64) not null default 'UTC'`,
  search: `text not null default ''`,
}

export class SessionsAndApiTokens extends Migration {
  override async up(): Promise<void> {
    const { id, time } = this.#types()
    for (const [name, type] of Object.entries({ ...ADDED, left_at: `${time} null` })) {
      await this.execute(`alter table "users" add column "${name}" ${type}`)
    }
    await this.#fill()
    const indexes = [
      'create unique index "users_email_key_unique" on "users" ("email_key")',
      `create index "users_admin_index" on "users" ("id") where role = 'admin'`,
      'create index "users_left_at_index" on "users" ("left_at") where left_at is not null',
    ]
    for (const sql of indexes) await this.execute(sql)
    await this.#createOwned(
      'sessions',
      `"id" ${id},
      "owner_id" integer not null,
      "created_at" ${time} not null,
      "last_used_at" ${time} not null,
      "user_agent" varchar(255) null,
      "counter" integer not null,
      "token_hash" varchar(64) not null,
      "rotated_at" ${time} not null`,
      ['created_at', 'last_used_at'],
    )
    await this.#createOwned(
      'api_tokens',
      `"id" ${id},
      "owner_id" integer not null,
      "name" varchar(100) not null,
      "scopes" varchar(255) not null,
      "token_hash" varchar(64) not null,
      "created_at" ${time} not null,
      "expires_at" ${time} null,
      "last_used_at" ${time} null`,
      ['expires_at'],
    )
  }

  /**
   * If several users have the same key, only the oldest gets it. Runs here because SQL can neither fold every script nor
   * convert internationalised domains.
   */
  async #fill(): Promise<void> {
    for (let from = 0; ; ) {
      const users = (await this.execute(
        `select "id", "email" from "users" where "id" > ${from} order by "id" limit ${BATCH}`,
      )) as unknown as OldUser[]
      if (users.length === 0) break
      from = (users.at(-1) as OldUser).id
      const values = users.flatMap(({ id, email }) => [id, toAddress(email, urlIdna).emailKey, fold(email)])
      const rows = users.map(() => '(cast(? as integer), ?, ?)').join()
      await this.execute(
        `update "users" set "email_key" = "filled"."column2", "search" = "filled"."column3"
        from (values ${rows}) as "filled" where "users"."id" = "filled"."column1"`,
        values,
      )
    }
    await this.execute(`
      update "users" set "email_key" = null where "id" in (
        select "id" from (
          select "id", row_number() over (partition by "email_key" order by "id") as "place" from "users"
        ) as "placed" where "place" > 1
      )`)
  }

  async #createOwned(table: string, columns: string, indexed: readonly string[]): Promise<void> {
    await this.execute(`
      create table "${table}" (
        ${columns},
        constraint "${table}_owner_id_foreign" foreign key ("owner_id") references "users" ("id") on delete cascade
      )`)
    await this.execute(`create index "${table}_owner_id_id_index" on "${table}" ("owner_id", "id")`)
    for (const column of indexed) {
      await this.execute(`create index "${table}_${column}_index" on "${table}" ("${column}")`)
    }
  }

  override down(): void {
    this.addSql('drop table "api_tokens"')
    this.addSql('drop table "sessions"')
    this.addSql('delete from "users" where "left_at" is not null')
    for (const index of ['email_key_unique', 'admin_index', 'left_at_index']) this.addSql(`drop index "users_${index}"`)
    for (const name of [...Object.keys(ADDED), 'left_at']) this.addSql(`alter table "users" drop column "${name}"`)
  }

  /** Neither database reuses keys of these types. */
  #types() {
    const platform = this.driver.getPlatform()
    const postgresql = platform instanceof PostgreSqlPlatform
    return {
      id: postgresql ? 'bigserial primary key' : 'integer not null primary key autoincrement',
      time: platform.getDateTimeTypeDeclarationSQL({ length: 3 }),
    }
  }
}
