import { DomainError, StoreUnavailable } from '../../domain/errors.ts'

/** https://www.sqlite.org/rescode.html */
const SQLITE = /^SQLITE_(?:BUSY|CANTOPEN|FULL|IOERR|LOCKED|READONLY)/

/**
 * Codes (https://www.postgresql.org/docs/current/errcodes-appendix.html) for a broken connection, a rejected login, a missing
 * database, a read-only server, a failed transaction, a conflict, exhausted resources, missing permissions, timeouts, an
 * operator's intervention and system errors; and for a prepared statement that a pooler forgot, or whose column types changed.
 */
const POSTGRESQL =
  /^(?:08...|0A000|26000|28...|3D000|25006|25P0[234]|4000[13]|40P01|42501|42P05|53...|55P03|57...|58...)$/

/** Node's codes for socket errors. */
const SOCKET = /^(?:E(?:AI_AGAIN|CONN\w+|HOST\w+|NET\w+|NOTFOUND|PIPE|TIMEDOUT)|ERR_(?:SOCKET|SSL|STREAM)_\w+)$/

/** Messages of pg, without a code, for a connection that ends after a statement was sent. */
const INTERRUPTED = /^(?:Connection terminated|Query read timeout|received invalid response|Received unexpected)/

/** Messages of pg and better-sqlite3, without a code, for a statement that was not sent. */
const NOT_SENT = /^(?:Client (?:has encountered a connection error|was closed)|The database connection is not open)/

/** Translates an error of a driver that means the store is unavailable; returns any other unchanged. */
export function storeError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof DomainError) return error
  const code = codeOf(error)
  const unavailable =
    code === undefined
      ? [INTERRUPTED, NOT_SENT].some((messages) => messages.test(error.message))
      : [SQLITE, POSTGRESQL, SOCKET].some((codes) => codes.test(code))
  return unavailable ? new StoreUnavailable(error) : error
}

/** The statement may have been completed: reported by the server (40003) or by a pooler that lost it (08, pgcat: 58000). */
const COMPLETION_UNKNOWN = /^(?:08...|40003|58000)$/

/** Messages of PgBouncer, with code 08P01, when it has no server connection for a client. */
const NO_SERVER = /^(?:query_wait_timeout|pgbouncer cannot connect|server login)/

/** Whether a statement may have been committed despite the error. Any other error is the server's refusal. */
export function leavesOutcomeOpen(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof DomainError) return false
  const code = codeOf(error)
  if (code === undefined) return INTERRUPTED.test(error.message)
  return SOCKET.test(code) || (COMPLETION_UNKNOWN.test(code) && !NO_SERVER.test(error.message))
}

/** The transaction was rolled back in favour of another: `serialization_failure`, `deadlock_detected`. */
export const isConflict = (error: unknown): boolean => ['40001', '40P01'].includes(codeOf(error) ?? '')

/** An earlier statement of the transaction failed; the server ignores everything until it ends. */
export const isInFailedTransaction = (error: unknown): boolean => codeOf(error) === '25P02'

/** The server or a pooler announced that it closes the connection, so no later statement ran. */
export function endsConnection(error: unknown): boolean {
  if (leavesOutcomeOpen(error)) return false
  const { severity } = error as { readonly severity?: unknown }
  return severity === 'FATAL' || /^57P0[1-5]$/.test(codeOf(error) ?? '') || NO_SERVER.test((error as Error).message)
}

/** `lock_timeout`, or `statement_timeout`, which may be the only one set behind a pooler. */
export const isTimeout = (error: unknown): boolean => ['55P03', '57014'].includes(codeOf(error) ?? '')

/** The server refuses every write: it is read-only, out of resources, stopping or cannot use its disk. */
export const isServerWide = (error: unknown): boolean =>
  /^(?:08...|25006|25P0[34]|53...|57P..|58...)$/.test(codeOf(error) ?? '')

/** A constraint by its name on PostgreSQL and by SQLite's message, which contains no name. */
export interface Constraint {
  readonly name: string
  readonly sqlite: string
}

/** Whether the error reports a violation of exactly this constraint. */
export function violates(error: unknown, { name, sqlite }: Constraint): boolean {
  if (!(error instanceof Error)) return false
  const { constraint } = error as Error & { readonly constraint?: unknown }
  return constraint === name || (codeOf(error)?.startsWith('SQLITE_CONSTRAINT') === true && error.message === sqlite)
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

const FORGETFUL_POOLER = 'a connection pooler requires DATABASE_PREPARED_STATEMENTS=false'

const REASONS: Readonly<Record<string, string>> = {
  SQLITE_BUSY: 'another process holds its lock',
  SQLITE_CANTOPEN: 'the file cannot be opened or created',
  SQLITE_CORRUPT: 'the file is damaged',
  SQLITE_FULL: 'the disk is full',
  SQLITE_NOTADB: 'the file is not a SQLite database',
  SQLITE_READONLY: 'the file or its directory is read-only',
  EAI_AGAIN: 'host name lookup failed',
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'unknown host name',
  ETIMEDOUT: 'no response',
  '26000': FORGETFUL_POOLER,
  '28000': 'login rejected',
  '28P01': 'wrong user or password',
  '3D000': 'no such database',
  '42P05': FORGETFUL_POOLER,
  '53300': 'too many connections',
  '57P03': 'the server is starting or stopping',
}

/** The reason in one line for the operator: our own text for a known error, otherwise the driver's message. */
export function reasonOf(error: unknown): string {
  if (error instanceof StoreUnavailable) return reasonOf(error.cause)
  const known = REASONS[codeOf(error)?.replace(/^(SQLITE_[A-Z]+)_.*$/, '$1') ?? '']
  if (known !== undefined) return known
  const message = error instanceof Error ? error.message : String(error)
  if (message.includes('directory does not exist')) return 'its directory does not exist'
  if (message.startsWith('unsupported startup parameter')) return FORGETFUL_POOLER
  if (message.includes('timeout')) return 'no response'
  return message.replace(/\s+/g, ' ').trim()
}
