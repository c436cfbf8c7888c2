import { createPostgreSqlTypeParsers } from '@mikro-orm/postgresql'
import { PostgresDialect } from 'kysely'
import pg from 'pg'

/** All in milliseconds. A client that waits longer is better told to come back. */
const LIMITS = {
  connectionTimeoutMillis: 5_000,
  statement_timeout: 10_000,
  idle_in_transaction_session_timeout: 10_000,
}

const TEXT_ARRAY = 1009 as Parameters<typeof pg.types.getTypeParser>[0]

/** In milliseconds; longer than the server's own limit, so that it counts only when the server says nothing at all. */
const ANSWER_TIMEOUT = 12_000

/** Connects when the first statement needs it. */
export function postgresqlDialect(url: string, answerTimeout = ANSWER_TIMEOUT): PostgresDialect {
  const pool = new pg.Pool({
    ...LIMITS,
    connectionString: url,
    fallback_application_name: 'task-management-api',
    keepAlive: true,
    types: typeParsers(),
    Client: StatementClient,
    query_timeout: answerTimeout,
  })
  // A connection that the server drops must not end the process; the statement that meets it reports it.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => client.on('error', () => undefined))
  return new PostgresDialect({ pool })
}

/** MikroORM reads dates from text. */
function typeParsers() {
  const types = new pg.TypeOverrides()
  const parsers = createPostgreSqlTypeParsers(pg.types.getTypeParser(TEXT_ARRAY))
  for (const [oid, parse] of Object.entries(parsers)) types.setTypeParser(Number(oid), parse)
  return types
}

/** As long as a timer can wait: 24 days, in milliseconds. */
const PATIENCE = 2 ** 31 - 1
const TRANSACTION: ReadonlySet<unknown> = new Set(['begin', 'commit', 'rollback'])

/**
 * Names the statements that have parameters, so that the server parses and plans each once for a connection. MikroORM's
 * own have none, and may take their time: they are those of the migrations.
 */
class StatementClient extends pg.Client {
  static readonly LIMIT = 100
  readonly #names = new Map<string, string>()

  override query<Result>(...call: unknown[]): Result {
    const [text, values] = call
    if (typeof text !== 'string') return Reflect.apply(super.query, this, call)
    const own = Array.isArray(values) && values.length > 0
    const hurry = own || TRANSACTION.has(text)
    return Reflect.apply(super.query, this, [
      { text, values, ...(own && { name: this.#nameOf(text) }), ...(!hurry && { query_timeout: PATIENCE }) },
    ]).catch((error: Error) => {
      // Left in the pool, a connection whose server says nothing would keep the next one waiting, too.
      if (error.message === 'Query read timeout') void this.end()
      throw error
    })
  }

  #nameOf(text: string): string | undefined {
    const name = this.#names.get(text)
    if (name !== undefined || this.#names.size >= StatementClient.LIMIT) return name
    this.#names.set(text, `q${this.#names.size}`)
    return this.#names.get(text)
  }
}
