import { readDatabaseTarget, readEnvironment } from '../../config.ts'
import { exitWith } from '../../operator-error.ts'
import { BackupRefused, type Progress } from '../mikro-orm/sqlite/sqlite-backup.ts'

const REFUSALS: Readonly<Record<Exclude<ReturnType<typeof readDatabaseTarget>['kind'], 'sqlite'>, string>> = {
  memory: 'DATABASE_URL is memory:, which keeps nothing.',
  postgresql: 'DATABASE_URL names a PostgreSQL database; use pg_dump and pg_restore.',
}

/**
 * Runs a command on the configured SQLite database and the file named on the command line.
 *
 * @param run returns the message for the operator
 */
export async function sqliteCommand(
  name: string,
  run: (database: string, file: string, progress: Progress) => Promise<string>,
): Promise<void> {
  try {
    const [file = '', ...others] = process.argv.slice(2)
    if (file === '' || file.startsWith('-') || others.length > 0)
      throw new BackupRefused(`Usage: npm run ${name} -- FILE`)
    const target = readDatabaseTarget(readEnvironment())
    if (target.kind !== 'sqlite') throw new BackupRefused(REFUSALS[target.kind])
    console.log(await run(target.path, file, reportTenths()))
  } catch (error) {
    exitWith(error)
  }
}

/** Prints the progress in steps of 10 % to stderr if that is a terminal; stdout is for the result. */
function reportTenths(): Progress {
  if (!process.stderr.isTTY) return () => {}
  let reported = -1
  return (done) => {
    const tenths = Math.floor(done * 10)
    if (tenths > reported) console.error(`${tenths * 10} %`)
    reported = Math.max(reported, tenths)
  }
}
