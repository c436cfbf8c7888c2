import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { OperatorError } from '../../../operator-error.ts'
import { MIGRATIONS_TABLE, NUMBERED_TABLES, TaskListRecord, TaskRecord, UserRecord } from '../records.ts'
import { codeOf, reasonOf } from '../store-errors.ts'
import { ForeignFile, refuseForeign } from './sqlite-file.ts'

/** Nothing was changed. The message is one line for the operator. */
export class BackupRefused extends OperatorError {}

/** Receives the copied fraction, from 0 to 1. */
export type Progress = (done: number) => void

/**
 * Copies a snapshot of a database that other processes may read and write at the same time. Creates `file`, a single file,
 * only when the copy is complete and verified.
 *
 * @throws BackupRefused
 */
export async function backupSqlite(database: string, file: string, progress: Progress): Promise<void> {
  if (existsSync(file)) throw new BackupRefused(`${resolve(file)} already exists and was left unchanged.`)
  await withBackupErrors(`${resolve(file)} was not written`, () =>
    withCopy(database, `${resolve(file)}.partial`, progress, (copy) => renameDurably(copy, file)),
  )
}

export interface Restored {
  /** Path of the previous database, if there was one. */
  readonly replaced: string | undefined
  /** Whether the ids assigned since the backup are unknown, so that every id counter was raised by a million. */
  readonly idsUnknown: boolean
}

/**
 * Replaces a database that no process has open with a copy of a backup, and keeps the previous database beside it.
 *
 * @param now part of the previous database's new name
 * @throws BackupRefused
 */
export function restoreSqlite(database: string, file: string, now: Date, progress: Progress): Promise<Restored> {
  const target = existsSync(database) ? realpathSync(database) : resolve(database)
  const replacedPath = `${target}.replaced-${now.toISOString().replace(/\W/g, '')}`
  return withBackupErrors(`${target} was left unchanged`, async () => {
    const present = existsSync(target) ? openExclusively(target) : undefined
    try {
      return await withCopy(file, `${target}.restoring`, progress, (copy) => {
        const idsUnknown = raiseIds(copy, present)
        raiseRevisions(copy)
        return { replaced: putInPlace(copy, target, replacedPath), idsUnknown }
      })
    } finally {
      present?.close()
    }
  })
}

/** @throws BackupRefused for an error of the disk or the database */
async function withBackupErrors<Result>(outcome: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    if (codeOf(error) === undefined) throw error
    throw new BackupRefused(`${outcome}: ${reasonOf(error)}`, { cause: error })
  }
}

const notOwn = (path: string) => new BackupRefused(`${resolve(path)} is not a database of this service.`)

/** @throws BackupRefused */
function requireOwn(path: string): void {
  try {
    refuseForeign(path)
  } catch (error) {
    throw error instanceof ForeignFile ? notOwn(path) : error
  }
}

/** Verifies the copy before it is used, and removes it afterwards unless it was renamed. */
async function withCopy<Result>(
  from: string,
  copy: string,
  progress: Progress,
  use: (copy: string) => Result,
): Promise<Result> {
  for (const needed of [resolve(from), dirname(copy)]) {
    if (!existsSync(needed)) throw new BackupRefused(`${needed} does not exist.`)
  }
  if (existsSync(copy)) throw new BackupRefused(`${copy} exists: another command is writing it, or was interrupted.`)
  requireOwn(from)
  // The copy holds personal data, so only its owner may read it.
  closeSync(openSync(copy, 'wx', 0o600))
  try {
    await copyOnline(from, copy, progress)
    checkCopy(from, copy)
    return use(copy)
  } finally {
    rmSync(copy, { force: true })
  }
}

/** Pages copied per turn of the event loop. */
const PAGES_PER_TURN = 1_000

async function copyOnline(from: string, to: string, progress: Progress): Promise<void> {
  const source = new BetterSqlite3(from, { fileMustExist: true })
  try {
    // A transaction keeps the copy consistent; without one SQLite restarts the copy after each write.
    source.exec('begin; select 1 from sqlite_schema')
    await source.backup(to, {
      progress({ totalPages, remainingPages }) {
        progress(1 - remainingPages / Math.max(totalPages, 1))
        return PAGES_PER_TURN
      },
    })
    progress(1)
  } finally {
    source.close()
  }
}

function checkCopy(from: string, copy: string): void {
  const database = new BetterSqlite3(copy)
  try {
    // Merge the WAL so the backup is one file.
    database.pragma('journal_mode = delete')
    const sound =
      database.pragma('integrity_check', { simple: true }) === 'ok' &&
      (database.pragma('foreign_key_check') as unknown[]).length === 0
    if (!sound) throw new BackupRefused(`${resolve(from)} is damaged.`)
    const ours = database.prepare("select 1 from sqlite_schema where type = 'table' and name in (?, ?)")
    if (ours.all(UserRecord.tableName, TaskRecord.tableName).length < 2) throw notOwn(from)
  } finally {
    database.close()
  }
}

/**
 * Opens a database exclusively. Returns `undefined` for a damaged database, because replacing that is what backups are for.
 *
 * @throws BackupRefused
 */
