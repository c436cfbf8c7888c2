/** Brings the schema up to date and says what it did; for a deployment with MIGRATE_ON_START=false. */
import { readDatabaseTarget, readEnvironment } from '../../config.ts'
import { OperatorError } from '../../operator-error.ts'
import { openDatabase } from '../mikro-orm/database.ts'

try {
  const target = readDatabaseTarget(readEnvironment())
  if (target.kind === 'memory') console.log('DATABASE_URL is memory: there is no schema to bring up to date.')
  else {
    const database = await openDatabase(target)
    try {
      const applied = await database.migrate()
      for (const name of applied) console.log(`Applied ${name}.`)
      console.log(applied.length === 0 ? 'The schema was up to date.' : 'The schema is up to date.')
    } finally {
      await database.close()
    }
  }
} catch (error) {
  console.error(error instanceof OperatorError ? error.message : error)
  process.exitCode = 1
}
