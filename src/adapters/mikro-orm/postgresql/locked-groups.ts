import { setTimeout as delay } from 'node:timers/promises'
import { type Admission, rejected, type Settled } from '../group-commit.ts'
import type { Statement } from '../prepared-query.ts'
import type { ListState } from '../store.ts'
import { isTimeout } from '../store-errors.ts'
import type { listGroupQueries } from '../task-lists.ts'
import type { Connection, SharedConnections } from './postgresql-connections.ts'
import {
  type Attempt,
  begin,
  commit,
  isRejected,
  type Job,
  type Outcome,
  outcomesOf,
  planOf,
  Refusal,
  rollBack,
  type Sent,
  send,
  settleGroup,
} from './postgresql-groups.ts'

type Lists = ReturnType<typeof listGroupQueries>
type Seen = Record<string, unknown[]>
type LockedList = ListState & { readonly owner_id: number }

/** The rows and lists that a group read under its locks. */
interface View {
  readonly seen: ReadonlyMap<Job, Seen>
  /** The locked lists, by owner. */
  readonly lists: ReadonlyMap<number, ListState>
}

/** `lock_timeout` ended the wait for the lists of a group. The server does not report which list was locked. */
class ListsHeld {
  readonly reason: unknown

  constructor(reason: unknown) {
    this.reason = reason
  }
}

/** Minimum and maximum number of probes for lists that another session holds. */
const PROBES = { min: 4, max: 8 }
/** Milliseconds after the first probe; doubled after each further one. */
const FIRST_PAUSE = 10

/**
 * Runs jobs that read before they write: one packet begins a transaction, locks the lists of all owners and reads; a second one
 * writes and commits. Each group has a connection to itself.
 */
export class LockedGroups {
  readonly #idle: SharedConnections[]
  readonly #lists: Lists
  /**
   * Owners whose list another session has held for too long, with the server's reason. No further group waits for these
   * lists.
   */
  readonly #held = new Map<number, unknown>()

  /** @param connections one of size 1 for each group that may run concurrently */
  constructor(connections: readonly SharedConnections[], lists: Lists) {
    this.#idle = [...connections]
    this.#lists = lists
  }

