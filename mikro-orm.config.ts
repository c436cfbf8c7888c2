/** Configures MikroORM's command line (`npm run migration:create` and similar) for the database in DATABASE_URL. */
import { mikroOrmOptions } from './src/adapters/mikro-orm/options.ts'
import { ConfigError, readDatabaseTarget, readEnvironment } from './src/config.ts'
import type { PersistentTarget } from './src/database-target.ts'
import { exitWith } from './src/operator-error.ts'

export default mikroOrmOptions(readTarget())

function readTarget(): PersistentTarget {
  try {
    const target = readDatabaseTarget(readEnvironment())
    if (target.kind !== 'memory') return target
    throw new ConfigError('DATABASE_URL is memory:, which has no schema.')
  } catch (error) {
    return exitWith(error)
  }
}
