import { type CompiledQuery, type Kysely, type RawBuilder, sql } from 'kysely'
import type { Tables } from './records.ts'

/** A query whose SQL is built once; each call only brings the values. */
export type PreparedQuery<Values, Row> = (database: Kysely<Tables>, values: Values) => Promise<Row[]>

/** Runs a query and gives its rows. */
export type Run = <Values, Row>(query: PreparedQuery<Values, Row>, values: Values) => Promise<Row[]>

/** @param build is called once, with a stand-in for each value: it may place them in the query, not look at them. */
export function prepare<Values extends object, Row>(
  build: (values: Values) => { compile(): CompiledQuery<Row> },
): PreparedQuery<Values, Row> {
  const standIns = new Proxy({}, { get: (_, name) => new StandIn(name) }) as Values
  const compiled = build(standIns).compile()
  return async (database, values) => {
    const parameters = compiled.parameters.map((parameter) =>
      parameter instanceof StandIn ? values[parameter.name as keyof Values] : parameter,
    )
    const { rows } = await database.executeQuery<Row>({ ...compiled, parameters })
    return rows
  }
}

class StandIn {
  readonly name: string | symbol

  constructor(name: string | symbol) {
    this.name = name
  }
}

/**
 * An id or a number of rows. Ids on PostgreSQL have four bytes, and it refuses a larger number where it expects one;
 * compared as eight bytes it is an id that no row has, and the index serves it all the same.
 */
export const wide = (value: number): RawBuilder<number> => sql<number>`cast(${value} as bigint)`
