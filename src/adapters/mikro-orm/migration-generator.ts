import { TSMigrationGenerator } from '@mikro-orm/migrations'

/**
 * Writes a new migration as MikroORM does, but in this project's style and with names quoted as both databases read
 * them. Its column types are those of the database that it was made on: look at them before they are committed.
 */
export class MigrationGenerator extends TSMigrationGenerator {
  override generateMigrationFile(...of: Parameters<TSMigrationGenerator['generateMigrationFile']>): string {
    return super
      .generateMigrationFile(...of)
      .replace(/;$/gm, '')
      .replace(/\{\n\n/g, '{\n')
      .replace(/\n\n\}\n$/, '\n}\n')
  }

  override createStatement(sql: string, padLeft: number): string {
    return super.createStatement(sql.replaceAll('`', '"').replace(/;$/, ''), padLeft)
  }
}
