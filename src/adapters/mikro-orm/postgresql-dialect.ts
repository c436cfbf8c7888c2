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

/** Connects when the first statement needs it. */
export function postgresqlDialect(url: string): PostgresDialect {
  const pool = new pg.Pool({
    ...LIMITS,
    connectionString: url,
    fallback_application_name: 'task-management-api',
    keepAlive: true,
    types: typeParsers(),
    Client: NamingClient,
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

/** Names the statements that have parameters, so that the server parses and plans each once for a connection. */
class NamingClient extends pg.Client {
  static readonly LIMIT = 100
  readonly #names = new Map<string, string>()

  override query<Result>(...call: unknown[]): Result {
    const [text, values] = call
    if (typeof text !== 'string' || !Array.isArray(values) || values.length === 0) {
      return Reflect.apply(super.query, this, call)
    }
    return Reflect.apply(super.query, this, [{ text, values, name: this.#nameOf(text) }])
  }

  #nameOf(text: string): string | undefined {
    const name = this.#names.get(text)
    if (name !== undefined || this.#names.size >= NamingClient.LIMIT) return name
    this.#names.set(text, `q${this.#names.size}`)
    return this.#names.get(text)
  }
}
