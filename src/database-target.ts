import { resolve } from 'node:path'
import pg from 'pg'

export interface SqliteTarget {
  readonly kind: 'sqlite'
  /** May be relative to the working directory. */
  readonly path: string
}

/** One of the servers among which a failover chooses. */
export interface DatabaseHost {
  /** A name, an address, or the directory of a Unix socket. */
  readonly host: string
  readonly port: number
}

export interface PostgresqlTarget {
  readonly kind: 'postgresql'
  /** For the driver. Names the first host only. It may hold a password: never print it. */
  readonly url: string
  /** At least one, in the order in which they are tried. */
  readonly hosts: readonly DatabaseHost[]
  readonly database: string
  /** Whether a server that accepts no writes is refused. */
  readonly readWrite: boolean
  /** The password as the URL spells it and as the driver reads it: never print these. */
  readonly secrets: readonly string[]
}

export type PersistentTarget = SqliteTarget | PostgresqlTarget

/** Where tasks are kept. */
export type DatabaseTarget = { readonly kind: 'memory' } | PersistentTarget

export const addressOf = ({ host, port }: DatabaseHost) => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** The path or the hosts, for the log and for messages; never a password. */
export function describeTarget(target: DatabaseTarget): string {
  if (target.kind === 'memory') return 'in-memory database (nothing is kept)'
  if (target.kind === 'sqlite') return `SQLite database ${resolve(target.path)}`
  return `PostgreSQL database at ${target.hosts.map(addressOf).join(', ')}`
}

/** @returns nothing for a text that is no DATABASE_URL */
export function databaseTarget(text: string): DatabaseTarget | undefined {
  if (text === 'memory:') return { kind: 'memory' }
  const [, scheme = '', rest = ''] = /^([a-z]+)(?:\+[a-z0-9_]+)?:\/\/(.*)$/s.exec(text) ?? []
  if (scheme === 'sqlite' && /^\/[^?#]*[^?#/]$/.test(rest) && !rest.includes(':memory:')) {
    return { kind: 'sqlite', path: rest.slice(1) }
  }
  return /^postgres(?:ql)?$/.test(scheme) ? postgresqlTarget(rest) : undefined
}

/** What `target_session_attrs` may ask for. The service writes, so a standby never serves it. */
const READ_WRITE: ReadonlySet<string> = new Set(['read-write', 'primary'])

function postgresqlTarget(rest: string): PostgresqlTarget | undefined {
  const parts = partsOf(rest)
  // The driver would take everything from the environment: more likely a variable was empty where the URL was put together.
  const empty = parts.authority === '' && parts.path.length < 2 && !parts.parameters.host
  const urls = empty ? [] : singleHostUrls(rest, parts)
  const servers = urls.map(parsed)
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
    secrets: [...new Set([parts.password, ...spelledIn(parts.query, 'password'), password ?? ''])].filter(Boolean),
  }
}

interface Parts {
  /** With the `@` that ends it. */
  readonly credentials: string
  readonly password: string
  /** Hosts and ports. */
  readonly authority: string
  readonly path: string
  readonly query: string
  /** Of a repeated parameter the last one counts, as for the driver. */
  readonly parameters: Readonly<Record<string, string>>
}

function partsOf(rest: string): Parts {
  const [, credentials = '', authority = '', path = '', query = ''] =
    /^([^/?#]*@)?([^/?#]*)([^?#]*)(?:\?([^#]*))?/.exec(rest) ?? []
  const [, password = ''] = /^[^:]*:(.*)@$/s.exec(credentials) ?? []
  return { credentials, password, authority, path, query, parameters: Object.fromEntries(new URLSearchParams(query)) }
}

/**
 * A URL for each host, all else as it is written. libpq's rules: `host` and `port` of the query win, there are as many
 * ports as hosts or a single one for all (https://www.postgresql.org/docs/current/libpq-connect.html).
 *
 * @returns no URL at all when a host has no name or a port is none
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

/** Without one, the driver takes PGPORT or 5432. */
const isPort = (text: string) => text === '' || (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535)

const spelledIn = (query: string, name: string) =>
  query.split('&').flatMap((parameter) => (parameter.startsWith(`${name}=`) ? [parameter.slice(name.length + 1)] : []))

/** As the driver reads it, but without TLS: the files that it may name are read when the database is opened. */
function parsed(url: string): pg.Client | undefined {
  try {
    return new pg.Client(url.replace(/([?&])(?:ssl\w*|uselibpqcompat)=[^&#]*/g, '$1'))
  } catch {
    return undefined
  }
}
