import type BetterSqlite3 from 'better-sqlite3'
import { LRUCache } from 'lru-cache'
import type { Statement } from '../prepared-query.ts'

export type Run = <Row>(query: Statement<Row>) => Row[]

/** Maximum number of cached statements: enough for those that run often. */
const MAX_STATEMENTS = 500

/** Caches compiled statements, because compiling one costs more than running it. */
export function runner(database: BetterSqlite3.Database): Run {
  const statements = new LRUCache<string, BetterSqlite3.Statement<unknown[]>>({
    max: MAX_STATEMENTS,
    memoMethod: (sql) => database.prepare(sql),
  })
  return <Row>({ sql, parameters }: Statement<Row>) => {
    const statement = statements.memo(sql)
    const values = parameters.map(encode)
    if (statement.reader) return statement.all(values) as Row[]
    statement.run(values)
    return []
  }
}

/** SQLite has neither dates nor booleans nor lists: it gets milliseconds, 0 or 1, and JSON. */
function encode(value: unknown): unknown {
  if (Array.isArray(value)) return JSON.stringify(value)
  return value instanceof Date || typeof value === 'boolean' ? Number(value) : value
}
