/**
 * `node src/adapters/cli/restored.ts` is run once after a PostgreSQL database was restored, recovered to a point in time or
 * promoted from an asynchronous standby; stop the service first.
 */
import { readDatabaseTarget, readEnvironment } from '../../config.ts'
import { exitWith, OperatorError } from '../../operator-error.ts'
import { openDatabase } from '../mikro-orm/database.ts'

try {
  const target = readDatabaseTarget(readEnvironment())
  if (target.kind !== 'postgresql') {
    throw new OperatorError(
      'DATABASE_URL does not name a PostgreSQL database; `npm run restore` prepares a SQLite database by itself.',
    )
  }
  const database = await openDatabase(target)
  try {
    await database.migrate()
    await database.raiseCounters()
  } finally {
    await database.close()
  }
  console.log('New ids and revisions start 1,000,000 higher; clients will synchronize from the start.')
} catch (error) {
  exitWith(error)
}
