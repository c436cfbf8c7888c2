import { type CompiledQuery, type RawBuilder, sql } from 'kysely'

/** SQL with a value for each of its parameters. */
export interface Statement<Row = unknown> {
  readonly sql: string
  readonly parameters: readonly unknown[]
  /** Only a type: what it gives. */
  readonly row?: Row
}

/** A query whose SQL is built once; each call only brings the values. */
export type PreparedQuery<Values, Row> = (values: Values) => Statement<Row>

/** @param build is called once, with a stand-in for each value: it may place them in the query, not look at them. */
export function prepare<Values extends object, Row>(
  build: (values: Values) => { compile(): CompiledQuery<Row> },
): PreparedQuery<Values, Row> {
  const standIns = new Proxy({}, { get: (_, name) => new StandIn(name) }) as Values
  const { sql, parameters } = build(standIns).compile()
  return (values) => ({
    sql,
    parameters: parameters.map((parameter) =>
      parameter instanceof StandIn ? values[parameter.name as keyof Values] : parameter,
    ),
  })
}

class StandIn {
  readonly name: string | symbol

  constructor(name: string | symbol) {
    this.name = name
  }
}

export const statement = <Row>(sql: string, parameters: readonly unknown[] = []): Statement<Row> => ({
  sql,
  parameters,
})

/**
 * An id or a number of rows. Ids on PostgreSQL have four bytes, and it refuses a larger number where it expects one;
 * compared as eight bytes it is an id that no row has, and the index serves it all the same.
 */
export const wide = (value: number): RawBuilder<number> => sql<number>`cast(${value} as bigint)`
