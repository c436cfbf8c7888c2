import { expect } from 'chai'
import { leavesOutcomeOpen, storeError } from '#src/adapters/mikro-orm/store-errors.ts'
import { StoreUnavailable, TaskNotFound } from '#src/domain/errors.ts'

/** Codes that drivers report while the database cannot serve. */
const UNAVAILABLE = {
  SQLite: [
    ...['SQLITE_BUSY', 'SQLITE_BUSY_SNAPSHOT', 'SQLITE_CANTOPEN', 'SQLITE_FULL', 'SQLITE_IOERR_WRITE'],
    ...['SQLITE_LOCKED', 'SQLITE_READONLY_DBMOVED'],
  ],
  PostgreSQL: [
    ...['08006', '08P01', '28000', '28P01', '3D000', '25006', '25P02', '25P03', '25P04', '40001', '40003', '40P01'],
    ...['26000', '42501', '42P05', '53100', '53300', '55P03'],
    ...['57014', '57P01', '57P03', '58030'],
  ],
  'a socket': [
    'EAI_AGAIN',
    'ECONNREFUSED',
    'ECONNRESET',
    'EHOSTUNREACH',
    'ENETDOWN',
    'ENOTFOUND',
    'EPIPE',
    'ETIMEDOUT',
    'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC',
    'ERR_STREAM_DESTROYED',
  ],
}
/** Codes that drivers report for other errors, such as a wrong statement. */
const OTHERS = ['SQLITE_ERROR', 'SQLITE_CONSTRAINT_UNIQUE', '22021', '23505', '42601', '42P01', 'ENOENT']
const MESSAGES = [
  'Connection terminated',
  'Connection terminated unexpectedly',
  'Client has encountered a connection error and is not queryable',
  'Client was closed and is not queryable',
  'Query read timeout',
  'The database connection is not open',
]

describe('A driver error after a statement was sent', () => {
  const open = (message: string, code?: string) => leavesOutcomeOpen(Object.assign(new Error(message), { code }))

  it('leaves the outcome open if the connection broke or a pooler lost its server', () => {
    for (const message of ['Connection terminated unexpectedly', 'Query read timeout'])
      expect(open(message), message).to.equal(true)
    for (const code of ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', '08006', '08P01', '40003', '58000'])
      expect(open('x', code), code).to.equal(true)
  })

  it('does not leave the outcome open if the server responded or the statement was not sent', () => {
    for (const code of [
      '23505',
      '25006',
      '25P03',
      '40001',
      '40P01',
      '42501',
      '53100',
      '55P03',
      '57014',
      '57P01',
      '58030',
    ])
      expect(open('x', code), code).to.equal(false)
    for (const message of [
      'Client was closed and is not queryable',
      'query_wait_timeout',
      'server login has been failing',
    ])
      expect(open(message, '08P01') && open(message), message).to.equal(false)
    expect(leavesOutcomeOpen(new StoreUnavailable(new Error('connect ECONNREFUSED')))).to.equal(false)
  })
})

describe('A driver error', () => {
  for (const [driver, codes] of Object.entries(UNAVAILABLE)) {
    it(`becomes StoreUnavailable if its code means that the database cannot serve (${driver})`, () => {
      for (const code of codes) {
        expect(storeError(Object.assign(new Error('x'), { code })), code).to.be.an.instanceOf(StoreUnavailable)
      }
    })
  }

  it('becomes StoreUnavailable if it has no code but a message with that meaning', () => {
    for (const message of MESSAGES)
      expect(storeError(new Error(message)), message).to.be.an.instanceOf(StoreUnavailable)
  })

  it('stays unchanged otherwise', () => {
    const others = [...OTHERS.map((code) => Object.assign(new Error('Query read timeout'), { code })), new Error('x')]
    for (const error of [...others, new TaskNotFound(), 'no error']) expect(storeError(error)).to.equal(error)
  })
})
