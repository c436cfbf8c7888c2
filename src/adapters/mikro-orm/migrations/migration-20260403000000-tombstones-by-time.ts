import { Migration } from '@mikro-orm/migrations'

export class TombstonesByTime extends Migration {
  override up(): void {
    this.addSql('create index "tombstones_deleted_at_index" on "tombstones" ("deleted_at")')
  }

  override down(): void {
    this.addSql('drop index "tombstones_deleted_at_index"')
  }
}
