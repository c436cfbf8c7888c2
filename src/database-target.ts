import { resolve } from 'node:path'
import pg from 'pg'

export interface SqliteTarget {
  readonly kind: 'sqlite'
  /** May be relative to the working directory. */
  readonly path: string
}

/** One of the servers of a failover group. */
export interface DatabaseHost {
  /** A name, an address, or the directory of a Unix socket. */
  readonly host: string
  readonly port: number
}

export interface PostgresqlTarget {
  readonly kind: 'postgresql'
  /** Connection URL for the driver, with the first host only. Never print it: it may contain a password. */
  readonly url: string
  /** One or more, in the order in which to try them. */
  readonly hosts: readonly DatabaseHost[]
  readonly database: string
  /** Whether to reject read-only servers. */
  readonly readWrite: boolean
  /** The password as spelled in the URL and as decoded by the driver. Never print these. */
  readonly secrets: readonly string[]
}

/** The databases that MikroORM opens. */
export type PersistentTarget = SqliteTarget | PostgresqlTarget

/** The database that DATABASE_URL names. */
export type DatabaseTarget = { readonly kind: 'memory' } | PersistentTarget

export const addressOf = ({ host, port }: DatabaseHost) => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** The path or the hosts, for the log and for messages; never a password. */
export function describeTarget(target: DatabaseTarget): string {
  if (target.kind === 'memory') return 'in-memory database (nothing is kept)'
  if (target.kind === 'sqlite') return `SQLite database ${resolve(target.path)}`
  return `PostgreSQL database at ${target.hosts.map(addressOf).join(', ')}`
}

/** @returns undefined if this is not a valid DATABASE_URL */
export function databaseTarget(text: string): DatabaseTarget | undefined {
  if (text === 'memory:') return { kind: 'memory' }
  const [, scheme = '', rest = ''] = /^([a-z]+)(?:\+[a-z0-9_]+)?:\/\/(.*)$/s.exec(text) ?? []
  if (scheme === 'sqlite' && /^\/[^?#]*[^?#/]$/.test(rest) && !rest.includes(':memory:')) {
    return { kind: 'sqlite', path: rest.slice(1) }
  }
  return /^postgres(?:ql)?$/.test(scheme) ? postgresqlTarget(rest) : undefined
}

/** Values of `target_session_attrs` that require a writable server. Those that ask for a standby are refused. */
const READ_WRITE: ReadonlySet<string> = new Set(['read-write', 'primary'])

function postgresqlTarget(rest: string): PostgresqlTarget | undefined {
  const parts = partsOf(rest)
  // The driver would fill an empty URL from PGHOST and the like; more likely, a variable was empty when the URL was assembled.
  const empty = parts.authority === '' && parts.path.length < 2 && !parts.parameters.host
  const urls = empty ? [] : singleHostUrls(rest, parts)
  const servers = urls.map(parseUrl)
  const [server] = servers
  const wanted = parts.parameters.target_session_attrs || 'any'
  if (!server || servers.includes(undefined) || !(wanted === 'any' || READ_WRITE.has(wanted))) return undefined
  const { database = '', password } = server
  return {
    kind: 'postgresql',
    url: urls[0] as string,
    hosts: (servers as pg.Client[]).map(({ host, port }) => ({ host, port })),
    database,
    readWrite: servers.length > 1 || READ_WRITE.has(wanted),
    secrets: [...new Set([parts.password, ...rawValues(parts.query, 'password'), password ?? ''])].filter(Boolean),
  }
}

interface Parts {
  /** Including the `@` at the end. */
  readonly credentials: string
  readonly password: string
  /** Hosts and ports. */
  readonly authority: string
  readonly path: string
  readonly query: string
  /** The last of a repeated parameter wins, as in the driver. */
  readonly parameters: Readonly<Record<string, string>>
}

function partsOf(rest: string): Parts {
  const [, credentials = '', authority = '', path = '', query = ''] =
    /^([^/?#]*@)?([^/?#]*)([^?#]*)(?:\?([^#]*))?/.exec(rest) ?? []
  const [, password = ''] = /^[^:]*:(.*)@$/s.exec(credentials) ?? []
  return { credentials, password, authority, path, query, parameters: Object.fromEntries(new URLSearchParams(query)) }
}

/**
 * Splits the URL into one for each host. As in libpq, `host` and `port` in the query win, and there is one port for each host
 * or one for all (https://www.postgresql.org/docs/current/libpq-connect.html).
 *
 * @returns an empty array if a host is empty or a port is invalid
 */
function singleHostUrls(rest: string, { credentials, authority, path, query, parameters }: Parts): string[] {
  const listed = authority.split(',').map((each) => /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/s.exec(each) ?? [])
  const hosts = parameters.host ? parameters.host.split(',') : listed.map(([, host = '']) => host)
  const ports = parameters.port ? parameters.port.split(',') : listed.map(([, , port = '']) => port)
  const matching = ports.length === 1 || ports.length === hosts.length
  if (!matching || !ports.every(isPort) || (hosts.length > 1 && hosts.includes(''))) return []
  if (hosts.length === 1) return [`postgresql://${rest}`]
  const others = query.split('&').filter((parameter) => !/^(?:host|port)=/.test(parameter))
  return hosts.map((host, index) => {
    const port = `port=${ports.length === 1 ? ports[0] : ports[index]}`
    const [name, named] = parameters.host ? [listed[0]?.[1] ?? '', [`host=${encodeURIComponent(host)}`]] : [host, []]
    return `postgresql://${credentials}${name}${path}?${[...others, ...named, port].filter(Boolean).join('&')}`
  })
}

/** For an empty port the driver uses PGPORT or 5432. */
const isPort = (text: string) => text === '' || (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535)

const rawValues = (query: string, name: string) =>
  query.split('&').flatMap((parameter) => (parameter.startsWith(`${name}=`) ? [parameter.slice(name.length + 1)] : []))

/** Parses like the driver, but leaves out the TLS parameters: their files are read when the database is opened. */
function parseUrl(url: string): pg.Client | undefined {
  try {
    return new pg.Client(url.replace(/([?&])(?:ssl\w*|uselibpqcompat)=[^&#]*/g, '$1'))
  } catch {
    return undefined
  }
}
