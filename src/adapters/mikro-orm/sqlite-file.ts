import { statSync } from 'node:fs'
import BetterSqlite3 from 'better-sqlite3'
import { FIRST_MIGRATION, MIGRATIONS_TABLE } from './records.ts'

/** How long to wait for another process that writes, in milliseconds. */
export const BUSY_TIMEOUT = 1_000

/** The file holds tables of another program. */
export class ForeignFile extends Error {
  constructor() {
    super('the file belongs to another program')
  }
}

/**
 * Refuses a database of another program, and leaves it as it is. A file that is missing, is empty or has no tables may
 * become ours.
 *
 * @throws ForeignFile
 */
export function refuseForeign(path: string): void {
  if (sizeOf(path) === 0) return
  // A connection that can write takes a leftover log into the database when it closes; one that cannot leaves an
  // empty log behind.
  const readonly = sizeOf(`${path}-wal`) > 0
  const database = new BetterSqlite3(path, { readonly, fileMustExist: true, timeout: BUSY_TIMEOUT })
  try {
    if (!isOwn(database)) throw new ForeignFile()
  } finally {
    database.close()
  }
}

const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0

function isOwn(database: BetterSqlite3.Database): boolean {
  const tables = database.prepare('select distinct tbl_name from sqlite_schema').pluck().all() as string[]
  if (tables.includes(MIGRATIONS_TABLE)) {
    const applied = database.prepare(`select name from ${MIGRATIONS_TABLE}`).pluck().all()
    if (applied.includes(FIRST_MIGRATION)) return true
  }
  const others = tables.filter((name) => name !== MIGRATIONS_TABLE && !name.startsWith('sqlite_'))
  return others.length === 0 && database.pragma('application_id', { simple: true }) === 0
}
