/** `node src/adapters/cli/restore.ts FILE` replaces the SQLite database with a backup; stop the service first. */
import { resolve } from 'node:path'
import { restoreSqlite } from '../mikro-orm/sqlite/sqlite-backup.ts'
import { sqliteCommand } from './sqlite-command.ts'

await sqliteCommand('restore', async (database, file, progress) => {
  const { replaced, idsUnknown } = await restoreSqlite(database, file, new Date(), progress)
  const raised = idsUnknown ? ' Ids assigned since the backup are unknown; new ones start 1,000,000 higher.' : ''
  const previous = replaced === undefined ? '' : ` Previous database: ${replaced}.`
  return `Restored ${resolve(database)} from ${resolve(file)}.${raised}${previous}`
})
