/** Group commit on PostgreSQL: concurrent jobs share one transaction. */
import type { AsyncResource } from 'node:async_hooks'
import { OutcomeUnknown, StoreUnavailable } from '../../../domain/errors.ts'
import { fulfilled, type RunGroup, rejected, type Settled } from '../group-commit.ts'
import { type Statement, statement } from '../prepared-query.ts'
import type { AnyTransaction, Committed, Decision, ListState } from '../store.ts'
import {
  endsConnection,
  isConflict,
  isInFailedTransaction,
  isServerWide,
  isTimeout,
  leavesOutcomeOpen,
} from '../store-errors.ts'
import type { Connection, Result } from './postgresql-connections.ts'
import { BEGIN_IN_SHARED_SESSION } from './postgresql-session.ts'

export interface Job {
  readonly transaction: AnyTransaction
  /** The async context of the request, so that traces show the job's statements in the request. */
  readonly request: AsyncResource
}

/** The outcome of each job, or the one job for which the server rolled back the group. */
export type Attempt = ReadonlyMap<Job, Settled> | Refusal

export class Refusal {
  readonly job: Job
  readonly reason: unknown

  constructor(job: Job, reason: unknown) {
    this.job = job
    this.reason = reason
  }
}

type Run = (jobs: readonly Job[]) => Promise<Attempt>

export async function settleGroup(jobs: readonly Job[], run: Run): Promise<Settled[]> {
  const outcomes = await settleAll(jobs.toSorted(byOwner), run)
  return jobs.map((job) => outcomes.get(job) as Settled)
}

/** Lists are locked in order of owner, and users after lists, because different orders could deadlock. */
const byOwner = (one: Job, other: Job) => lockOrder(one) - lockOrder(other)
const lockOrder = ({ transaction: { owner = Number.MAX_SAFE_INTEGER } }: Job) => owner

/**
 * Refuses the job for which the server rolled back the group, and runs the others again. Refuses all jobs if the reason concerns
 * every write, or if the group is blocked for the second time, because other groups wait behind it.
 */
async function settleAll(jobs: readonly Job[], run: Run, wasBlocked = false): Promise<ReadonlyMap<Job, Settled>> {
  if (jobs.length === 0) return new Map()
  const attempt = await run(jobs)
  if (!(attempt instanceof Refusal)) return attempt
  const { reason } = attempt
  const blocked = isConflict(reason) || isTimeout(reason)
  const refused = isServerWide(reason) || (blocked && wasBlocked) ? jobs : jobs.filter(isRefusedWith(attempt))
  const others = jobs.filter((job) => !refused.includes(job))
  const outcomes = new Map(await settleAll(others, run, wasBlocked || blocked))
  for (const job of refused) outcomes.set(job, rejected(reason))
  return outcomes
}

/** After a timeout, all jobs of the owner are refused, because they would wait for the same lock one after the other. */
function isRefusedWith({ job, reason }: Refusal): (other: Job) => boolean {
  const { owner } = job.transaction
  const shared = isTimeout(reason) && owner !== undefined
  return (other) => other === job || (shared && other.transaction.owner === owner)
}

/**
 * Runs jobs that read nothing. Sends the whole group without waiting for any response, on a connection that carries nothing
 * else.
 */
export const runWrites =
  (connection: Connection): RunGroup<Job> =>
  (jobs) =>
    settleGroup(jobs, async (group) => {
      const plan = planOf(group, () => ({}))
      return plan.writes.length === 0 ? plan.refused : outcomesOf(plan, await runTransaction(connection, plan.writes))
    })

/** A statement and its job. */
export interface Sent {
  readonly statement: Statement
  readonly job?: Job
}

/** The writes on which the jobs of a group decided. */
export interface Plan {
  readonly decisions: ReadonlyMap<Job, Decision<unknown>>
  /** Jobs whose decision threw. */
  readonly refused: ReadonlyMap<Job, Settled>
  readonly writes: readonly Required<Sent>[]
  /** The owners' lists after the writes. */
  readonly lists: ReadonlyMap<number, ListState>
}

/** @param locked the locked lists; a later job of an owner sees the list that the earlier one left */
export function planOf(
  jobs: readonly Job[],
  seenBy: (job: Job) => Record<string, unknown[]>,
  locked: ReadonlyMap<number, ListState> = new Map(),
): Plan {
  const decisions = new Map<Job, Decision<unknown>>()
  const refused = new Map<Job, Settled>()
  const lists = new Map<number, ListState>()
  for (const job of jobs) {
    const { request, transaction } = job
    const { owner } = transaction
    const list = owner === undefined ? undefined : (lists.get(owner) ?? locked.get(owner))
    try {
      const decision = request.runInAsyncScope(() => transaction.decide(seenBy(job), list))
      decisions.set(job, decision)
      if (owner !== undefined && decision.list !== undefined) lists.set(owner, decision.list)
    } catch (error) {
      refused.set(job, rejected(error))
    }
  }
  const writes = Array.from(decisions).flatMap(([job, decision]) =>
    decision.writes.map((statement) => ({ job, statement })),
  )
  return { decisions, refused, writes, lists }
}

