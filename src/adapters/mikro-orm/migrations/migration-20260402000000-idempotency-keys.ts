import { Migration } from '@mikro-orm/migrations'

export class IdempotencyKeys extends Migration {
  override up(): void {
    this.addSql(`
      create table "idempotency_keys" (
        "owner_id" integer not null,
        "scope" varchar(255) not null,
        "key" varchar(255) not null,
        "fingerprint" varchar(64) not null,
        "result" text not null,
        "new_ids" text not null,
        "created_at" ${this.driver.getPlatform().getDateTimeTypeDeclarationSQL({ length: 3 })} not null,
        constraint "idempotency_keys_pkey" primary key ("owner_id", "scope", "key"),
        constraint "idempotency_keys_owner_id_foreign" foreign key ("owner_id") references "users" ("id") on delete cascade
      )`)
    this.addSql('create index "idempotency_keys_created_at_index" on "idempotency_keys" ("created_at")')
  }

  override down(): void {
    this.addSql('drop table "idempotency_keys"')
  }
}
