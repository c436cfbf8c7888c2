import type { CompiledQuery, Kysely } from 'kysely'
import { StoreUnavailable } from '../../domain/errors.ts'
import { Batches, type RunBatch } from './batches.ts'
import type { SharedConnections } from './postgresql-connections.ts'
import { plain } from './prepared-query.ts'
import type { Tables } from './records.ts'
import { type Decision, type Store, translated } from './store.ts'

/** While the server is busy with one group, the next is on its way to it. */
const GROUPS_AT_ONCE = 2

/** No transaction waits for us: those of several statements would keep a connection, and rows, from everybody else. */
export function postgresqlStore(kysely: Kysely<Tables>, writer: SharedConnections, reader: SharedConnections): Store {
  const writes = new Batches(inOneCommit(writer), GROUPS_AT_ONCE)
  const read: Store['read'] = (query) => reader.run(query)
  const write = <Row>(query: CompiledQuery<Row>) => writes.add(query) as Promise<Row[]>
  return {
    kysely,
    read: (query) => translated(read(query)),
    write: (query) => translated(write(query)),
    change: (query, decide) => translated(changed(async () => decide(await read(query)), write)),
    waiting: () => writes.waiting,
  }
}

/** Of those who change one thing at once somebody succeeds each time, so this many tries serve as many writers. */
const MOST_TRIES = 1_000

async function changed<Result>(decision: () => Promise<Decision<Result>>, write: Store['write']): Promise<Result> {
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const { result, write: query } = await decision()
    if (!query || (await write(query)).length > 0) return result
  }
  throw new StoreUnavailable(new Error('too many writers at once'))
}

const BEGIN = plain('begin')
const COMMIT = plain('commit')

/**
 * A transaction that is sent as a whole, without waiting for the answer to any statement of it, over a connection that
 * nobody else uses. When one fails, PostgreSQL takes back them all, and each is done by itself.
 */
export function inOneCommit(connection: SharedConnections): RunBatch<CompiledQuery> {
  const each = (queries: readonly CompiledQuery[]) => Promise.allSettled(queries.map((query) => connection.run(query)))
  const together = async (queries: readonly CompiledQuery[]) => {
    const outcomes = await each([BEGIN, ...queries, COMMIT])
    for (const end of [outcomes.shift(), outcomes.pop()]) if (end?.status === 'rejected') throw end.reason
    return outcomes.every(({ status }) => status === 'fulfilled') ? outcomes : each(queries)
  }
  return async (jobs) => {
    const queries = jobs.map(({ work }) => work)
    const outcomes = await (queries.length === 1 ? each(queries) : together(queries))
    return jobs.map(({ resolve, reject }, index) => {
      const outcome = outcomes[index] as PromiseSettledResult<unknown>
      return () => (outcome.status === 'fulfilled' ? resolve(outcome.value) : reject(outcome.reason))
    })
  }
}
