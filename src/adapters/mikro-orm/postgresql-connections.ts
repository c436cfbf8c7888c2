import { createPostgreSqlTypeParsers } from '@mikro-orm/postgresql'
import pg from 'pg'
import { StoreUnavailable } from '../../domain/errors.ts'
import { SessionClient } from './postgresql-session.ts'
import type { Statement } from './prepared-query.ts'

/** Of the server's session, in milliseconds. A client that waits longer is better told to come back, here and below. */
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
}

/** How long a server may say nothing, in milliseconds. It counts only beyond the server's own limit. */
export interface Patience {
  /** While a connection is made. */
  readonly connect: number
  /** To a statement. */
  readonly answer: number
}

export const PATIENCE: Patience = { connect: 5_000, answer: 12_000 }

/**
 * Connections of which each serves one transaction at a time; it connects when the first statement needs it. A
 * migration may take its time, so nothing here ends a statement but the server.
 */
export function postgresqlPool(url: string, options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    ...clientOptions(url, options, PATIENCE),
    max: options.size,
    Client: SessionClient,
    onConnect: (client) => (client as SessionClient).prepareSession(PATIENCE.connect),
  })
  // A connection that the server drops must not end the process; the statement that meets it reports it.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => client.on('error', () => undefined))
  return pool
}

function clientOptions(url: string, { preparedStatements }: PoolOptions, { connect }: Patience) {
  return {
    ...(preparedStatements && SESSION_LIMITS),
    connectionTimeoutMillis: connect,
    connectionString: url,
    fallback_application_name: 'task-management-api',
    keepAlive: true,
    types: typeParsers(),
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
  readonly #connectTimeout: number
  #place = 0
  #unanswered = 0
  #chosen = false
  #ended = false
  #sharesSessions = true

  constructor(url: string, options: PoolOptions, size: number, patience = PATIENCE) {
    this.#size = size
    this.#connectTimeout = patience.connect
    const config = {
      ...clientOptions(url, options, patience),
      ...(options.preparedStatements && SHARED_LIMITS),
      query_timeout: patience.answer,
      pipeline: true,
    }
    this.#open = () => new SharedClient(config, options.preparedStatements)
  }

  /**
   * Over one connection, statements that are given at the same time run in their order, with no other between them.
   *
   * @throws StoreUnavailable when there is no connection
   */
  async run<Row>({ sql, parameters }: Statement<Row>): Promise<Result<Row>> {
    if (this.#ended) throw new StoreUnavailable(new Error('the connections are closed'))
    this.#unanswered++
    try {
      const client = await this.#current()
      return (await client.run(sql, parameters)) as Result<Row>
    } finally {
      this.#unanswered--
    }
  }

  get unanswered(): number {
    return this.#unanswered
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

  /** Whether other clients use the sessions too, as behind a pooler; also until the first connection is there. */
  get sharesSessions(): boolean {
    return this.#sharesSessions
  }

  #connect(place: number): Promise<SharedClient> {
    const client = this.#open()
    const forget = () => {
      if (this.#clients.get(place)?.client === client) this.#clients.delete(place)
    }
    client.on('error', forget)
    client.on('end', forget)
    client.onGivenUp = forget
    const connected = this.#prepare(client).catch((error) => {
      forget()
      void client.end()
      throw new StoreUnavailable(error)
    })
    this.#clients.set(place, { client, connected })
    return connected
  }

  async #prepare(client: SharedClient): Promise<SharedClient> {
    await client.connect()
    await client.prepareSession(this.#connectTimeout)
    this.#sharesSessions = client.sharesSession
    return client
  }

  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(Array.from(this.#clients.values(), ({ client }) => client.end()))
  }
}

const BIGINT = 20

/** MikroORM reads dates from text. Each bigint that is read is below 2^53. */
function typeParsers() {
  const types = new pg.TypeOverrides()
  types.setTypeParser(BIGINT, Number)
  const parsers = createPostgreSqlTypeParsers(pg.types.getTypeParser(TEXT_ARRAY))
  for (const [oid, parse] of Object.entries(parsers)) types.setTypeParser(Number(oid), parse)
  return types
}

/**
 * What the next statement would meet over the same connection, too: a server that says nothing, or one where a newer
 * release has changed the type of a column since the statement was prepared.
 */
const LASTING: ReadonlySet<string> = new Set(['Query read timeout', 'cached plan must not change result type'])

class SharedClient extends SessionClient {
  static readonly MOST_NAMED = 100
  readonly #mostNamed: number
  /** Of statements that were answered under their name. While the first is under way, others go without one. */
  readonly #names = new Map<string, string | undefined>()
  #given = 0
  #collecting = false
  #givenUp = false
  /** For whoever keeps the connection. */
  onGivenUp = () => {}

  constructor(config: pg.ClientConfig, preparedStatements: boolean) {
    super(config)
    this.#mostNamed = preparedStatements ? SharedClient.MOST_NAMED : 0
  }

  /** With a name where it has values, so that the server parses and plans it once for the connection. */
  run(text: string, values: readonly unknown[]): Promise<pg.QueryResult> {
    this.#collect()
    const answer = values.length > 0 ? this.#named(text, values as unknown[]) : this.query(text)
    answer.catch((error: Error) => {
      if (this.#givenUp || !LASTING.has(error.message)) return
      this.#givenUp = true
      this.onGivenUp()
      void this.end()
    })
    return answer
  }

  /** What comes before the event loop turns is sent in one piece: each piece would wake up the other side. */
  #collect(): void {
    if (this.#collecting) return
    this.#collecting = true
    this.connection.stream.cork()
    setImmediate(() => {
      this.#collecting = false
      this.connection.stream.uncork()
    })
  }

  #named(text: string, values: unknown[]): Promise<pg.QueryResult> {
    if (this.#names.has(text) || this.#given >= this.#mostNamed) {
      return this.query({ text, values, name: this.#names.get(text) })
    }
    // Traces show it.
    const name = `${text.split(' ', 1)[0]}-${this.#given++}`
    this.#names.set(text, undefined)
    const answer = this.query({ text, values, name })
    // Whether the server prepared a statement that failed can't be seen, so that name is never used again.
    answer.then(
      () => this.#names.set(text, name),
      () => this.#names.delete(text),
    )
    return answer
  }
}
