import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { logFile } from '#test/log-file.ts'

const MARK = 'Qx7zKw'
const SECRET_KEY = `${MARK}-a-key-that-signs-everything-here`
const PREVIOUS_KEY = `${MARK}-the-key-that-signed-it-all-before`
const JWT = `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.${MARK}c2lnbmF0dXJl`
const HASH = `$2b$12$${MARK}${'a'.repeat(53 - MARK.length)}`

describe('The log', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'tasks-log-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  /** A log for this environment, and the text written so far. */
  function aLog(environment: Readonly<Record<string, string>>) {
    return logFile(join(folder, randomUUID()), {
      SECRET_KEY,
      SECRET_KEY_PREVIOUS: PREVIOUS_KEY,
      LOG_LEVEL: 'trace',
      ...environment,
    })
  }

  const production = { ENVIRONMENT: 'production' }
  const development = { ENVIRONMENT: 'development' }

  it('has one line of JSON for each event in production', () => {
    const { log, written } = aLog(production)
    log.info({ status: 200, route: '/health' }, 'request')
    log.error({ err: new Error('a mistake') }, 'a request\nfailed')
    const [first, second, rest] = written().split('\n')
    expect(JSON.parse(first ?? '')).to.include({ level: 'info', status: 200, route: '/health', msg: 'request' })
    expect(JSON.parse(second ?? '')).to.include({ level: 'error', msg: 'a request\nfailed' })
    expect(JSON.parse(second ?? '').err).to.include({ type: 'Error', message: 'a mistake' })
    expect(rest).to.equal('')
  })

  it('has one readable line for each event in development', () => {
    const { log, written } = aLog(development)
    log.info({ count: 2 }, 'done')
    expect(written()).to.match(/^\[.+\] INFO: done \{"count":2\}\n$/)
  })

  it('has one readable line for each request in development, with the ids of a failed one', () => {
    const { log, written } = aLog(development)
    const ids = { requestId: 'r-1', userId: 1, traceId: undefined }
    const request = { method: 'GET', route: '/api/v1/tasks', status: 200, ms: 1.04, ...ids }
    log.info(request, 'request')
    log.debug({ ...request, ms: 0.96 }, 'request')
    log.info({ ...request, status: 404, userId: undefined }, 'request')
    log.error({ ...request, status: 500 }, 'request')
    log.info({ ...request, route: undefined, status: 499, aborted: true }, 'request')
    expect(written().replace(/^\[.+?\] /gm, '')).to.equal(`INFO: GET /api/v1/tasks 200 1.0 ms
DEBUG: GET /api/v1/tasks 200 1.0 ms
INFO: GET /api/v1/tasks 404 1.0 ms {"requestId":"r-1"}
ERROR: GET /api/v1/tasks 500 1.0 ms {"requestId":"r-1","userId":1}
INFO: GET (no route) 499 1.0 ms {"requestId":"r-1","userId":1,"aborted":true}
`)
  })

  it('omits events below its level', () => {
    const { log, written } = aLog({ ...production, LOG_LEVEL: 'warn' })
    log.info({}, 'quiet')
    log.warn({}, 'loud')
    expect(written()).to.include('loud').and.not.include('quiet')
    const silent = aLog({ ...production, LOG_LEVEL: 'silent' })
    silent.log.fatal({}, 'nothing')
    expect(silent.written()).to.equal('')
  })

  const members = [
    ...[
      'password',
      'Password',
      'hashedPassword',
      'hashed_password',
      'new_password',
      'passwd',
      'PGPASSWORD',
      'current_password',
      'currentPassword',
    ],
    ...['secret', 'secretKey', 'client_secret', 'SECRET_KEY', 'token', 'access_token', 'refreshToken', 'csrf-token'],
    ...['SECRET_KEY_PREVIOUS', 'previousSecretKey', 'refresh_token', 'token_hash', 'tokenHash', 'id_token'],
    ...[
      'authorization',
      'Authorization',
      'proxy-authorization',
      'cookie',
      'Cookie',
      'set-cookie',
      'x-api-key',
      'apiKey',
    ],
  ]
  const texts: Readonly<Record<string, string>> = {
    'a token': `no such token ${JWT} here`,
    'an API token': `wrong: tma_00000000100000000${MARK}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`,
    'a refresh token': `tmr_7.42.0.${MARK}-_aaaaaaaaaaaaaaaaaaa.${MARK}-_b is of no session`,
    'a refresh token in a form': `grant_type=refresh_token&refresh_token=${MARK}`,
    'a token in a form': `token_type_hint=refresh_token&token=${MARK}`,
    'a current password in JSON': `{"current_password":"${MARK}"}`,
    'a token in a URL': `GET /tasks?access_token=${MARK}&skip=1`,
    'a bearer token': `Authorization: Bearer ${MARK}/+~.abc==`,
    'basic credentials': `basic ${MARK}=`,
    'a hash': `Failing row contains (1, jane@example.com, ${HASH}, 2026-01-31)`,
    'a password in a URL': `connecting to postgresql://jane:p@${MARK}@db.example:5432/tasks`,
    'a password after its name': `password=${MARK}; host=db`,
    'a quoted password with blanks': `{"password": "correct ${MARK} staple"}`,
    'a password in single quotes': `password: 'correct ${MARK} staple' is wrong`,
    'a password beside its name': `the password "correct ${MARK}" is wrong`,
    'a cookie': `Cookie: session=${MARK}`,
    'JSON in JSON': JSON.stringify(JSON.stringify({ token: MARK })),
    'the key of this process': `signed with ${SECRET_KEY}.`,
    'the key that it had before': `signed with ${PREVIOUS_KEY}.`,
  }

  for (const [what, environment] of Object.entries({ production, development })) {
    it(`hides the values of secret members at any depth (${what})`, () => {
      const { log, written } = aLog(environment)
      for (const member of members) {
        for (const value of [MARK, `${MARK} with "quotes" and blanks`, [MARK], { any: MARK }]) {
          log.trace({ [member]: value }, 'flat')
          log.info({ a: { b: [{ c: { [member]: value } }] } }, 'deep')
          log.error({ err: Object.assign(new Error('x'), { [member]: value, response: { [member]: value } }) }, 'error')
        }
      }
      expect(written()).to.not.include(MARK)
      expect(written()).to.include('[redacted]')
    })

    for (const [name, text] of Object.entries(texts)) {
      it(`hides a secret within a text: ${name} (${what})`, () => {
        const { log, written } = aLog(environment)
        log.trace({}, text)
        log.debug({ detail: text, list: [{ text }] }, 'details')
        log.warn({ err: new TypeError(text, { cause: new Error(text) }) }, 'error')
        log.fatal({ err: text }, text)
        expect(written().split('\n')).to.have.length.of.at.least(5)
        expect(written()).to.not.include(MARK)
        expect(written()).to.include('[redacted]')
      })
    }
  }

  it('hides the database password, both encoded and decoded', () => {
    const passwords: Readonly<Record<string, readonly string[]>> = {
      [`postgresql://jane:${MARK}%2F%C3%A9@db/tasks`]: [`${MARK}%2F%C3%A9`, `${MARK}/é`],
      [`postgresql://jane@db/tasks?password=${MARK}/x`]: [`${MARK}/x`],
      [`postgresql://jane:${MARK}%zz@db1,db2:5433/tasks`]: [`${MARK}%zz`],
      [`postgresql:///tasks?host=db1,db2&password=${MARK}%2Fx`]: [`${MARK}/x`, `${MARK}%2Fx`],
      [`postgresql://jane:${MARK}%22%5C@db/tasks`]: [`${MARK}"\\`],
    }
    for (const [url, spellings] of Object.entries(passwords)) {
      const { log, written } = aLog({ ...production, DATABASE_URL: url })
      for (const password of spellings) {
        log.error({ err: new Error(`jane and ${password} do not match`) }, password)
        log.info({}, password)
      }
      expect(written(), url).to.not.include(MARK)
    }
  })

  it('leaves everything else unchanged', () => {
    const { log, written } = aLog(production)
    const details = {
      requestId: 'a-token-of-mine',
      text: 'Tokens and cookies: 2 of them, à la carte',
      list: [1, null],
      apiTokenId: 7,
      token_id: 8,
    }
    log.info(details, 'Ready: API http://127.0.0.1:8000/api/v1, documentation http://127.0.0.1:8000/docs')
    expect(JSON.parse(written())).to.deep.include(details)
    expect(JSON.parse(written()).msg).to.equal(
      'Ready: API http://127.0.0.1:8000/api/v1, documentation http://127.0.0.1:8000/docs',
    )
  })
})
