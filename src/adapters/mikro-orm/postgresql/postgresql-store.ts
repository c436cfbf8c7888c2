import { AsyncResource } from 'node:async_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { OutcomeUnknown, StoreUnavailable } from '../../../domain/errors.ts'
import { Batcher, fulfilled, type RunGroup, rejected, type Settled } from '../group-commit.ts'
import { type Statement, statement } from '../prepared-query.ts'
import type { Tables } from '../records.ts'
import { type Decision, type Store, withStoreErrors } from '../store.ts'
import {
  endsConnection,
  isConflict,
  isInFailedTransaction,
  isServerWide,
  isTimeout,
  leavesOutcomeOpen,
} from '../store-errors.ts'
import type { SharedConnections } from './postgresql-connections.ts'
import { BEGIN_IN_SHARED_SESSION } from './postgresql-session.ts'

/** While the server is busy with one group, the next is on its way to it. */
const GROUPS_AT_ONCE = 2

/** Sends every transaction as a whole: an interactive one would hold a connection and row locks between round trips. */
export function postgresqlStore(kysely: Kysely<Tables>, writer: SharedConnections, reader: SharedConnections): Store {
  const writes = new Batcher(runInOneTransaction(writer), GROUPS_AT_ONCE)
  let retrying = 0
  const retry = async <Result>(conflict: unknown, run: () => Promise<Result>): Promise<Result> => {
    retrying++
    try {
      return await retryConflict(conflict, run)
    } finally {
      retrying--
    }
  }
  const read: Store['read'] = async (query) => {
    try {
      return (await reader.run(query)).rows
    } catch (error) {
      // Where a pooler's sessions are serializable, a read can conflict as well.
      return (await retryConflict(error, () => reader.run(query))).rows
    }
  }
  const write: Store['write'] = async (query, row) => {
    const job: Job = { query, row, request: new AsyncResource('WRITE') }
    try {
      return (await writes.add(job)) as never[]
    } catch (error) {
      return (await retry(error, () => runSingle(writer, job))) as never[]
    }
  }
  return {
    kysely,
    // The text of a timestamp depends on DateStyle and TimeZone, that of a float on extra_float_digits.
    milliseconds: (column) => sql`cast(date_part('epoch', ${sql.ref(column)}) * 1000 as bigint)`,
    read: (query) => withStoreErrors(read(query)),
    write: (query, row) => withStoreErrors(write(query, row)),
    change: (row, query, decide) =>
      withStoreErrors(
        changed(
          async () => decide(await read(query)),
          (save) => write(save, row),
        ),
      ),
    pending: () => ({ reads: reader.unanswered, writes: writes.unanswered + retrying }),
  }
}

/** Each conflict means another writer won, so this bounds contention. */
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

export interface Job {
  readonly query: Statement
  /** The id of the one that it locks. */
  readonly row?: number | undefined
  /** Of which it is a part, so that a trace shows it there. */
  readonly request: AsyncResource
}

type Outcome = PromiseSettledResult<{ readonly rows: unknown[]; readonly command: string }>

const BEGIN = statement('begin')
const BEGIN_IN_SHARED = statement(BEGIN_IN_SHARED_SESSION)
const COMMIT = statement('commit')
const ROLLBACK = statement('rollback')

/**
 * Group commit: sends a transaction as a whole, without waiting for the answer to any of its statements, over a
 * connection that carries nothing else. When a statement fails, PostgreSQL rolls the transaction back; its job is
 * refused and the others are sent again. When the reason concerns every write, or a group has to wait for a lock or
 * conflicts for the second time, all are refused: others wait behind them.
 */
export function runInOneTransaction(connection: SharedConnections): RunGroup<Job> {
  return async (jobs) => {
    const settled = new Map<Job, Settled>()
    await settleAll(connection, jobs.toSorted(byRow), settled)
    return jobs.map((job) => settled.get(job) as Settled)
  }
}

async function settleAll(
  connection: SharedConnections,
  jobs: readonly Job[],
  settled: Map<Job, Settled>,
  wasBlocked = false,
): Promise<void> {
  const { outcomes, failed } = await transact(connection, jobs)
  if (failed === undefined) {
    for (const [index, job] of jobs.entries()) settled.set(job, rowsOf(outcomes[index] as Outcome))
    return
  }
  const refusal = outcomes[failed] as PromiseRejectedResult
  const blocked = isConflict(refusal.reason) || isTimeout(refusal.reason)
  const refused = isServerWide(refusal.reason) || (blocked && wasBlocked) ? jobs : refusedBy(jobs, failed, refusal)
  for (const job of refused) settled.set(job, refusal)
  const others = jobs.filter((job) => !refused.includes(job))
  if (others.length > 0) await settleAll(connection, others, settled, wasBlocked || blocked)
}

