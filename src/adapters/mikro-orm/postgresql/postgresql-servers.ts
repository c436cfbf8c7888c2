import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import { addressOf, type DatabaseHost, type PostgresqlTarget } from '../../../database-target.ts'
import { reasonOf } from '../store-errors.ts'
import { SessionClient } from './postgresql-session.ts'

export const APPLICATION_NAME = 'task-management-api'

/** How long a server may say nothing, in milliseconds. It counts only beyond the server's own limit. */
export interface Timeouts {
  /** While a connection is made. */
  readonly connect: number
  /** To a statement. */
  readonly answer: number
}

export const TIMEOUTS: Timeouts = { connect: 5_000, answer: 12_000 }

/** Milliseconds. The next host is tried as well when one has not answered by then: it may be cut off from the network. */
const HEAD_START = 250

/** Milliseconds between two searches: each logs in to every server, which are busy with a failover. */
const PAUSE = 100

/** Milliseconds. A single server that has become read-only may go on serving reads, so it is left this often at most. */
const LEAVE_INTERVAL = 1_000

const LEFT = 'Connection terminated: the server was left'

/** Names each host that was tried, with its port and the reason. */
export class NoPrimary extends Error {}

/** Also of a standby. */
export class ReadOnlyServer extends Error {
  override readonly message = 'it takes no writes'
}

/**
 * The servers of one DATABASE_URL, of which one at a time, the primary, serves every connection: connections to different
 * servers would answer differently.
 */
export class PostgresqlServers {
  readonly target: PostgresqlTarget
  readonly timeouts: Timeouts
  readonly #clients = new Set<PrimaryClient>()
  #order: readonly DatabaseHost[]
  #primary: Promise<DatabaseHost> | undefined
  #pause: Promise<unknown> = Promise.resolve()
  #left = Number.NEGATIVE_INFINITY
  /** How often the connections were closed. */
  #departures = 0

  constructor(target: PostgresqlTarget, timeouts = TIMEOUTS) {
    this.target = target
    this.timeouts = timeouts
    this.#order = target.hosts
  }

  /**
   * The host that takes writes, which is searched for where there is a choice.
   *
   * @throws NoPrimary
   */
  primary(): Promise<DatabaseHost> {
    this.#primary ??= this.#search()
    return this.#primary
  }

  get departures(): number {
    return this.#departures
  }

  /** The host that was the primary may be none any more: looks for it before the next connection. */
  doubt(): void {
    this.#primary = undefined
  }

  /**
   * Closes every connection, each after the answers to what it has sent: the server is gone, or takes no writes any more,
   * and what it would answer is out of date.
   */
  leave(): void {
    this.doubt()
    this.#closeAll()
  }