  readonly run = async (jobs: readonly Job[]): Promise<Settled[]> => {
    const connections = this.#idle.pop() as SharedConnections
    try {
      return await connections.pinned((connection) => settleGroup(jobs, (group) => this.#attempt(connection, group)))
    } finally {
      this.#idle.push(connections)
    }
  }

  async #attempt(connection: Connection, jobs: readonly Job[]): Promise<Attempt> {
    const held = ownersOf(jobs).find((owner) => this.#held.has(owner))
    if (held !== undefined) return this.#runUnheld(connection, jobs, this.#held.get(held))
    const view = await lockAndRead(connection, this.#lists.lock({ owners: ownersOf(jobs) }), jobs)
    if (view instanceof ListsHeld) return this.#runUnheld(connection, jobs, view.reason)
    return view instanceof Refusal ? view : writeAndCommit(connection, this.#lists, jobs, view)
  }

  /** Refuses the jobs of lists that another session holds, and runs the others. */
  async #runUnheld(connection: Connection, jobs: readonly Job[], reason: unknown): Promise<Attempt> {
    const owners = ownersOf(jobs)
    const view = await this.#probe(connection, jobs)
    if (!('lists' in view)) return view
    for (const owner of owners) {
      if (view.lists.has(owner)) this.#held.delete(owner)
      else this.#held.set(owner, reason)
    }
    const isHeld = ({ transaction: { owner } }: Job) => owner !== undefined && this.#held.has(owner)
    const attempt = await writeAndCommit(
      connection,
      this.#lists,
      jobs.filter((job) => !isHeld(job)),
      view,
    )
    if (attempt instanceof Refusal) return attempt
    return new Map([...attempt, ...jobs.filter(isHeld).map((job) => [job, rejected(reason)] as const)])
  }

  /**
   * Locks the lists that are free. A group holds a list for milliseconds only, so a list that no probe could lock stays locked
   * for longer.
   */
  async #probe(connection: Connection, jobs: readonly Job[]): Promise<View | Refusal> {
    const owners = ownersOf(jobs)
    const lock = this.#lists.lockUnlocked({ owners })
    let held = owners
    for (let probe = 1; ; probe++) {
      const view = await lockAndRead(connection, lock, jobs)
      if (view instanceof ListsHeld) throw view.reason
      if (view instanceof Refusal) return view
      const blocked = owners.filter((owner) => !view.lists.has(owner))
      held = held.filter((owner) => blocked.includes(owner))
      const decided = blocked.length === held.length && (held.length === 0 || probe >= PROBES.min)
      if (decided || probe === PROBES.max) return view
      rollBack(connection)
      await delay(FIRST_PAUSE * 2 ** (probe - 1))
    }
  }
}

const ownersOf = (jobs: readonly Job[]): number[] => [
  ...new Set(jobs.flatMap(({ transaction: { owner } }) => (owner === undefined ? [] : [owner]))),
]

/** Begins, locks and reads in one packet. Nothing is written yet, so a failure needs only a rollback. */
async function lockAndRead(
  connection: Connection,
  lock: Statement<LockedList>,
  jobs: readonly Job[],
): Promise<View | Refusal | ListsHeld> {
  const reads = jobs.flatMap((job) =>
    Object.entries(job.transaction.reads).map(([name, statement]) => ({ job, name, statement })),
  )
  const [begun, locked, ...results] = (await send(connection, [begin(connection), { statement: lock }, ...reads])) as [
    Outcome,
    Outcome,
    ...Outcome[],
  ]
  if (isRejected(begun)) throw begun.reason
  const failed = results.findIndex(isRejected)
  if (isRejected(locked) || failed >= 0) rollBack(connection)
  if (isRejected(locked)) {
    if (isTimeout(locked.reason)) return new ListsHeld(locked.reason)
    throw locked.reason
  }
  if (failed >= 0) return new Refusal(reads[failed]?.job as Job, (results[failed] as PromiseRejectedResult).reason)
  const lists = locked.value.rows as LockedList[]
  const seen = new Map<Job, Seen>(jobs.map((job) => [job, {}]))
  for (const [index, { job, name }] of reads.entries()) {
    const { value } = results[index] as PromiseFulfilledResult<{ rows: unknown[] }>
    ;(seen.get(job) as Seen)[name] = value.rows
  }
  return { seen, lists: new Map(lists.map(({ owner_id, ...list }) => [owner_id, list])) }
}

/** Rolls back a group that writes nothing, because row locks would make its commit wait for the disk. */
async function writeAndCommit(
  connection: Connection,
  lists: Lists,
  jobs: readonly Job[],
  { seen, lists: locked }: View,
): Promise<Attempt> {
  const plan = planOf(jobs, (job) => seen.get(job) as Seen, locked)
  if (plan.writes.length === 0) {
    rollBack(connection)
    return outcomesOf(plan, { outcomes: [] })
  }
  const sent: Sent[] = [...plan.writes]
  if (plan.lists.size > 0) sent.push({ statement: lists.set(columnsOf(plan.lists)) })
  return outcomesOf(plan, await commit(connection, sent))
}

const columnsOf = (lists: ReadonlyMap<number, ListState>) => ({
  owners: [...lists.keys()],
  revisions: Array.from(lists.values(), ({ revision }) => revision),
  sizes: Array.from(lists.values(), ({ size }) => size),
})

/**
 * Admits one group at a time for each owner, because a second would wait on the server for the lock of the first. Within a
 * group, jobs of one owner have different keys, because a job does not see the writes of the others.
 */
export const oneGroupPerOwner: Admission<Job> = (inFlight) => {
  const closed = new Set<number>(ownersOf(inFlight))
  const taken = new Map<number, Set<number | string>>()
  return ({ transaction: { owner, keys } }) => {
    if (owner === undefined) return true
    if (closed.has(owner)) return false
    const others = taken.get(owner)
    const admitted = others === undefined || (keys?.every((key) => !others.has(key)) ?? false)
    // A later job of this owner must not overtake a waiting one.
    if (!admitted || keys === undefined) closed.add(owner)
    if (admitted) taken.set(owner, new Set([...(others ?? []), ...(keys ?? [])]))
    return admitted
  }
}
