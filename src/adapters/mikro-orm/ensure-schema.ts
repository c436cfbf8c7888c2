import type { Log } from '../../log.ts'
import type { Database } from './database.ts'

/**
 * Brings the schema up to date, or warns if it is not: without its tables every request fails.
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
    // The tables may belong to a role that does not let this one read the list of migrations.
    log.warn({ err }, 'Cannot check whether the schema is up to date')
  }
}