interface Transacted {
  readonly outcomes: readonly Outcome[]
  /** The one for which the server rolled all of them back. */
  readonly failed?: number
}

/** Runs the statements in one transaction; a single one is a transaction by itself where the session is ours. */
async function transact(connection: SharedConnections, jobs: readonly Job[]): Promise<Transacted> {
  const send = () => jobs.map(({ request, query }) => request.runInAsyncScope(() => connection.run(query)))
  if (jobs.length === 1 && !connection.sharesSessions)
    return { outcomes: (await Promise.allSettled(send())).map(known) }
  const begin = connection.sharesSessions ? BEGIN_IN_SHARED : BEGIN
  const outcomes: Outcome[] = await Promise.allSettled([connection.run(begin), ...send(), connection.run(COMMIT)])
  const [end, begun] = [outcomes.pop(), outcomes.shift()] as [Outcome, Outcome]
  if (isRejected(begun)) return { outcomes: outcomes.map((outcome) => withoutTransaction(begun, outcome)) }
  if (isRejected(end)) {
    // A commit that is cancelled before it starts leaves the transaction open, and every later statement would fail.
    if (isTimeout(end.reason)) connection.run(ROLLBACK).catch(() => undefined)
    return { outcomes: interrupted(outcomes, end) }
  }
  if (end.value.command !== 'ROLLBACK') return { outcomes }
  return { outcomes, failed: outcomes.findIndex(isRejected) }
}

const isRejected = (outcome: Outcome): outcome is PromiseRejectedResult => outcome.status === 'rejected'

/** A statement that was sent, and not answered, may have been committed. */
const known = (outcome: Outcome): Outcome =>
  isRejected(outcome) && leavesOutcomeOpen(outcome.reason) ? rejected(new OutcomeUnknown(outcome.reason)) : outcome

/**
 * The outcome of a statement when `begin` failed. The server commits it by itself, unless the server ended the
 * connection or an earlier transaction is still open.
 */
const withoutTransaction = (begun: PromiseRejectedResult, outcome: Outcome): Outcome =>
  endsConnection(begun.reason) || (isRejected(outcome) && isInFailedTransaction(outcome.reason))
    ? begun
    : known(outcome)

/** The outcomes when `commit` failed or was not answered. A statement that the server refused shows that nothing was committed. */
function interrupted(outcomes: readonly Outcome[], end: PromiseRejectedResult): Outcome[] {
  const answered = (outcome: Outcome) => isRejected(outcome) && !leavesOutcomeOpen(outcome.reason)
  const failed = outcomes.findIndex(answered)
  if (failed < 0) return outcomes.map(() => known(end))
  const unavailable = rejected(new StoreUnavailable(end.reason))
  return outcomes.map((outcome, index) => (index === failed ? outcome : unavailable))
}

/** Instances that lock rows in different orders would wait for each other. */
const byRow = (one: Job, other: Job) => (one.row ?? 0) - (other.row ?? 0)

const rowsOf = (outcome: Outcome): Settled => (isRejected(outcome) ? outcome : fulfilled(outcome.value.rows))

/** The job that failed, and all that would wait for the same locked row one after the other. */
function refusedBy(jobs: readonly Job[], failed: number, { reason }: PromiseRejectedResult): readonly Job[] {
  const row = isTimeout(reason) ? jobs[failed]?.row : undefined
  return jobs.filter((job, index) => index === failed || (row !== undefined && job.row === row))
}

async function runSingle(connection: SharedConnections, job: Job): Promise<unknown[]> {
  const { outcomes } = await transact(connection, [job])
  const [outcome] = outcomes as [Outcome]
  if (isRejected(outcome)) throw outcome.reason
  return outcome.value.rows
}

const MOST_RETRIES = 5
/** Milliseconds before the first retry, at most; twice as many before each further one. */
const FIRST_PAUSE = 10

/**
 * Runs again, after a random pause, what conflicted with another transaction.
 *
 * @param error why it failed; any but a conflict is thrown as it is
 */
async function retryConflict<Result>(error: unknown, run: () => Promise<Result>): Promise<Result> {
  let reason = error
  for (let retries = 0; isConflict(reason) && retries < MOST_RETRIES; retries++) {
    await delay(Math.random() * FIRST_PAUSE * 2 ** retries)
    try {
      return await run()
    } catch (error) {
      reason = error
    }
  }
  throw reason
}
