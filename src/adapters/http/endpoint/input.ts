import type { Context } from 'koa'
import * as v from 'valibot'
import { bodyReader, rawBodyOf } from './body.ts'
import type { Endpoint, Request } from './endpoint.ts'
import {
  type Input,
  listNames,
  type ObjectSchema,
  readUnique,
  type Schema,
  throwIfInvalid,
  throwIfNotUtf8,
  validate,
} from './validation.ts'

export type RoutedContext = Context & { readonly params: Readonly<Record<string, string>> }
type ParsedRequest = Omit<Request<unknown, unknown, unknown, unknown, unknown>, 'caller'>
type Reader = (ctx: RoutedContext) => Input

const noInput: Input = { value: undefined, violations: [] }
const readNothing: Reader = () => noInput

/** Returns the parser of an endpoint's requests, which throws InvalidRequest with the violations in all parts. */
export function requestParser({ method, ...endpoint }: Endpoint): (ctx: RoutedContext) => Promise<ParsedRequest> {
  const readParams = paramsReader(endpoint.params)
  const readQuery = endpoint.ignoresQuery ? readNothing : queryReader(endpoint.query)
  const readHeaders = headersReader(endpoint.headers)
  const readBody = endpoint.body && bodyReader(endpoint.body, method)
  return async (ctx) => {
    const params = readParams(ctx)
    const query = readQuery(ctx)
    const headers = readHeaders(ctx)
    const body = readBody ? await readBody(ctx) : noInput
    throwIfInvalid([params, query, headers, body])
    return {
      params: params.value,
      query: query.value,
      headers: headers.value,
      body: body.value,
      rawBody: rawBodyOf(ctx),
    }
  }
}

const unvalidated = (value: unknown): Input => ({ value, violations: [] })

function paramsReader(schema: Schema | undefined): Reader {
  return schema ? ({ params }) => validate(schema, unvalidated(params), 'parameters') : readNothing
}

const noParameters = v.strictObject({})

function queryReader(schema: ObjectSchema = noParameters): Reader {
  const withoutQuery = validate(schema, unvalidated({}), 'parameters')
  const lists = listNames(schema)
  return ({ querystring }) => {
    if (querystring === '') return withoutQuery
    throwIfNotUtf8(querystring)
    return validate(schema, readUnique(querystring, 'parameters', { lists }), 'parameters')
  }
}

function headersReader(schema: ObjectSchema | undefined): Reader {
  return schema ? ({ req }) => validate(schema, unvalidated(req.headers), 'headers') : readNothing
}
