import pg from 'pg'

/** Startup parameters, which poolers keep for each client. pg adds `client_encoding` itself. */
const STARTUP_PARAMETERS = { DateStyle: 'ISO, MDY', TimeZone: 'UTC' }

/** Settings on which the service relies; a role or a database may have other defaults. */
const SETTINGS: Readonly<Record<string, string>> = {
  // At a stricter level, concurrent updates of one row fail.
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

/** Skips settings unknown to the server's version. Reading `pg_settings` instead would take 1 ms longer. */
const SET = `select set_config(name, wanted, false) from (values
  ${Object.entries(SETTINGS)
    .map(([name, wanted]) => `('${name}', '${wanted}')`)
    .join()}, ('synchronous_commit', ${SYNCHRONOUS_COMMIT})) as ours (name, wanted)
  where current_setting(name, true) is not null`

const CHECK = `select current_setting('server_encoding') as server_encoding,
  current_setting('client_encoding') as client_encoding,
  current_setting('session_replication_role') as session_replication_role,
  current_setting('transaction_read_only') as transaction_read_only`

/** Milliseconds for which an open transaction may wait for the service, while others wait for its locks. */
export const IDLE_IN_TRANSACTION = 2_000

/**
 * Begins a transaction in a session shared with other clients. The session's settings are unknown, so the transaction sets its
 * own.
 */
export const BEGIN_IN_SHARED_SESSION = `begin isolation level read committed;
  select set_config('synchronous_commit', ${SYNCHRONOUS_COMMIT}, true),
    set_config('idle_in_transaction_session_timeout', '${IDLE_IN_TRANSACTION}', true)`

/** A connection whose session has the settings that the service relies on. */
export class SessionClient extends pg.Client {
  /** Whether the session belongs to a pooler, so that its settings must not be changed. */
  sharesSession = true
  /** Whether the server was read-only when the session was prepared, for example as a standby. */
  readOnly = false

  /** Adds the startup parameters to the first message of pg. */
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
    // A pooler reports a process id that differs from the server's.
    const { processID } = this as unknown as { readonly processID: number | null }
    const text = `select pg_backend_pid() as pid; ${SET} and pg_backend_pid() = ${processID ?? 0}; ${CHECK}`
    const query = { text, query_timeout: timeout }
    const [backend, , check] = (await this.query(query)) as unknown as pg.QueryResult[]
    this.sharesSession = backend?.rows[0].pid !== processID
    this.readOnly = check?.rows[0].transaction_read_only !== 'off'
    verify(check?.rows[0])
  }
}

function verify(settings: Readonly<Record<string, string>>): void {
  // Other encodings cannot store every character.
  if (settings.server_encoding !== 'UTF8') throw new Error('its encoding is not UTF8')
  if (settings.client_encoding !== 'UTF8') throw new Error('its client_encoding must be UTF8')
  if (settings.session_replication_role === 'replica') {
    throw new Error('its session_replication_role must be origin, because replica disables foreign keys')
  }
}
