/** What MikroORM's command line works on (`npm run migration:create` and its kin): the database of the environment. */
import { mikroOrmOptions } from './src/adapters/mikro-orm/options.ts'
import { ConfigError, readConfig, readEnvironment } from './src/config.ts'

const { database } = readConfig(readEnvironment())
if (database.target.kind === 'memory') throw new ConfigError('DATABASE_URL is memory: there are no tables to migrate.')

export default mikroOrmOptions(database.target)
