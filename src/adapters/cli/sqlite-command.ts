import { readDatabaseTarget, readEnvironment } from '../../config.ts'
import { OperatorError } from '../../operator-error.ts'
import { BackupRefused, type Progress } from '../mikro-orm/sqlite/sqlite-backup.ts'

const REFUSALS: Readonly<Record<Exclude<ReturnType<typeof readDatabaseTarget>['kind'], 'sqlite'>, string>> = {
  memory: 'DATABASE_URL is memory: nothing is kept there.',
  postgresql: 'DATABASE_URL is a PostgreSQL, which has commands of its own: pg_dump and pg_restore.',
}

/**
 * Runs a command that takes one file, and the SQLite database that is configured.
 *
 * @param run gives what to tell the operator
 */
export async function sqliteCommand(
  name: string,
  run: (database: string, file: string, progress: Progress) => Promise<string>,
): Promise<void> {
  try {
    const [file = '', ...others] = process.argv.slice(2)
    if (file === '' || file.startsWith('-') || others.length > 0)
      throw new BackupRefused(`Give it one file: npm run ${name} -- FILE`)
    const target = readDatabaseTarget(readEnvironment())
    if (target.kind !== 'sqlite') throw new BackupRefused(REFUSALS[target.kind])
    console.log(await run(target.path, file, reportTenths()))
  } catch (error) {
    console.error(error instanceof OperatorError ? error.message : error)
    process.exitCode = 1
  }
}

/** A line for each tenth, on stderr: the other stream is for the result. */
function reportTenths(): Progress {
  let reported = -1
  return (done) => {
    const tenths = Math.floor(done * 10)
    if (tenths > reported) console.error(`${tenths * 10} %`)
    reported = Math.max(reported, tenths)
  }
}
