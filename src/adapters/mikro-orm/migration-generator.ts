import { TSMigrationGenerator } from '@mikro-orm/migrations'

/**
 * Generates migrations in this project's style, named by their files and with identifiers quoted for both databases. The
 * column types are those of the current database, so review them before committing.
 */
export class MigrationGenerator extends TSMigrationGenerator {
  override generateMigrationFile(...of: Parameters<TSMigrationGenerator['generateMigrationFile']>): string {
    return super
      .generateMigrationFile(...of)
      .replace(/;$/gm, '')
      .replace(/^ {2}override name = .*\n\n/m, '')
      .replaceAll('void | Promise<void>', 'void')
      .replace(/\{\n\n/g, '{\n')
      .replace(/\n\n\}\n$/, '\n}\n')
  }

  override createStatement(sql: string, padLeft: number): string {
    return super.createStatement(sql.replaceAll('`', '"').replace(/;$/, ''), padLeft)
  }
}
