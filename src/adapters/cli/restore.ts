/** `node src/adapters/cli/restore.ts FILE` puts a backup into the place of the SQLite database; stop the service first. */
import { resolve } from 'node:path'
import { restoreSqlite } from '../mikro-orm/sqlite-backup.ts'
import { sqliteCommand } from './sqlite-command.ts'

await sqliteCommand('restore', async (database, file, progress) => {
  const aside = await restoreSqlite(database, file, new Date(), progress)
  const kept = aside === undefined ? '' : ` What was there is kept as ${aside}.`
  return `${resolve(database)} is now what ${resolve(file)} holds.${kept}`
})
