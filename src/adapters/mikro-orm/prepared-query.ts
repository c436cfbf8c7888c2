import { type CompiledQuery, type RawBuilder, sql } from 'kysely'

/** SQL with a value for each of its parameters. */
export interface Statement<Row = unknown> {
  readonly sql: string
  readonly parameters: readonly unknown[]
  /** Exists in the type only. */
  readonly row?: Row
}

/** A query whose SQL is built once; each call binds values. */
export type PreparedQuery<Values, Row> = (values: Values) => Statement<Row>

/** @param build called once with placeholders, which it may use as values in the query but not read */
export function preparedQuery<Values extends object, Row>(
  build: (values: Values) => { compile(): CompiledQuery<Row> },
): PreparedQuery<Values, Row> {
  const placeholders = new Proxy({}, { get: (_, name) => new Placeholder(name) }) as Values
  const { sql, parameters } = build(placeholders).compile()
  return (values) => ({
    sql,
    parameters: parameters.map((parameter) =>
      parameter instanceof Placeholder ? values[parameter.name as keyof Values] : parameter,
    ),
  })
}

class Placeholder {
  readonly name: string | symbol

  constructor(name: string | symbol) {
    this.name = name
  }
}

export const statement = <Row>(sql: string, parameters: readonly unknown[] = []): Statement<Row> => ({
  sql,
  parameters,
})

/** Casts an id or a row count to bigint, so that out-of-range ids match nothing instead of failing. Indexes still apply. */
export const bigint = (value: number): RawBuilder<number> => sql<number>`cast(${value} as bigint)`
