import { createPostgreSqlTypeParsers } from '@mikro-orm/postgresql'
import type { CompiledQuery } from 'kysely'
import pg from 'pg'

/** Milliseconds. A client that waits longer is better told to come back, here and below. */
const CONNECTION_TIMEOUT = 5_000

/** Of the server's session, in milliseconds. */
const SESSION_LIMITS = {
  statement_timeout: 10_000,
  idle_in_transaction_session_timeout: 10_000,
}

/** Who waits for a row that somebody else keeps locked makes all wait that come after it. */
const SHARED_LIMITS = { lock_timeout: 2_000 }

const TEXT_ARRAY = 1009 as Parameters<typeof pg.types.getTypeParser>[0]

/** How connections are used. */
export interface PoolOptions {
  readonly size: number
  /**
   * Off for a pooler that gives each transaction another connection, such as PgBouncer in transaction mode. Sessions are
   * not ours then, so they get no limits from here either, which PgBouncer would refuse.
   */
  readonly preparedStatements: boolean
  /** Milliseconds; longer than the server's own limit, so that it counts only when the server says nothing at all. */
  readonly answerTimeout?: number
}

const ANSWER_TIMEOUT = 12_000

/** Connections of which each serves one transaction at a time; it connects when the first statement needs it. */
export function postgresqlPool(url: string, options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({ ...clientOptions(url, options), max: options.size, Client: StatementClient })
  // A connection that the server drops must not end the process; the statement that meets it reports it.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => client.on('error', () => undefined))
  return pool
}

function clientOptions(url: string, { preparedStatements, answerTimeout = ANSWER_TIMEOUT }: PoolOptions) {
  return {
    ...(preparedStatements && SESSION_LIMITS),
    connectionTimeoutMillis: CONNECTION_TIMEOUT,
    connectionString: url,
    fallback_application_name: 'task-management-api',
    keepAlive: true,
    types: typeParsers(),
    preparedStatements,
    query_timeout: answerTimeout,
  }
}

export interface Result<Row> {
  readonly rows: Row[]
  /** What the server says that it did; of a transaction that failed, `COMMIT` makes `ROLLBACK`. */
  readonly command: string
}

/**
 * A few connections that everybody shares: statements are sent without waiting for the answers to those before them,
 * so none waits for a free connection and many travel together. Never for a transaction that waits for anything:
 * others' statements would be in it.
 */
export class SharedConnections {
  readonly #open: () => SharedClient
  readonly #size: number
  readonly #clients = new Map<number, { readonly client: SharedClient; readonly connected: Promise<SharedClient> }>()
  #place = 0
  #chosen = false
  #ended = false

  constructor(url: string, options: PoolOptions, size: number) {
    this.#size = size
    this.#open = () =>
      new SharedClient({
        ...clientOptions(url, options),
        ...(options.preparedStatements && SHARED_LIMITS),
        pipeline: true,
      })
  }

  /** Over one connection, statements that are given at the same time run in their order, with no other between them. */
  async run<Row>({ sql, parameters }: CompiledQuery<Row>): Promise<Result<Row>> {
    if (this.#ended) throw new Error('Cannot use a pool after calling end on the pool')
    const client = await this.#current()
    return client.query<Promise<Result<Row>>>(sql, parameters)
  }

  /** The same until the event loop has turned, so that what comes at the same time travels together. */
  #current(): Promise<SharedClient> {
    if (!this.#chosen) {
      this.#chosen = true
      this.#place = (this.#place + 1) % this.#size
      setImmediate(() => {
        this.#chosen = false
      })
    }
    return this.#clients.get(this.#place)?.connected ?? this.#connect(this.#place)
  }

  #connect(place: number): Promise<SharedClient> {
    const client = this.#open()
    const forget = () => {
      if (this.#clients.get(place)?.client === client) this.#clients.delete(place)
    }
    client.on('error', forget)
    client.on('end', forget)
    client.onGivenUp = forget
    const connected = client.connect().then(
      () => client,
      (error) => {
        forget()
        throw error
      },
    )
    this.#clients.set(place, { client, connected })
    return connected
  }

  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(Array.from(this.#clients.values(), ({ client }) => client.end()))
  }
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
 * What the next statement would meet over the same connection, too: a server that says nothing, or one where a newer
 * release has changed the type of a column since the statement was prepared.
 */
const LASTING: ReadonlySet<string> = new Set(['Query read timeout', 'cached plan must not change result type'])

/**
 * Names the statements that have parameters, so that the server parses and plans each once for a connection. MikroORM's
 * own have none, and may take their time: they are those of the migrations.
 */
class StatementClient extends pg.Client {
  static readonly LIMIT = 100
  /** Of statements that were answered under their name. While the first is under way, others go without one. */
  readonly #names = new Map<string, string | undefined>()
  #given = 0
  readonly #limit: number
  #givenUp = false
  /** For whoever keeps the connection. */
  onGivenUp = () => {}

  constructor(config: pg.ClientConfig & { readonly preparedStatements?: boolean } = {}) {
    super(config)
    this.#limit = config.preparedStatements ? StatementClient.LIMIT : 0
  }

  override query<Result>(...call: unknown[]): Result {
    const [text, values, ...rest] = call
    if (typeof text !== 'string') return Reflect.apply(super.query, this, call)
    const own = Array.isArray(values) && values.length > 0
    const hurry = own || TRANSACTION.has(text)
    const first = own && !this.#names.has(text) && this.#given < this.#limit
    const name = first ? `q${this.#given++}` : this.#names.get(text)
    const query = { text, values, name, ...(!hurry && { query_timeout: PATIENCE }) }
    const answer: Promise<unknown> | undefined = Reflect.apply(super.query, this, [query, ...rest])
    if (first) this.#learn(text, name, answer)
    answer?.catch((error: Error) => {
      if (this.#givenUp || !LASTING.has(error.message)) return
      this.#givenUp = true
      this.onGivenUp()
      void this.end()
    })
    return answer as Result
  }

  /** Whether the server prepared a statement that failed can't be seen, so its name is never used again. */
  #learn(text: string, name: string | undefined, answer: Promise<unknown> | undefined): void {
    this.#names.set(text, undefined)
    answer?.then(
      () => this.#names.set(text, name),
      () => this.#names.delete(text),
    )
  }
}

/** Sends in one piece what it is given before the event loop turns: each piece would wake up the other side. */
class SharedClient extends StatementClient {
  #collecting = false

  override query<Result>(...call: unknown[]): Result {
    if (!this.#collecting) {
      this.#collecting = true
      this.connection.stream.cork()
      setImmediate(() => {
        this.#collecting = false
        this.connection.stream.uncork()
      })
    }
    return super.query(...call)
  }
}
