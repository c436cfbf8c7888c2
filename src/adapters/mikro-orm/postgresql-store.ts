import { AsyncResource } from 'node:async_hooks'
import { type Kysely, sql } from 'kysely'
import { StoreUnavailable } from '../../domain/errors.ts'
import { Batches, type Job, type RunBatch } from './batches.ts'
import type { SharedConnections } from './postgresql-connections.ts'
import { BEGIN_IN_SHARED_SESSION } from './postgresql-session.ts'
import { type Statement, statement } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { type Decision, type Store, translated } from './store.ts'
import { codeOf } from './store-errors.ts'

/** While the server is busy with one group, the next is on its way to it. */
const GROUPS_AT_ONCE = 2

/** No transaction waits for us: those of several statements would keep a connection, and rows, from everybody else. */
export function postgresqlStore(kysely: Kysely<Tables>, writer: SharedConnections, reader: SharedConnections): Store {
  const writes = new Batches(inOneCommit(writer), GROUPS_AT_ONCE)
  const read: Store['read'] = async (query) => (await reader.run(query)).rows
  const write: Store['write'] = (query, row) =>
    writes.add({ query, row, request: new AsyncResource('WRITE') }) as Promise<never>
  return {
    kysely,
    // The text of a timestamp depends on DateStyle and TimeZone, that of a float on extra_float_digits.
    milliseconds: (column) => sql`cast(date_part('epoch', ${sql.ref(column)}) * 1000 as bigint)`,
    read: (query) => translated(read(query)),
    write: (query, row) => translated(write(query, row)),
    change: (row, query, decide) =>
      translated(
        changed(
          async () => decide(await read(query)),
          (save) => write(save, row),
        ),
      ),
    pending: () => ({ reads: reader.unanswered, writes: writes.unanswered }),
  }
}

/** Of those who change one thing at once somebody succeeds each time, so this many tries serve as many writers. */
const MOST_TRIES = 1_000

async function changed<Result>(
  decision: () => Promise<Decision<Result>>,
  write: (query: Statement<unknown>) => Promise<unknown[]>,
): Promise<Result> {
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const { result, write: query } = await decision()
    if (!query || (await write(query)).length > 0) return result
  }
  throw new StoreUnavailable(new Error('too many writers at once'))
}

export interface Work {
  readonly query: Statement
  /** The id of the one that it locks. */
  readonly row?: number | undefined
  /** Of which it is a part, so that a trace shows it there. */
  readonly request: AsyncResource
}

type Outcome = PromiseSettledResult<{ readonly rows: unknown[]; readonly command: string }>

const BEGIN = statement('begin')
const BEGIN_SHARED = statement(BEGIN_IN_SHARED_SESSION)
const COMMIT = statement('commit')

/**
 * A transaction that is sent as a whole, without waiting for the answer to any statement of it, over a connection that
 * nobody else uses. When one fails, PostgreSQL takes back them all, and the others are sent again; but when that
 * was for a lock, and happens again, all are refused: others wait behind them.
 */
export function inOneCommit(connection: SharedConnections): RunBatch<Work> {
  const send = (jobs: readonly Job<Work>[]) =>
    jobs.map(({ work: { request, query } }) => request.runInAsyncScope(() => connection.run(query)))
  const sendAll = (jobs: readonly Job<Work>[]): Promise<Outcome[]> => {
    const begin = connection.sharesSessions ? BEGIN_SHARED : BEGIN
    return Promise.allSettled([connection.run(begin), ...send(jobs), connection.run(COMMIT)])
  }
  const together = async (jobs: readonly Job<Work>[], wasLate = false): Promise<(() => void)[]> => {
    if (jobs.length === 0) return []
    if (jobs.length === 1 && !connection.sharesSessions) return answers(jobs, await Promise.allSettled(send(jobs)))
    const outcomes = await sendAll(jobs)
    const [end] = [outcomes.pop(), outcomes.shift()]
    if (end?.status !== 'fulfilled') throw end?.reason
    if (end.value.command !== 'ROLLBACK') return answers(jobs, outcomes)
    return again(jobs, outcomes, wasLate)
  }
  const again = (jobs: readonly Job<Work>[], outcomes: readonly Outcome[], wasLate: boolean) => {
    const failed = outcomes.findIndex(({ status }) => status === 'rejected')
    const { reason } = outcomes[failed] as PromiseRejectedResult
    const code = codeOf(reason) ?? ''
    const late = code === DEADLOCK || TIMEOUTS.has(code)
    if (late && wasLate) throw reason
    return together(code === DEADLOCK ? jobs : leftToDo(jobs, failed, reason), wasLate || late)
  }
  return (jobs) => together(jobs.toSorted(byRow))
}

/** Instances that lock rows in different orders would wait for each other. */
const byRow = (one: Job<Work>, other: Job<Work>) => (one.work.row ?? 0) - (other.work.row ?? 0)

const answers = (jobs: readonly Job<Work>[], outcomes: readonly Outcome[]) =>
  outcomes.map((outcome, index) => () => {
    if (outcome.status === 'fulfilled') jobs[index]?.resolve(outcome.value.rows)
    else jobs[index]?.reject(outcome.reason)
  })

const DEADLOCK = '40P01'
/** `lock_timeout`, and `statement_timeout`, which may be all there is behind a pooler. */
const TIMEOUTS: ReadonlySet<string> = new Set(['55P03', '57014'])

/** Refuses the one that failed; also those that wait for the same row, which they would do one after the other. */
function leftToDo(jobs: readonly Job<Work>[], failed: number, reason: unknown): Job<Work>[] {
  const row = TIMEOUTS.has(codeOf(reason) ?? '') ? jobs[failed]?.work.row : undefined
  return jobs.filter(({ work, reject }, index) => {
    const refused = index === failed || (row !== undefined && work.row === row)
    if (refused) reject(reason)
    return !refused
  })
}
