import type { Log } from '../../log.ts'
import type { Database } from './database.ts'

/**
 * Brings the schema up to date, or with MIGRATE_ON_START=false warns if it is not.
 *
 * @throws DatabaseUnavailable
 */
export async function ensureSchema(
  database: Pick<Database, 'migrate' | 'upToDate'>,
  { migrateOnStart }: { readonly migrateOnStart: boolean },
  log: Log,
): Promise<void> {
  if (migrateOnStart) {
    await database.migrate()
    return
  }
  try {
    if (await database.upToDate()) return
    log.warn({}, 'The schema is not up to date and MIGRATE_ON_START is false. Run `npm run migrate`.')
  } catch (err) {
    // The role of the service may lack the permission to read the table of migrations.
    log.warn({ err }, 'Cannot check whether the schema is up to date')
  }
}
