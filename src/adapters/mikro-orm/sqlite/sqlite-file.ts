import { realpathSync, statSync } from 'node:fs'
import BetterSqlite3 from 'better-sqlite3'
import { FIRST_MIGRATION, MIGRATIONS_TABLE } from '../records.ts'

/** Milliseconds to wait for the write lock of another process. */
export const BUSY_TIMEOUT = 1_000

/** The file holds tables of another program. */
export class ForeignFile extends Error {
  constructor() {
    super('the file belongs to another program')
  }
}

/**
 * Refuses a database of another program without changing it. Accepts a file that is missing, empty or without tables.
 *
 * @throws ForeignFile
 */
export function refuseForeign(path: string): void {
  if (sizeOf(path) === 0) return
  // A writable connection merges a leftover WAL into the database when it closes; a read-only one leaves an empty WAL behind.
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

/** Milliseconds between two comparisons. */
const COMPARE_INTERVAL = 1_000

/** The part of a logger used here. */
export interface FileLog {
  info(details: object, message: string): void
  error(details: object, message: string): void
}

/**
 * Detects whether the paths of an open database, its WAL and its index still name the opened files. A removed file accepts
 * writes, which are lost when the file is closed. Logs each change once.
 */
export class OpenFiles {
  readonly #files: readonly { readonly path: string; readonly identity: string | undefined }[]
  readonly #log: FileLog
  readonly #timer: NodeJS.Timeout
  #replaced: string | undefined

  /** @param path names a database that is open in WAL mode */
  constructor(path: string, log: FileLog) {
    const real = realpathSync(path)
    this.#files = [path, `${real}-wal`, `${real}-shm`].map((file) => ({ path: file, identity: identityOf(file) }))
    this.#log = log
    this.#timer = setInterval(() => this.compare(), COMPARE_INTERVAL).unref()
  }

  /** Result of the last comparison. */
  get inPlace(): boolean {
    return this.#replaced === undefined
  }

  /** @returns whether all files are in place now */
  compare(): boolean {
    const replaced = this.#files.find(({ path, identity }) => identityOf(path) !== identity)?.path
    if (replaced !== undefined && this.#replaced === undefined) {
      const until = 'until the same file is back or the service restarts'
      this.#log.error({}, `${replaced} was removed or replaced under the service: requests get 503 ${until}`)
    }
    if (replaced === undefined && this.#replaced !== undefined) this.#log.info({}, `${this.#replaced} is back`)
    this.#replaced = replaced
    return replaced === undefined
  }

  close(): void {
    clearInterval(this.#timer)
  }
}

/** Device and inode; undefined if there is no such file. */
function identityOf(path: string): string | undefined {
  try {
    // Some file systems use numbers beyond 2^53.
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
    return stat && `${stat.dev}:${stat.ino}`
  } catch {
    return undefined
  }
}
