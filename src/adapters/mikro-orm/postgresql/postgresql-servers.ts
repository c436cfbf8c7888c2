import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import { addressOf, type DatabaseHost, type PostgresqlTarget } from '../../../database-target.ts'
import { reasonOf } from '../store-errors.ts'
import { SessionClient } from './postgresql-session.ts'

export const APPLICATION_NAME = 'task-management-api'

/** Milliseconds to wait for a server; they exceed the limits that the server itself enforces. */
export interface Timeouts {
  /** Maximum time to connect. */
  readonly connect: number
  /** Maximum time for the response to a statement. */
  readonly response: number
}

export const TIMEOUTS: Timeouts = { connect: 5_000, response: 12_000 }

/** Milliseconds until the next host is tried as well, because a host that is cut off never responds. */
const HEAD_START = 250

/** Milliseconds between two searches, because each search logs in to every server. */
const PAUSE = 100

/** Minimum milliseconds between two departures from a single read-only server, which may continue serving reads. */
const LEAVE_INTERVAL = 1_000

const LEFT = 'Connection terminated: the server was left'

/** No host accepts writes. The message names each host and port with the reason. */
export class NoPrimary extends Error {}

/** A read-only primary or a standby. */
export class ReadOnlyServer extends Error {
  override readonly message = 'it is read-only'
}

/**
 * The servers of one DATABASE_URL. The primary serves every connection, because the other servers may return stale rows.
 */
export class PostgresqlServers {
  readonly target: PostgresqlTarget
  readonly timeouts: Timeouts
  readonly #clients = new Set<PrimaryClient>()
  #order: readonly DatabaseHost[]
  #primary: Promise<DatabaseHost> | undefined
  #pause: Promise<unknown> = Promise.resolve()
  #left = Number.NEGATIVE_INFINITY
  /** How many times all connections were closed. */
  #departures = 0

  constructor(target: PostgresqlTarget, timeouts = TIMEOUTS) {
    this.target = target
    this.timeouts = timeouts
    this.#order = target.hosts
  }

  /**
   * Returns the host that accepts writes, after a search if there are several.
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

  /** Makes the next connection search for the primary again. */
  doubt(): void {
    this.#primary = undefined
  }

  /**
   * Closes every connection after its pending statements, because the server failed or is no longer the primary.
   */
  leave(): void {
    this.doubt()
    this.#closeAll()
  }

  /** Leaves a server that refused a write as read-only. */
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

/** Tries the hosts in order, each after the previous one failed or its head start ended. */
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

/** Sets the host of a client that has not connected yet. */
function pointAt(client: pg.Client, { host, port }: DatabaseHost): void {
  Object.assign(client, { host, port })
  // pg searches the password file for these parameters.
  Object.assign((client as unknown as { connectionParameters: object }).connectionParameters, { host, port })
}

type ConnectCallback = ((error: Error) => void) | ((error: null, client: pg.Client) => void)

/** A connection to the host that is the primary when it connects. */
export class PrimaryClient extends SessionClient {
  readonly #servers: PostgresqlServers
  /** Whether the connection was established. */
  protected established = false
  /** Whether the service closed the connection. */
  protected ended = false

  constructor(servers: PostgresqlServers, config: pg.ClientConfig) {
    super({ ...config, connectionString: servers.target.url, connectionTimeoutMillis: servers.timeouts.connect })
    this.#servers = servers
    // Without a listener, a broken connection would end the process; the next statement reports it.
    this.on('error', () => undefined)
  }

  /** @throws NoPrimary */
  override connect(): Promise<pg.Client>
  override connect(callback: ConnectCallback): void
  override connect(callback?: ConnectCallback): Promise<pg.Client> | undefined {
    const connected = this.#connect()
    if (!callback) return connected
    const done = callback as (error: Error | null, client?: pg.Client) => void
    connected.then(() => done(null, this), done)
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

  /** pg does not notice `end` while it connects. */
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

  /** Notifies listeners, and closes the connection after its pending statements. */
  leave(): void {
    this.emit('error', new Error(LEFT))
    if (!this.ended) void this.end()
  }
}
