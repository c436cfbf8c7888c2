/** `node src/adapters/cli/restore.ts FILE` puts a backup into the place of the SQLite database; stop the service first. */
import { resolve } from 'node:path'
import { restoreSqlite } from '../mikro-orm/sqlite/sqlite-backup.ts'
import { sqliteCommand } from './sqlite-command.ts'

await sqliteCommand('restore', async (database, file, progress) => {
  const { replaced, idsUnknown } = await restoreSqlite(database, file, new Date(), progress)
  const kept = replaced === undefined ? '' : ` What was there is kept as ${replaced}.`
  const raised = idsUnknown ? ' The ids given since the backup are unknown: new ones begin 1,000,000 higher.' : ''
  return `${resolve(database)} is now what ${resolve(file)} holds.${raised}${kept}`
})