export type Outcome = PromiseSettledResult<Result<unknown>>

export interface Written {
  /** The outcome of each statement. */
  readonly outcomes: readonly Outcome[]
  /** Index of the statement for which the server rolled back the transaction. */
  readonly failed?: number
}

/** @throws the reason if the server rolled back the group because of a statement without a job */
export function outcomesOf({ decisions, refused, writes }: Plan, { outcomes, failed }: Written): Attempt {
  if (failed !== undefined) {
    const { reason } = outcomes[failed] as PromiseRejectedResult
    const job = writes[failed]?.job
    if (!job) throw reason
    return new Refusal(job, reason)
  }
  const settled = new Map(refused)
  let next = 0
  for (const [job, decision] of decisions) {
    const ofJob = outcomes.slice(next, next + decision.writes.length)
    next += decision.writes.length
    settled.set(job, ofJob.find(isRejected) ?? committed(decision, ofJob))
  }
  return settled
}

const committed = ({ result }: Decision<unknown>, outcomes: readonly Outcome[]): Settled => {
  const rows = outcomes.map((outcome) => (outcome as PromiseFulfilledResult<Result<unknown>>).value.rows)
  return fulfilled({ rows, result } satisfies Committed)
}

const BEGIN = statement('begin')
const BEGIN_IN_SHARED = statement(BEGIN_IN_SHARED_SESSION)
const COMMIT = statement('commit')
const ROLLBACK = statement('rollback')

export const begin = ({ sharesSession }: Connection): Sent => ({ statement: sharesSession ? BEGIN_IN_SHARED : BEGIN })

export const send = (connection: Connection, sent: readonly Sent[]): Promise<Outcome[]> =>
  Promise.allSettled(
    sent.map(({ statement, job }) => {
      const run = () => connection.run(statement)
      return job ? job.request.runInAsyncScope(run) : run()
    }),
  )

/** Ends a transaction that has written nothing. */
export function rollBack(connection: Connection): void {
  connection.run(ROLLBACK).catch(() => undefined)
}

/** Runs the statements in one transaction. In a session of its own, a single statement needs no explicit transaction. */
async function runTransaction(connection: Connection, writes: readonly Sent[]): Promise<Written> {
  if (writes.length === 1 && !connection.sharesSession) {
    return { outcomes: (await send(connection, writes)).map(withUnknownOutcome) }
  }
  const [begun, ...rest] = await send(connection, [begin(connection), ...writes, { statement: COMMIT }])
  if (isRejected(begun as Outcome)) {
    const outcomes = rest.slice(0, -1)
    return { outcomes: outcomes.map((outcome) => withoutTransaction(begun as PromiseRejectedResult, outcome)) }
  }
  return afterCommit(connection, rest)
}

/** Runs the statements in the open transaction and commits. */
export async function commit(connection: Connection, writes: readonly Sent[]): Promise<Written> {
  return afterCommit(connection, await send(connection, [...writes, { statement: COMMIT }]))
}

/** @param responses outcomes of the statements and, as the last one, of the commit */
function afterCommit(connection: Connection, responses: readonly Outcome[]): Written {
  const outcomes = responses.slice(0, -1)
  const end = responses.at(-1) as Outcome
  if (isRejected(end)) {
    // A commit that is cancelled before it starts leaves the transaction open, in which every later statement would fail.
    if (isTimeout(end.reason)) rollBack(connection)
    return { outcomes: interrupted(outcomes, end) }
  }
  // COMMIT rolls back a failed transaction.
  return end.value.command === 'ROLLBACK' ? { outcomes, failed: outcomes.findIndex(isRejected) } : { outcomes }
}

export const isRejected = (outcome: Outcome): outcome is PromiseRejectedResult => outcome.status === 'rejected'

/** A statement that was sent and got no response may have been committed. */
const withUnknownOutcome = (outcome: Outcome): Outcome =>
  isRejected(outcome) && leavesOutcomeOpen(outcome.reason) ? rejected(new OutcomeUnknown(outcome.reason)) : outcome

/**
 * The outcome of a statement if `begin` failed: the server commits the statement separately, unless the server ended the
 * connection or an earlier transaction is still open.
 */
const withoutTransaction = (begun: PromiseRejectedResult, outcome: Outcome): Outcome =>
  endsConnection(begun.reason) || (isRejected(outcome) && isInFailedTransaction(outcome.reason))
    ? begun
    : withUnknownOutcome(outcome)

/** The outcomes if `commit` failed or got no response. A statement that the server refused proves that nothing was committed. */
function interrupted(outcomes: readonly Outcome[], end: PromiseRejectedResult): Outcome[] {
  const failed = outcomes.findIndex((outcome) => isRejected(outcome) && !leavesOutcomeOpen(outcome.reason))
  if (failed < 0) return outcomes.map(() => withUnknownOutcome(end))
  const unavailable = rejected(new StoreUnavailable(end.reason))
  return outcomes.map((outcome, index) => (index === failed ? outcome : unavailable))
}
