/**
 * `node src/adapters/cli/restored.ts` tells a PostgreSQL database that it was restored, recovered to a point in time, or
 * promoted from an asynchronous standby; stop the service first.
 */
import { readDatabaseTarget, readEnvironment } from '../../config.ts'
import { OperatorError } from '../../operator-error.ts'
import { openDatabase } from '../mikro-orm/database.ts'

try {
  const target = readDatabaseTarget(readEnvironment())
  if (target.kind !== 'postgresql')
    throw new OperatorError('DATABASE_URL is not a PostgreSQL database; only PostgreSQL needs this.')
  const database = await openDatabase(target)
  try {
    await database.migrate()
    await database.raiseCounters()
    console.log('Ids and revisions continue 1,000,000 higher; clients synchronize from the start.')
  } finally {
    await database.close()
  }
} catch (error) {
  console.error(error instanceof OperatorError ? error.message : error)
  process.exitCode = 1
}