  /** Leaves a server that has refused a write because it is read-only. */
  leaveReadOnly(): void {
    const now = performance.now()
    if (!this.target.readWrite && now < this.#left + LEAVE_INTERVAL) return
    this.#left = now
    this.leave()
  }

  #closeAll(): void {
    this.#departures++
    for (const client of this.#clients) client.leave()
    this.#clients.clear()
  }

  add(client: PrimaryClient): void {
    this.#clients.add(client)
    client.once('end', () => this.#clients.delete(client))
  }

  async #search(): Promise<DatabaseHost> {
    const [last] = this.#order as [DatabaseHost]
    if (this.#order.length === 1) return last
    await this.#pause
    try {
      const found = await firstWritable(this.#order, (host) => this.#probe(host))
      if (found !== last) this.#closeAll()
      this.#order = [found, ...this.target.hosts.filter((host) => host !== found)]
      return found
    } catch (error) {
      this.doubt()
      this.#pause = delay(PAUSE, undefined, { ref: false })
      throw error
    }
  }

  async #probe(host: DatabaseHost): Promise<void> {
    const client = new SessionClient({
      connectionString: this.target.url,
      connectionTimeoutMillis: this.timeouts.connect,
      fallback_application_name: APPLICATION_NAME,
    })
    client.on('error', () => undefined)
    pointAt(client, host)
    try {
      await client.connect()
      await client.prepareSession(this.timeouts.connect)
      if (client.readOnly) throw new ReadOnlyServer()
    } finally {
      client.end().catch(() => undefined)
    }
  }
}

/** Tries the hosts in order, each once the one before has failed or has had a head start. */
async function firstWritable(
  hosts: readonly DatabaseHost[],
  probe: (host: DatabaseHost) => Promise<void>,
): Promise<DatabaseHost> {
  let found = false
  let turn: Promise<unknown> = Promise.resolve()
  const attempts = hosts.map(async (host, index) => {
    const start = turn
    const attempt = start.then(() => (found ? undefined : probe(host)))
    turn = Promise.race([attempt, start.then(() => delay(HEAD_START, undefined, { ref: false }))]).catch(
      () => undefined,
    )
    await attempt.catch((error: unknown) => {
      throw new Error(`${addressOf(host)}: ${reasonOf(error)}`, { cause: error })
    })
    found = true
    return hosts[index] as DatabaseHost
  })
  return Promise.any(attempts).catch(({ errors }: AggregateError) => {
    throw new NoPrimary(errors.map(({ message }) => message).join('; '), { cause: errors })
  })
}

/** Before it connects. All else is the same for every host. */
function pointAt(client: pg.Client, { host, port }: DatabaseHost): void {
  Object.assign(client, { host, port })
  // The parameters are what the password file is searched by.
  Object.assign((client as unknown as { connectionParameters: object }).connectionParameters, { host, port })
}

type ConnectCallback = ((error: Error) => void) | ((error: null, client: pg.Client) => void)

/** A connection to the primary, wherever that is when it connects. */
export class PrimaryClient extends SessionClient {
  readonly #servers: PostgresqlServers
  /** Whether it has served. */
  protected established = false
  /** Whether the service has ended it. */
  protected ended = false

  constructor(servers: PostgresqlServers, config: pg.ClientConfig) {
    super({ ...config, connectionString: servers.target.url, connectionTimeoutMillis: servers.timeouts.connect })
    this.#servers = servers
    // The statement that meets a broken connection reports it; unheard, the event would end the process.
    this.on('error', () => undefined)
  }

  /** @throws NoPrimary */
  override connect(): Promise<pg.Client>
  override connect(callback: ConnectCallback): void
  override connect(callback?: ConnectCallback): Promise<pg.Client> | undefined {
    const connected = this.#connect()
    if (!callback) return connected
    const answer = callback as (error: Error | null, client?: pg.Client) => void
    connected.then(() => answer(null, this), answer)
    return undefined
  }

  async #connect(): Promise<pg.Client> {
    const primary = await this.#servers.primary()
    const { departures, target, timeouts } = this.#servers
    pointAt(this, primary)
    try {
      this.#demandOpen()
      await super.connect()
      await this.prepareSession(timeouts.connect)
      if (target.readWrite && this.readOnly) throw new ReadOnlyServer()
      if (this.#servers.departures !== departures) throw new Error(LEFT)
      this.#demandOpen()
    } catch (error) {
      this.#servers.doubt()
      void this.end()
      throw error
    }
    this.established = true
    this.#servers.add(this)
    return this
  }

  /** While it connects, the driver would not notice that it is closed. */
  #demandOpen(): void {
    if (this.ended) throw new Error('Connection terminated')
  }

  override end(): Promise<void>
  override end(callback: (error: Error) => void): void
  override end(callback?: (error: Error) => void): Promise<void> | undefined {
    this.ended = true
    if (!callback) return super.end()
    super.end(callback)
    return undefined
  }

  /** Tells those who hold the connection, and ends it once everything that was sent is answered. */
  leave(): void {
    this.emit('error', new Error(LEFT))
    if (!this.ended) void this.end()
  }
}
