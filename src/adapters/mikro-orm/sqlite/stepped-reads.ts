import { setImmediate as nextTurn } from 'node:timers/promises'
import type BetterSqlite3 from 'better-sqlite3'
import type { RunGroup } from '../group-commit.ts'
import type { Steps } from '../store.ts'
import { type Run, runner } from './sqlite-run.ts'

/** Long reads that share a snapshot, which they see as it was when the first of them began. */
export function readInTurns(connections: readonly BetterSqlite3.Database[]): RunGroup<Steps<unknown>> {
  const idle = connections.map((database) => ({ database, run: runner(database) }))
  let lastTurn = Promise.resolve()
  /** One statement a turn, of all the long reads together, lets the event loop serve others in between. */
  const ownTurn = () => {
    lastTurn = lastTurn.then(() => nextTurn())
    return lastTurn
  }
  const inTurns =
    (run: Run): Parameters<Steps<unknown>>[0] =>
    async (query) => {
      await ownTurn()
      return run(query)
    }
  return async (jobs) => {
    const connection = idle.pop() as (typeof idle)[number]
    const { database } = connection
    try {
      database.exec('begin')
      return await Promise.allSettled(jobs.map((steps) => steps(inTurns(connection.run))))
    } finally {
      idle.push(connection)
      if (database.inTransaction) database.exec('rollback')
    }
  }
}
