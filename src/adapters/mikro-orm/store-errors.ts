import { DomainError, StoreUnavailable } from '../../domain/errors.ts'

/** https://www.sqlite.org/rescode.html */
const SQLITE = /^SQLITE_(?:BUSY|CANTOPEN|FULL|IOERR|LOCKED|READONLY)/

/**
 * https://www.postgresql.org/docs/current/errcodes-appendix.html: the connection, the login, the database itself, a
 * server that recovers as a read-only one, resources, deadlocks, time limits, an operator, the server's own system
 * calls; and a statement that was prepared before a column got another type.
 */
const POSTGRESQL = /^(?:08...|0A000|28...|3D000|25006|25P0[34]|40P01|53...|55P03|57...|58...)$/

/** Node's own, of a socket. */
const SOCKET = /^E(?:AI_AGAIN|CONN\w+|HOST\w+|NET\w+|NOTFOUND|PIPE|TIMEDOUT)$/

/** Errors that pg and better-sqlite3 report without a code. */
const MESSAGE =
  /^(?:Connection terminated|Client (?:has encountered a connection error|was closed)|Query read timeout|The database connection is not open)/

/** What the rest of the application may know of a driver's error. One that the store is not to blame for passes. */
export function storeError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof DomainError) return error
  const code = codeOf(error)
  const unavailable =
    code === undefined ? MESSAGE.test(error.message) : [SQLITE, POSTGRESQL, SOCKET].some((codes) => codes.test(code))
  return unavailable ? new StoreUnavailable(error) : error
}

export const violatesUnique = (error: unknown): boolean =>
  ['SQLITE_CONSTRAINT_UNIQUE', '23505'].includes(codeOf(error) ?? '')

export const violatesForeignKey = (error: unknown): boolean =>
  ['SQLITE_CONSTRAINT_FOREIGNKEY', '23503'].includes(codeOf(error) ?? '')

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

const REASONS: Readonly<Record<string, string>> = {
  SQLITE_BUSY: 'another process keeps it locked',
  SQLITE_CANTOPEN: 'the file can be neither opened nor made',
  SQLITE_CORRUPT: 'the file is damaged',
  SQLITE_FULL: 'there is no room',
  SQLITE_NOTADB: 'the file is no SQLite database',
  SQLITE_READONLY: 'the file or its folder is read-only',
  EAI_AGAIN: 'the host name cannot be looked up',
  ECONNREFUSED: 'the connection is refused',
  ENOTFOUND: 'the host name is not known',
  ETIMEDOUT: 'there is no answer',
  '28000': 'the user is not let in',
  '28P01': 'the user or the password is wrong',
  '3D000': 'there is no such database',
  '42501': 'the user may not do that',
  '53300': 'it has no connection left',
  '57P03': 'it is starting or stopping',
}

/** For an operator: one line, in our words where we have some, else in the driver's. */
export function reasonOf(error: unknown): string {
  if (error instanceof StoreUnavailable) return reasonOf(error.cause)
  const known = REASONS[codeOf(error)?.replace(/^(SQLITE_[A-Z]+)_.*$/, '$1') ?? '']
  if (known !== undefined) return known
  const message = error instanceof Error ? error.message : String(error)
  if (message.includes('directory does not exist')) return 'its folder does not exist'
  if (message.startsWith('unsupported startup parameter')) {
    return 'it is a pooler, which needs DATABASE_PREPARED_STATEMENTS=false'
  }
  if (message.includes('timeout')) return 'there is no answer'
  return message.replace(/\s+/g, ' ').trim()
}
