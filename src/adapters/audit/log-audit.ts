import type { Audit, AuditEvent, AuditEventName } from '../../domain/accounts/ports.ts'
import type { Log } from '../../log.ts'

/** Events that an operator should look into. */
const SUSPICIOUS: ReadonlySet<AuditEventName> = new Set(['refresh_reused'])

/** Writes one line for each event to the log: its name, ids and the client network. */
export class LogAudit implements Audit {
  readonly #log: Pick<Log, 'info' | 'warn'>

  constructor(log: Pick<Log, 'info' | 'warn'>) {
    this.#log = log
  }

  record({ event, userId, adminId, sessionId, apiTokenId, role, clientNetwork }: AuditEvent): void {
    // Each member by name, so that nothing else can reach the log.
    const details = { event, userId, adminId, sessionId, apiTokenId, role, clientNetwork }
    if (SUSPICIOUS.has(event)) this.#log.warn(details, 'audit')
    else this.#log.info(details, 'audit')
  }
}
