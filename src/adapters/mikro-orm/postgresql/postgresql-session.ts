import pg from 'pg'

/**
 * Sent when a connection starts. Poolers take these parameters too, and keep them for each of their clients; `pg` sends
 * `client_encoding` by itself.
 */
const STARTUP_PARAMETERS = { DateStyle: 'ISO, MDY', TimeZone: 'UTC' }

/** Settings that a role or a database may have changed, with the value that the service relies on. */
const SETTINGS: Readonly<Record<string, string>> = {
  // Any other makes updates of one row fail when they come at the same time.
  default_transaction_isolation: 'read committed',
  standard_conforming_strings: 'on',
  // A statement sent while the server closes an idle session has an unknown outcome. Since PostgreSQL 14.
  idle_session_timeout: '0',
  // Migrations take longer, and statements have a timeout already. Since PostgreSQL 17.
  transaction_timeout: '0',
}

/** `off` and `local` can lose an acknowledged write; `remote_apply` waits for more than `on`. */
const SYNCHRONOUS_COMMIT =
  "case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end"

/** Skips the settings that the version of the server does not know. */
const SET = `select set_config(name, wanted, false) from pg_settings join (values
  ${Object.entries(SETTINGS)
    .map(([name, wanted]) => `('${name}', '${wanted}')`)
    .join()}, ('synchronous_commit', ${SYNCHRONOUS_COMMIT})) as ours (name, wanted) using (name)`

const CHECK = `select current_setting('server_encoding') as server_encoding,
  current_setting('client_encoding') as client_encoding,
  current_setting('session_replication_role') as session_replication_role,
  current_setting('transaction_read_only') as transaction_read_only`

/** Milliseconds for which a transaction may wait for the service, while others wait for its locks. */
export const IDLE_IN_TRANSACTION = 2_000

/**
 * Begins a transaction of a session that other clients use as well: its settings are not ours, so the transaction
 * brings what it relies on.
 */
export const BEGIN_IN_SHARED_SESSION = `begin isolation level read committed;
  select set_config('synchronous_commit', ${SYNCHRONOUS_COMMIT}, true),
    set_config('idle_in_transaction_session_timeout', '${IDLE_IN_TRANSACTION}', true)`

/** A connection whose session has the settings that the service relies on, whatever the role and the database have. */
export class SessionClient extends pg.Client {
  /** Whether a pooler lends the session: then it keeps its settings, and nothing here relies on them. */
  sharesSession = true
  /** Whether the server was a standby, or read-only by its settings, when the session was prepared. */
  readOnly = false

  /** Overrides the method that `pg` builds its first message with. */
  getStartupConf(): Record<string, string> {
    const parent = pg.Client.prototype as unknown as { getStartupConf(): Record<string, string> }
    return { ...STARTUP_PARAMETERS, ...parent.getStartupConf.call(this) }
  }

  /**
   * Sets the settings of the session and checks those that only a superuser may set.
   *
   * @param timeout milliseconds
   * @throws Error that names the setting and what it must be
   */
  async prepareSession(timeout: number): Promise<void> {
    // A pooler tells another process id than the server, and its sessions serve other clients next.
    const { processID } = this as unknown as { readonly processID: number | null }
    const text = `select pg_backend_pid() as pid; ${SET} where pg_backend_pid() = ${processID ?? 0}; ${CHECK}`
    const query = { text, query_timeout: timeout }
    const [backend, , check] = (await this.query(query)) as unknown as pg.QueryResult[]
    this.sharesSession = backend?.rows[0].pid !== processID
    this.readOnly = check?.rows[0].transaction_read_only !== 'off'
    verify(check?.rows[0])
  }
}

function verify(settings: Readonly<Record<string, string>>): void {
  // In any other encoding a character is not what it is here, or can't be stored.
  if (settings.server_encoding !== 'UTF8') throw new Error('its encoding is not UTF8')
  if (settings.client_encoding !== 'UTF8') throw new Error('its client_encoding must be UTF8')
  if (settings.session_replication_role === 'replica') {
    throw new Error('its session_replication_role must be origin: replica switches foreign keys off')
  }
}
