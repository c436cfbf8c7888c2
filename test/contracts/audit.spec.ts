import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { LogAudit } from '#src/adapters/audit/log-audit.ts'
import type { Audit, AuditEvent, AuditEventName } from '#src/domain/accounts/ports.ts'
import { logFile } from '#test/log-file.ts'
import { FakeAudit } from '#test/use-cases/fakes.ts'

/** Every event with its members. A new event does not compile until it is added here. */
const events: { readonly [name in AuditEventName]: Omit<AuditEvent, 'event' | 'clientNetwork'> } = {
  registered: { userId: 7 },
  logged_in: { userId: 7, sessionId: 42 },
  login_refused: { userId: undefined },
  refreshed: { userId: 7, sessionId: 42 },
  refresh_reused: { userId: 7, sessionId: 42 },
  session_ended: { userId: 7, sessionId: 42 },
  password_changed: { userId: 7 },
  email_changed: { userId: 7 },
  password_refused: { userId: 7 },
  api_token_created: { userId: 7, apiTokenId: 3 },
  api_token_revoked: { userId: 7, apiTokenId: 3 },
  role_changed: { userId: 7, adminId: 1, role: 'admin' },
  disabled: { userId: 7, adminId: 1 },
  enabled: { userId: 7, adminId: 1 },
  left: { userId: 7 },
  removed: { userId: 7, adminId: 1 },
}
const all = Object.entries(events).map(
  ([event, members]): AuditEvent => ({ event: event as AuditEventName, ...members, clientNetwork: '192.0.2.1' }),
)

describe('An audit', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'tasks-audit-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  /** An audit that writes to a log, and the lines written so far, without the members that every line has. */
  function aLogAudit(environment: Readonly<Record<string, string>> = { ENVIRONMENT: 'production' }) {
    const { log, written } = logFile(join(folder, randomUUID()), { SECRET_KEY: 'k'.repeat(32), ...environment })
    const lines = () =>
      written()
        .trim()
        .split('\n')
        .map((line): Record<string, unknown> => JSON.parse(line))
        .map(({ time: _time, pid: _pid, hostname: _hostname, ...line }) => line)
    return { audit: new LogAudit(log), lines, written }
  }

  const readers: Readonly<Record<string, () => { readonly audit: Audit; readonly recorded: () => readonly object[] }>> =
    {
      'the log': () => {
        const { audit, lines } = aLogAudit()
        return { audit, recorded: () => lines().map(({ level: _level, msg: _msg, ...event }) => event) }
      },
      'the fake of the use-case specs': () => {
        const audit = new FakeAudit()
        return { audit, recorded: () => audit.events }
      },
    }
  for (const [name, build] of Object.entries(readers)) {
    it(`records every event with its members, in order (${name})`, () => {
      const { audit, recorded } = build()
      for (const event of all) audit.record(event)
      expect(JSON.parse(JSON.stringify(recorded()))).to.deep.equal(JSON.parse(JSON.stringify(all)))
    })
  }

  it('is one line for each event in the log: info, or warn for a refresh token that was used before', () => {
    const { audit, lines } = aLogAudit()
    for (const event of all) audit.record(event)
    expect(lines().map(({ msg }) => msg)).to.deep.equal(all.map(() => 'audit'))
    expect(lines().flatMap(({ level, event }) => (level === 'info' ? [] : [`${level} ${event}`]))).to.deep.equal([
      'warn refresh_reused',
    ])
  })

  it('is readable in development', () => {
    const { audit, written } = aLogAudit({ ENVIRONMENT: 'development' })
    audit.record({ event: 'api_token_created', userId: 7, apiTokenId: 3, clientNetwork: '192.0.2.1' })
    expect(written()).to.match(
      /^\[.+\] INFO: audit \{"event":"api_token_created","userId":7,"apiTokenId":3,"clientNetwork":"192\.0\.2\.1"\}\n$/,
    )
  })

  it('writes no member that an event does not have', () => {
    const { audit, written } = aLogAudit()
    const event: AuditEvent = { event: 'logged_in', userId: 7, clientNetwork: '192.0.2.1' }
    audit.record(Object.assign(event, { email: 'jane@example.com', value: 'Qx7zKw', hashedPassword: 'Qx7zKw' }))
    expect(written()).to.not.match(/jane|Qx7zKw/)
  })
})
