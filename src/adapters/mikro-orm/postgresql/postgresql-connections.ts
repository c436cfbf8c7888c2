import { createPostgreSqlTypeParsers } from '@mikro-orm/postgresql'
import { LRUCache } from 'lru-cache'
import pg from 'pg'
import { StoreUnavailable } from '../../../domain/errors.ts'
import { oncePerTurn } from '../../../once-per-turn.ts'
import type { Statement } from '../prepared-query.ts'
import { codeOf } from '../store-errors.ts'
import { APPLICATION_NAME, type PostgresqlServers, PrimaryClient } from './postgresql-servers.ts'
import { IDLE_IN_TRANSACTION } from './postgresql-session.ts'

/** Session settings, in milliseconds. Requests that would wait longer get 503. */
const SESSION_LIMITS = {
  statement_timeout: 10_000,
  // A blocked statement blocks everything pipelined behind it.
  lock_timeout: 2_000,
  idle_in_transaction_session_timeout: 10_000,
}

/** A transaction of the service waits for the event loop only, while other transactions wait for its locks. */
const WRITER_LIMITS = { idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION }

const TEXT_ARRAY = 1009 as Parameters<typeof pg.types.getTypeParser>[0]

/** The number of connections and their use. */
export interface PoolOptions {
  readonly size: number
  /**
   * False behind a pooler that assigns a server connection per transaction, such as PgBouncer in transaction mode. Session
   * limits are not set then, because PgBouncer refuses them.
   */
  readonly preparedStatements: boolean
}

/**
 * Seconds after which a connection is replaced, for example to reach a server that was added behind the same host name. Jitter
 * keeps instances that start together from reconnecting together.
 */
const MAX_AGE = 30 * 60
const JITTER = 0.2

const randomAge = (maxAge: number) => maxAge * (1 - JITTER * Math.random())

/** Milliseconds between attempts to replace an old connection. */
const REPLACE_RETRY_DELAY = 60_000

/**
 * A pool whose connections serve one transaction at a time and connect on demand. It has no query timeout, because migrations
 * may take any time.
 */
export function postgresqlPool(servers: PostgresqlServers, options: PoolOptions): pg.Pool {
  class PoolClient extends PrimaryClient {
    constructor(config: pg.ClientConfig) {
      super(servers, config)
    }
  }
  const pool = new pg.Pool({
    ...clientOptions(options),
    connectionTimeoutMillis: servers.timeouts.connect,
    max: options.size,
    maxLifetimeSeconds: randomAge(MAX_AGE),
    Client: PoolClient as unknown as new () => pg.ClientBase,
  })
  // Without a listener, a dropped connection would end the process; the next statement reports it.
  pool.on('error', () => undefined)
  return pool
}

function clientOptions({ preparedStatements }: PoolOptions, limits = SESSION_LIMITS) {
  return {
    ...(preparedStatements && limits),
    fallback_application_name: APPLICATION_NAME,
    keepAlive: true,
    types: typeParsers(),
  }
}

interface Slot {
  readonly client: SharedClient
  readonly connected: Promise<SharedClient>
  /** Time of `performance.now()` at which the connection is replaced. */
  expires: number
}

export interface Result<Row> {
  readonly rows: Row[]
  /** The server's command tag: `ROLLBACK` for the `COMMIT` of a failed transaction. */
  readonly command: string
}

/** Runs statements in order. Statements that are passed in the same turn run with no other between them. */
export interface Connection {
  /** Whether other clients may use the session, as behind a pooler. True until the first connection is established. */
  readonly sharesSession: boolean
  run<Row>(statement: Statement<Row>): Promise<Result<Row>>
}

/**
 * A few pipelined connections that all requests share: statements are sent without waiting for earlier responses, so no
 * statement waits for a free connection, and many share a packet. An interactive transaction needs `pinned` and a connection
 * that nothing else uses, because the transaction would include the statements of other requests.
 */
export class SharedConnections implements Connection {
  readonly #make: () => SharedClient
  readonly #size: number
  readonly #maxAge: number
  readonly #slots = new Map<number, Slot>()
  #place = 0
  #pending = 0
  #ended = false
  #sharesSession = true

  constructor(servers: PostgresqlServers, options: PoolOptions, size: number, maxAge = MAX_AGE) {
    this.#size = size
    this.#maxAge = maxAge
    const config = {
      ...clientOptions(options, { ...SESSION_LIMITS, ...WRITER_LIMITS }),
      query_timeout: servers.timeouts.response,
      pipeline: true,
    }
    this.#make = () => new SharedClient(servers, config, options.preparedStatements)
  }

  /**
   * On one connection, statements that are passed in the same turn run in order, with no other between them.
   *
   * @throws StoreUnavailable when there is no connection
   */
  async run<Row>({ sql, parameters }: Statement<Row>): Promise<Result<Row>> {
    if (this.#ended) throw new StoreUnavailable(new Error('the connections are closed'))
    this.#pending++
    try {
      const client = await this.#current()
      return (await client.run(sql, parameters)) as Result<Row>
    } finally {
      this.#pending--
    }
  }

  /**
   * Keeps one connection while `use` runs. If the connection breaks, further statements fail, because a new connection would
   * commit each of them separately, without the locks of the transaction.
   *
   * @throws StoreUnavailable when there is no connection
   */
  async pinned<Used>(use: (connection: Connection) => Promise<Used>): Promise<Used> {
    if (this.#ended) throw new StoreUnavailable(new Error('the connections are closed'))
    const client = await this.#current()
    client.pinned = true
    try {
      return await use({
        sharesSession: client.sharesSession,
        run: <Row>({ sql, parameters }: Statement<Row>) => client.run(sql, parameters) as Promise<Result<Row>>,
      })
    } finally {
      client.pinned = false
    }
  }

  get pending(): number {
    return this.#pending
  }

  /** Statements of one turn of the event loop are sent on one connection; the next connection serves the next turn. */
  readonly #advanceInTurn = oncePerTurn(() => {
    this.#place = (this.#place + 1) % this.#size
  })

