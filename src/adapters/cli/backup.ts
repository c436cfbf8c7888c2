/** `node src/adapters/cli/backup.ts FILE` backs up the SQLite database, even while the service writes to it. */
import { resolve } from 'node:path'
import { backupSqlite } from '../mikro-orm/sqlite/sqlite-backup.ts'
import { sqliteCommand } from './sqlite-command.ts'

await sqliteCommand('backup', async (database, file, progress) => {
  await backupSqlite(database, file, progress)
  return `Backed up ${resolve(database)} to ${resolve(file)} (verified).`
})
