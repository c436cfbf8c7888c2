/** `node src/adapters/cli/migrate.ts` brings the schema up to date, for deployments with MIGRATE_ON_START=false. */
import { readDatabaseTarget, readEnvironment } from '../../config.ts'
import { describeTarget } from '../../database-target.ts'
import { exitWith } from '../../operator-error.ts'
import { openDatabase } from '../mikro-orm/database.ts'

try {
  const target = readDatabaseTarget(readEnvironment())
  if (target.kind === 'memory') console.log('DATABASE_URL is memory:, which has no schema.')
  else {
    const database = await openDatabase(target)
    try {
      const applied = await database.migrate()
      for (const name of applied) console.log(`Applied ${name}.`)
      const already = applied.length === 0 ? 'already ' : ''
      console.log(`The schema of the ${describeTarget(target)} is ${already}up to date.`)
    } finally {
      await database.close()
    }
  }
} catch (error) {
  exitWith(error)
}
