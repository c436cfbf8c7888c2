import { STATUS_CODES } from 'node:http'
import { toJsonSchema } from '@valibot/to-json-schema'
import { acceptHeaderOf, type BodyType, FORM_TYPE } from './body.ts'
import type { Endpoint } from './endpoint.ts'
import { MAX_ERRORS, type ProblemCode, statusOfCode } from './problems.ts'
import type { JsonSchema, Schema } from './validation.ts'

type Json = Record<string, unknown>

export interface About {
  readonly title: string
  readonly version: string
  /** Where a password form gets a token. */
  readonly loginPath: string
}

/** The OpenAPI 3.1 document of the endpoints, made from the schemas that judge their requests. */
export function openApiDocument({ title, version, loginPath }: About, endpoints: readonly Endpoint[]): Json {
  const components: Json = { Problem: problemSchema }
  const paths: Record<string, Json> = {}
  for (const endpoint of endpoints) {
    paths[endpoint.path] ??= {}
    Object.assign(paths[endpoint.path] as Json, { [endpoint.method.toLowerCase()]: operation(endpoint, components) })
  }
  return {
    openapi: '3.1.1',
    info: {
      title,
      version,
      summary: 'A private list of tasks for everybody who registers.',
      description:
        'Register, log in, and send the token with each request. Every error is a problem document (RFC 9457).',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    // Relative to the document, so that it is right below a path that a proxy strips.
    servers: [{ url: '.', description: 'Where this document comes from.' }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      schemas: components,
      headers: commonHeaders,
      securitySchemes: {
        password: { type: 'oauth2', flows: { password: { tokenUrl: loginPath.slice('/'.length), scopes: {} } } },
        bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
      },
    },
  }
}

/** What each group of endpoints is about. */
export const tags = {
  Accounts: 'Register, log in, and see who you are.',
  Tasks: 'Your tasks; nobody else sees or touches them.',
  Service: 'The service itself.',
}

const text = { type: 'string' }
const commonHeaders = {
  'X-Request-Id': { description: 'Names this request in the log; one that was sent is kept.', schema: text },
  'WWW-Authenticate': { description: 'How to authenticate (RFC 6750).', schema: text },
  Accept: { description: 'The supported media types, when another was sent.', schema: text },
  'Accept-Patch': { description: 'The supported patch formats, when another was sent (RFC 5789).', schema: text },
  'Accept-Encoding': { description: 'The supported content codings, when another was sent.', schema: text },
  'Retry-After': {
    description: 'Seconds to wait before the next try. Absent with `outcome_unknown`.',
    schema: { type: 'integer' },
  },
  RateLimit: { description: 'How many requests are left, and the seconds until there are more.', schema: text },
  'RateLimit-Policy': { description: 'How many requests there may be in so many seconds.', schema: text },
}
const headersOfStatus: { readonly [status: number]: readonly (keyof typeof commonHeaders)[] } = {
  401: ['WWW-Authenticate'],
  415: ['Accept-Encoding'],
  429: ['Retry-After'],
  503: ['Retry-After'],
}

const problemSchema = {
  type: 'object',
  description: 'Problem details (RFC 9457).',
  required: ['type', 'title', 'status', 'detail', 'instance', 'code'],
  properties: {
    type: { type: 'string', const: 'about:blank' },
    title: text,
    status: { type: 'integer', minimum: 400, maximum: 599 },
    detail: { type: 'string', description: 'What is wrong, for a person.' },
    instance: { type: 'string', description: 'The path of the request.' },
    code: { type: 'string', description: 'What is wrong, for a program.', enum: Object.keys(statusOfCode) },
    errors: {
      type: 'array',
      description: 'The mistakes in the request, up to the twentieth, with status 422.',
      maxItems: MAX_ERRORS,
      items: {
        type: 'object',
        required: ['code', 'detail'],
        oneOf: [{ required: ['pointer'] }, { required: ['parameter'] }],
        properties: {
          pointer: {
            type: 'string',
            description: 'Where in the body: a JSON Pointer (RFC 6901); a name of more than 100 characters is cut.',
          },
          parameter: { type: 'string', description: 'Which parameter of the path or the query.' },
          code: { type: 'string', description: 'The rule that is broken, for a program.' },
          detail: { type: 'string', description: 'What the value must be, for a person.' },
        },
      },
    },
  },
}

function operation(endpoint: Endpoint, components: Json): Json {
  const { operationId, tag, summary, description, access, params, query, body } = endpoint
  return {
    operationId,
    tags: [tag],
    summary,
    description,
    security: access === 'user' ? [{ password: [] }, { bearer: [] }] : [],
    parameters: [...parameters('path', params), ...parameters('query', query)],
    ...(body && {
      requestBody: {
        required: true,
        content: Object.fromEntries(
          body.types.map((type) => [type, { schema: hoist(bodySchema(type, body.schema), components) }]),
        ),
      },
    }),
    responses: { ...success(endpoint, components), ...failures(endpoint) },
  }
}

/** Unknown fields of a form are ignored (RFC 6749, section 3.2); unknown members of JSON are not. */
function bodySchema(type: BodyType, schema: Schema): Json {
  const json = convert(schema)
  const { propertyNames, additionalProperties, ...open } = json
  return type === FORM_TYPE ? { ...open, title: `${json.title}Form` } : json
}

function parameters(place: 'path' | 'query', schema: Schema | undefined): Json[] {
  if (!schema) return []
  const { properties = {}, required = [] } = convert(schema) as {
    properties?: Record<string, Json>
    required?: string[]
  }
  return Object.entries(properties).map(([name, { description, ...property }]) => ({
    name,
    in: place,
    required: required.includes(name),
    ...(description !== undefined && { description }),
    schema: property,
  }))
}

/** What an answer may carry, whatever its status. */
const headersOf = ({ limit }: Endpoint): readonly (keyof typeof commonHeaders)[] =>
  limit ? ['X-Request-Id', 'RateLimit', 'RateLimit-Policy'] : ['X-Request-Id']

function success(endpoint: Endpoint, components: Json): Json {
  const { response } = endpoint
  const { status, description, schema, headers = {} } = response
  const own = Object.entries(headers).map(([name, holds]) => [name, { description: holds, schema: text }])
  return {
    [status]: {
      description,
      headers: { ...headerReferences(headersOf(endpoint)), ...Object.fromEntries(own) },
      ...(schema && { content: { 'application/json': { schema: hoist(convert(schema), components) } } }),
    },
  }
}

/** The errors of an endpoint: its own, and those that follow from what it takes. */
function codesOf({ access, limit, body, ignoresQuery, errors }: Endpoint): ProblemCode[] {
  return [
    ...(body ? (['malformed_body', 'body_too_large', 'unsupported_media_type'] as const) : []),
    ...(access === 'user' ? (['not_authenticated', 'invalid_token', 'store_unavailable'] as const) : []),
    ...(limit ? (['too_many_requests'] as const) : []),
    ...errors,
    ...(ignoresQuery ? [] : (['invalid_input'] as const)),
    'malformed_host',
    'internal_error',
    'unsupported_transfer_coding',
  ]
}

function failures(endpoint: Endpoint): Json {
  const codes = Map.groupBy(codesOf(endpoint), (code) => statusOfCode[code])
  const answers = [...codes].map(([status, codes]) => [
    status,
    {
      description: `${STATUS_CODES[status]}: ${codes.map((code) => `\`${code}\``).join(', ')}.`,
      headers: headerReferences([
        ...headersOf(endpoint),
        ...(headersOfStatus[status] ?? []),
        ...(status === 415 ? ([acceptHeaderOf(endpoint.method)] as const) : []),
      ]),
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    },
  ])
  return Object.fromEntries(answers)
}

function headerReferences(names: readonly (keyof typeof commonHeaders)[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
}

function convert(schema: Schema): Json {
  const { $schema, ...json } = toJsonSchema(schema, {
    target: 'draft-2020-12',
    typeMode: 'input',
    ignoreActions: ['check'],
    overrideSchema: ({ jsonSchema }) => withTypes(withoutReadOnly(jsonSchema)) as typeof jsonSchema,
  }) as Json
  return json
}

/** Generators need a type beside a constant. */
function withTypes(schema: object): object {
  return 'const' in schema ? { type: typeof schema.const, ...schema } : schema
}

/** Read-only members may be sent, but are not offered: generators and importers would fill them in. */
function withoutReadOnly(schema: object): object {
  const { additionalProperties, properties = {}, ...rest } = schema as JsonSchema
  const names = Object.keys(properties)
  const offered = names.filter((name) => !properties[name]?.readOnly)
  if (offered.length === names.length) return schema
  return {
    ...rest,
    properties: Object.fromEntries(offered.map((name) => [name, properties[name] ?? {}])),
    propertyNames: { type: 'string', enum: names },
  }
}

/** Moves each titled schema among the components, where it has a name, and leaves a reference to it. */
function hoist(schema: JsonSchema, components: Json): Json {
  const { title, ...rest } = schema
  const hoisted = Object.fromEntries(
    Object.entries(rest).map(([key, value]) => [key, key === 'items' ? hoist(value as JsonSchema, components) : value]),
  )
  if (typeof title !== 'string') return hoisted
  components[title] = hoisted
  return { $ref: `#/components/schemas/${title}` }
}
