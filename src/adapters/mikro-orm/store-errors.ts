import { DomainError, StoreUnavailable } from '../../domain/errors.ts'

/** https://www.sqlite.org/rescode.html */
const SQLITE = /^SQLITE_(?:BUSY|CANTOPEN|FULL|IOERR|LOCKED|READONLY)/

/**
 * https://www.postgresql.org/docs/current/errcodes-appendix.html: the connection, the login, the database itself, a
 * server that is read-only, a transaction that has failed, conflicts of transactions, resources, permissions, time
 * limits, an operator, the server's own system calls; and a prepared statement that a pooler forgets, or that was
 * prepared before a column got another type.
 */
const POSTGRESQL =
  /^(?:08...|0A000|26000|28...|3D000|25006|25P0[234]|4000[13]|40P01|42501|42P05|53...|55P03|57...|58...)$/

/** Node's own, of a socket. */
const SOCKET = /^(?:E(?:AI_AGAIN|CONN\w+|HOST\w+|NET\w+|NOTFOUND|PIPE|TIMEDOUT)|ERR_(?:SOCKET|SSL|STREAM)_\w+)$/

/** What pg reports without a code when the connection ends after a statement was sent. */
const INTERRUPTED = /^(?:Connection terminated|Query read timeout|received invalid response|Received unexpected)/

/** What pg and better-sqlite3 report without a code of a statement that was not sent. */
const NOT_SENT = /^(?:Client (?:has encountered a connection error|was closed)|The database connection is not open)/

/** What the rest of the application may know of a driver's error. One that the store is not to blame for passes. */
export function storeError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof DomainError) return error
  const code = codeOf(error)
  const unavailable =
    code === undefined
      ? [INTERRUPTED, NOT_SENT].some((messages) => messages.test(error.message))
      : [SQLITE, POSTGRESQL, SOCKET].some((codes) => codes.test(code))
  return unavailable ? new StoreUnavailable(error) : error
}

/**
 * The statement may have been completed: says the server (40003), or a pooler that lost its server (08, pgcat: 58000).
 */
const COMPLETION_UNKNOWN = /^(?:08...|40003|58000)$/

/** What PgBouncer answers, with 08P01, to a client that it had no server for. */
const NO_SERVER = /^(?:query_wait_timeout|pgbouncer cannot connect|server login)/

/** Whether the error leaves open what became of a statement on PostgreSQL. Any other is the server's answer that it was not done. */
export function leavesOutcomeOpen(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof DomainError) return false
  const code = codeOf(error)
  if (code === undefined) return INTERRUPTED.test(error.message)
  return SOCKET.test(code) || (COMPLETION_UNKNOWN.test(code) && !NO_SERVER.test(error.message))
}

/** Two transactions were in each other's way, and this one was rolled back: `serialization_failure`, `deadlock_detected`. */
export const isConflict = (error: unknown): boolean => ['40001', '40P01'].includes(codeOf(error) ?? '')

/** An earlier statement failed, and the server does nothing until its transaction ends. */
export const isInFailedTransaction = (error: unknown): boolean => codeOf(error) === '25P02'

/** The server, or a pooler, answered that it ends the connection: it did nothing that was sent after the statement. */
export function endsConnection(error: unknown): boolean {
  if (leavesOutcomeOpen(error)) return false
  const { severity } = error as { readonly severity?: unknown }
  return severity === 'FATAL' || /^57P0[1-5]$/.test(codeOf(error) ?? '') || NO_SERVER.test((error as Error).message)
}

/** `lock_timeout`, and `statement_timeout`, which may be all there is behind a pooler. */
export const isTimeout = (error: unknown): boolean => ['55P03', '57014'].includes(codeOf(error) ?? '')

/** The server refuses every write: it is read-only, has no resources left, stops, or cannot use its disk. */
export const isServerWide = (error: unknown): boolean =>
  /^(?:08...|25006|25P0[34]|53...|57P..|58...)$/.test(codeOf(error) ?? '')

/** A constraint as PostgreSQL names it, and as SQLite reports it, which names no constraint. */
export interface Constraint {
  readonly name: string
  readonly sqlite: string
}

/** Whether the error is a violation of that constraint, and of no other. */
export function violates(error: unknown, { name, sqlite }: Constraint): boolean {
  if (!(error instanceof Error)) return false
  const { constraint } = error as Error & { readonly constraint?: unknown }
  return constraint === name || (codeOf(error)?.startsWith('SQLITE_CONSTRAINT') === true && error.message === sqlite)
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

const FORGETFUL_POOLER = 'it is a pooler, which needs DATABASE_PREPARED_STATEMENTS=false'

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
  '26000': FORGETFUL_POOLER,
  '28000': 'the user is not let in',
  '28P01': 'the user or the password is wrong',
  '3D000': 'there is no such database',
  '42P05': FORGETFUL_POOLER,
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
    return FORGETFUL_POOLER
  }
  if (message.includes('timeout')) return 'there is no answer'
  return message.replace(/\s+/g, ' ').trim()
}
