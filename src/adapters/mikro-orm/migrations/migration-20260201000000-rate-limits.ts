import { Migration } from '@mikro-orm/migrations'
import { PostgreSqlPlatform } from '@mikro-orm/postgresql'
import { RATE_LIMITS_TABLE } from '../records.ts'

/** Counters that instances share in PostgreSQL, with the columns of rate-limiter-flexible. */
export class RateLimits extends Migration {
  override up(): void {
    if (!this.#shared()) return
    this.addSql(`
      create table "${RATE_LIMITS_TABLE}" (
        "key" varchar(255) primary key,
        "points" integer not null default 0,
        "expire" bigint
      )`)
  }

  override down(): void {
    if (this.#shared()) this.addSql(`drop table "${RATE_LIMITS_TABLE}"`)
  }

  #shared(): boolean {
    return this.driver.getPlatform() instanceof PostgreSqlPlatform
  }
}