  #current(): Promise<SharedClient> {
    this.#advanceInTurn()
    const place = this.#place
    const slot = this.#slots.get(place)
    if (!slot) return this.#hold(place, this.#open(place)).connected
    if (slot.expires < performance.now()) this.#replace(place, slot)
    return slot.connected
  }

  get sharesSession(): boolean {
    return this.#sharesSession
  }

  #open(place: number): Slot {
    const client = this.#make()
    const forget = () => {
      if (this.#slots.get(place)?.client === client) this.#slots.delete(place)
    }
    client.on('error', forget)
    client.on('end', forget)
    const connected = client.connect().then(
      () => {
        this.#sharesSession = client.sharesSession
        return client
      },
      (error) => {
        forget()
        throw new StoreUnavailable(error)
      },
    )
    return { client, connected, expires: performance.now() + randomAge(this.#maxAge) * 1_000 }
  }

  #hold(place: number, slot: Slot): Slot {
    this.#slots.set(place, slot)
    return slot
  }

  /** The old connection serves until the new one is ready. */
  #replace(place: number, old: Slot): void {
    old.expires = performance.now() + REPLACE_RETRY_DELAY
    const fresh = this.#open(place)
    fresh.connected.then(
      () => {
        const wanted = !this.#ended && this.#slots.get(place) === old
        if (wanted) this.#hold(place, fresh)
        ;(wanted ? old : fresh).client.retire()
      },
      () => undefined,
    )
  }

  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(Array.from(this.#slots.values(), ({ client }) => client.end()))
  }
}

const BIGINT = 20

/** Keeps dates as text, as MikroORM expects, and reads bigints as numbers, because all of them are below 2^53. */
function typeParsers() {
  const types = new pg.TypeOverrides()
  types.setTypeParser(BIGINT, Number)
  const parsers = createPostgreSqlTypeParsers(pg.types.getTypeParser(TEXT_ARRAY))
  for (const [oid, parse] of Object.entries(parsers)) types.setTypeParser(Number(oid), parse)
  return types
}

/** The code `read_only_sql_transaction`. */
const READ_ONLY = '25006'

/** pg's message after a query timeout, which closes the connection. */
const SILENT = 'Query read timeout'

/**
 * The server function that reports a prepared statement whose column types changed, for example in a migration. The message of
 * this error may be in any language.
 */
const OUTDATED_PLAN = 'RevalidateCachedQuery'

class SharedClient extends PrimaryClient {
  static readonly MAX_PREPARED = 100
  readonly #servers: PostgresqlServers
  readonly #prepares: boolean
  /** Names of prepared statements by their text. */
  readonly #names = new LRUCache<string, string>({
    max: SharedClient.MAX_PREPARED,
    // The server keeps a statement until it is closed.
    dispose: (name) => this.connection.close({ type: 'S', name }, false),
  })
  #pinned = false
  #retired = false
  /** Texts that are being prepared. */
  readonly #preparing = new Set<string>()
  #prepared = 0

  constructor(servers: PostgresqlServers, config: pg.ClientConfig, preparedStatements: boolean) {
    super(servers, config)
    this.#servers = servers
    this.#prepares = preparedStatements
    this.once('end', () => {
      // The other connections may lead to a former primary.
      if (this.established && !this.ended) servers.leave()
    })
  }

  /** Whether a transaction is open between two packets. */
  set pinned(pinned: boolean) {
    this.#pinned = pinned
    if (!pinned && this.#retired) void this.end()
  }

  /** Ends the connection once nothing needs it. */
  retire(): void {
    this.#retired = true
    if (!this.#pinned) void this.end()
  }

  /** Prepares a statement with values, so that the server parses and plans it once per connection. */
  run(text: string, values: readonly unknown[]): Promise<pg.QueryResult> {
    this.#cork()
    const result = values.length > 0 ? this.#runPrepared(text, values as unknown[]) : this.query(text)
    result.catch(this.#failed)
    return result
  }

  /** Closes connections on which later statements would fail as well. */
  readonly #failed = (error: Error & { readonly routine?: string }) => {
    if (this.ended) return
    if (error.message === SILENT) this.#servers.leave()
    else if (error.routine === OUTDATED_PLAN) this.leave()
    else if (codeOf(error) === READ_ONLY) this.#servers.leaveReadOnly()
  }

  /** Sends the statements of one turn in one packet, because each packet wakes up the server. */
  #cork(): void {
    if (this.connection.stream.writableCorked === 0) this.connection.stream.cork()
    this.#uncorkInTurn()
  }

  readonly #uncorkInTurn = oncePerTurn(() => this.connection.stream.uncork())

  #runPrepared(text: string, values: unknown[]): Promise<pg.QueryResult> {
    const known = this.#names.get(text)
    if (known !== undefined || !this.#prepares || this.#preparing.has(text)) {
      return this.query({ text, values, name: known })
    }
    // Begins with the verb of the statement, because traces show the name.
    const name = `${text.split(' ', 1)[0]}-${this.#prepared++}`
    this.#preparing.add(text)
    const result = this.query({ text, values, name })
    // After a failure it is unknown whether the server prepared the statement, so the name is not reused.
    result
      .then(
        () => this.#names.set(text, name),
        () => undefined,
      )
      .finally(() => this.#preparing.delete(text))
    return result
  }
}