function openExclusively(path: string): BetterSqlite3.Database | undefined {
  const database = new BetterSqlite3(path, { timeout: 0 })
  try {
    requireOwn(path)
    // Merges the WAL, and fails while any other connection is open.
    database.pragma('journal_mode = delete')
    database.exec('begin exclusive')
    return database
  } catch (error) {
    database.close()
    const code = codeOf(error) ?? ''
    if (/^SQLITE_(?:BUSY|LOCKED)/.test(code)) throw new BackupRefused(`${path} is in use: stop the service first.`)
    if (!/^SQLITE_(?:CORRUPT|NOTADB)/.test(code)) throw error
    return undefined
  }
}

/** Added to each id counter when the ids assigned since the backup are unknown. */
const UNKNOWN_IDS = 1_000_000
/** With this counter, the next id is the largest that a JSON number holds exactly. */
const LARGEST_COUNTER = Number.MAX_SAFE_INTEGER - 1

/**
 * Raises the id counters so that ids assigned since the backup are not reused, because a valid token may name one of them.
 *
 * @returns whether the ids assigned since the backup are unknown
 */
function raiseIds(copy: string, present: BetterSqlite3.Database | undefined): boolean {
  const previous = present ? readCounters(present) : { sound: false, counters: {} }
  const database = new BetterSqlite3(copy)
  try {
    const restored = readCounters(database).counters
    // Counters only grow, so a lower one proves that the previous database is not a later state of the backup.
    const known =
      previous.sound && Object.entries(restored).every(([name, counter]) => (previous.counters[name] ?? -1) >= counter)
    const update = database.prepare('update sqlite_sequence set seq = ? where name = ?')
    const insert = database.prepare('insert into sqlite_sequence (seq, name) values (?, ?)')
    // An older backup lacks tables that a migration will create.
    const names = new Set([...NUMBERED_TABLES, ...Object.keys({ ...restored, ...previous.counters })])
    for (const name of names) {
      const higher = Math.max(restored[name] ?? 0, previous.counters[name] ?? 0)
      const counter = known ? higher : Math.min(higher + UNKNOWN_IDS, LARGEST_COUNTER)
      if (update.run(counter, name).changes === 0) insert.run(counter, name)
    }
    return !known
  } finally {
    database.close()
  }
}

/** Raises the revisions, so that none since the backup is assigned again. A new epoch ends every position in a change feed. */
function raiseRevisions(copy: string): void {
  const database = new BetterSqlite3(copy)
  try {
    // The migration of a backup without revisions draws the epochs.
    const table = TaskListRecord.tableName
    const columns = database.pragma(`table_info(${table})`) as { readonly name: string }[]
    if (!columns.some(({ name }) => name === 'epoch')) return
    database.prepare(`update ${table} set revision = revision + ?, epoch = lower(hex(randomblob(4)))`).run(UNKNOWN_IDS)
  } finally {
    database.close()
  }
}

interface Counters {
  /** The highest id assigned in each table whose counter is readable. */
  readonly counters: Readonly<Record<string, number>>
  /** Whether the database is undamaged and every counter is readable. */
  readonly sound: boolean
}

function readCounters(database: BetterSqlite3.Database): Counters {
  try {
    const tables = database
      .prepare("select name from sqlite_schema where type = 'table' and sql like '%autoincrement%' and name <> ?")
      .pluck()
      .all(MIGRATIONS_TABLE) as string[]
    const counters = tables.flatMap((name) => {
      const counter = readCounter(database, name)
      return counter === undefined ? [] : [[name, counter] as const]
    })
    const sound = counters.length === tables.length && database.pragma('quick_check(1)', { simple: true }) === 'ok'
    return { counters: Object.fromEntries(counters), sound }
  } catch {
    return { counters: {}, sound: false }
  }
}

function readCounter(database: BetterSqlite3.Database, table: string): number | undefined {
  try {
    const counter = database.prepare('select max(seq) from sqlite_sequence where name = ?').pluck().get(table) ?? 0
    return Number.isSafeInteger(counter) && Number(counter) >= 0 ? Number(counter) : undefined
  } catch {
    return undefined
  }
}

/** Suffixes of SQLite's files beside a database. A leftover WAL would be applied to the new database. */
const COMPANIONS = ['-wal', '-shm', '-journal']

function putInPlace(copy: string, target: string, replacedPath: string): string | undefined {
  const replaced = existsSync(target)
  if (replaced) {
    const { mode, uid, gid } = statSync(target)
    chmodSync(copy, mode)
    chownSync(copy, uid, gid)
    // Link first, so that the path always names a database. A service that starts in between would create a missing database.
    linkSync(target, replacedPath)
  }
  for (const companion of COMPANIONS.filter((suffix) => existsSync(target + suffix))) {
    renameSync(target + companion, replacedPath + companion)
  }
  renameDurably(copy, target)
  return replaced ? replacedPath : undefined
}

function renameDurably(from: string, to: string): void {
  renameSync(from, to)
  const folder = openSync(dirname(resolve(to)), 'r')
  fsyncSync(folder)
  closeSync(folder)
}
