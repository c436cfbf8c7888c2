/** `node src/adapters/cli/backup.ts FILE` copies the SQLite database, also while the service writes to it. */
import { resolve } from 'node:path'
import { backupSqlite } from '../mikro-orm/sqlite/sqlite-backup.ts'
import { sqliteCommand } from './sqlite-command.ts'

await sqliteCommand('backup', async (database, file, progress) => {
  await backupSqlite(database, file, progress)
  return `${resolve(file)} is a sound copy of ${resolve(database)}.`
})
