import { STATUS_CODES } from 'node:http'
import { toJsonSchema } from '@valibot/to-json-schema'
import * as v from 'valibot'
import { MAX_API_TOKENS } from '../../../domain/accounts/api-token.ts'
import { SCOPES } from '../../../domain/accounts/caller.ts'
import {
  ApiTokenLimitReached,
  ApiTokenNotFound,
  type DomainError,
  EmailAlreadyTaken,
  type ErrorCode,
  IdempotencyKeyInUse,
  IdempotencyKeyReused,
  InsufficientScope,
  InvalidCredentials,
  InvalidGrant,
  InvalidToken,
  LastAdmin,
  OutcomeUnknown,
  Overloaded,
  RegistrationDisabled,
  RevisionMismatch,
  SessionNotFound,
  SessionRequired,
  StoreUnavailable,
  SyncExpired,
  TaskLimitReached,
  TaskNotFound,
  TooManyRequests,
  UserNotFound,
  WrongPassword,
} from '../../../domain/errors.ts'
import { type AccessPolicy, anyone } from '../endpoint/access.ts'
import { FORM_TYPE, invalidJson, JSON_TYPE, unsupportedType } from '../endpoint/body.ts'
import { type Endpoint, endpoint, limitOf, tags } from '../endpoint/endpoint.ts'
import { mapValues } from '../endpoint/map-values.ts'
import {
  HttpError,
  type HttpErrorCode,
  InvalidRequest,
  MAX_ERRORS,
  type Problem,
  type ProblemCode,
  statusOfCode,
  toProblem,
  withOAuthError,
} from '../endpoint/problems.ts'
import type { BodyResponse, EmptyResponse, StreamResponse } from '../endpoint/reply.ts'
import { type JsonSchema, type Part, type Schema, validate } from '../endpoint/validation.ts'

type Json = Record<string, unknown>

/** The parts of the document that are referenced by name. */
interface Components {
  readonly schemas: Json
  readonly responses: Json
}

export interface About {
  readonly title: string
  readonly version: string
  /** Parent path of login and refresh. */
  readonly authPath: string
}

/** Serves the OpenAPI document of the other endpoints. */
export function openApiEndpoint(about: About, endpoints: readonly Endpoint[]): Endpoint {
  const document = openApiDocument(about, endpoints)
  return endpoint({
    method: 'GET',
    path: '/openapi.json',
    operationId: 'getOpenApi',
    tag: 'Service',
    summary: 'Get the OpenAPI document',
    description: 'Describes every other operation.',
    access: anyone,
    ignoresQuery: true,
    responses: { 200: { description: 'The document.', schema: v.looseObject({}) } },
    errors: [],
    async handle() {
      return { status: 200, body: document }
    },
  })
}

/** The OpenAPI 3.1 document of the endpoints, made from the schemas that validate their requests. */
export function openApiDocument({ title, version, authPath }: About, endpoints: readonly Endpoint[]): Json {
  const components: Components = {
    schemas: { ...problemSchemas },
    responses: {},
  }
  const paths: Record<string, Json> = {}
  const relativePath = authPath.slice('/'.length)
  for (const endpoint of endpoints) {
    paths[endpoint.path] ??= {}
    Object.assign(paths[endpoint.path] as Json, { [endpoint.method.toLowerCase()]: operation(endpoint, components) })
  }
  return {
    openapi: '3.1.1',
    info: {
      title,
      version,
      summary: 'A private list of tasks for each registered user.',
      description:
        'Register, log in, and send the token with each request. Every error is a problem document (RFC 9457).',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    // Relative to the document, so that it also works below a path that a proxy strips.
    servers: [{ url: '.', description: 'This service' }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      ...components,
      headers: commonHeaders,
      securitySchemes: {
        password: {
          type: 'oauth2',
          flows: {
            password: { tokenUrl: `${relativePath}/login`, refreshUrl: `${relativePath}/refresh`, scopes: {} },
          },
        },
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: `An access token (a JWT), or an API token with the scope that the operation lists (${SCOPES.join(', ')}).`,
        },
      },
    },
  }
}

const text = { type: 'string' }
const commonHeaders = {
  'X-Request-Id': {
    description: 'Id of this request in the log. If you send a valid one, the service keeps it.',
    schema: text,
    example: '5f8b9a3e-1c2d-4e6f-8a7b-9c0d1e2f3a4b',
  },
  ETag: { description: 'The current revision of the task, in quotes.', schema: text, example: '"42"' },
  'WWW-Authenticate': { description: 'How to authenticate (RFC 6750).', schema: text, example: 'Bearer' },
  Accept: {
    description: 'Supported media types, if the request used another one.',
    schema: text,
    example: 'application/json',
  },
  'Accept-Patch': {
    description: 'Supported patch formats, if a PATCH used another one (RFC 5789).',
    schema: text,
    example: 'application/json, application/merge-patch+json',
  },
  'Accept-Encoding': {
    description: 'Supported content codings, if the request used another one.',
    schema: text,
    example: 'gzip, deflate, br',
  },
  'Retry-After': {
    description:
      'Seconds to wait before trying again. Absent with `outcome_unknown`, and with every 409 but `idempotency_key_in_use`.',
    schema: { type: 'integer' },
    example: 5,
  },
  RateLimit: {
    description:
      'Remaining requests (`r`), and seconds until the window ends (`t`). Absent if requests are not limited.',
    schema: text,
    example: '"user";r=299;t=60',
  },
  'RateLimit-Policy': {
    description: 'Requests allowed (`q`) in a window of `w` seconds. Absent if requests are not limited.',
    schema: text,
    example: '"user";q=300;w=60',
  },
}
const rateLimitHeaders = ['RateLimit', 'RateLimit-Policy'] as const
const headersOfStatus: { readonly [status: number]: readonly (keyof typeof commonHeaders)[] } = {
  401: ['WWW-Authenticate'],
  412: ['ETag'],
  415: ['Accept', 'Accept-Patch', 'Accept-Encoding'],
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
    detail: { type: 'string', description: 'What is wrong, as a sentence for people.' },
    instance: {
      type: 'string',
      description:
        'The path of the request. Operations share examples, so an example may name the path of another operation.',
    },
    code: {
      type: 'string',
      description: 'What is wrong, as a stable code for programs.',
      enum: Object.keys(statusOfCode),
    },
    errors: {
      type: 'array',
      description:
        'With status 422, the violations in the request, at most 20; for a failed batch, the operation that failed.',
      maxItems: MAX_ERRORS,
      items: {
        type: 'object',
        required: ['code', 'detail'],
        oneOf: [{ required: ['pointer'] }, { required: ['parameter'] }, { required: ['header'] }],
        properties: {
          pointer: {
            type: 'string',
            description: 'JSON Pointer into the body (RFC 6901); names are cut after 100 characters.',
          },
          parameter: { type: 'string', description: 'Name of the path or query parameter; cut after 100 characters.' },
          header: { type: 'string', description: 'Name of the header, in lower case.' },
          code: { type: 'string', description: 'Stable code of the violated rule.' },
          detail: { type: 'string', description: 'What the value must be.' },
        },
      },
    },
  },
}

const withErrors = {
  ...problemSchema,
  description: 'Problem details (RFC 9457) with each violation in the request.',
  required: [...problemSchema.required, 'errors'],
}

/** @returns a schema that also has the members of an OAuth error (RFC 6749, section 5.2) */
const forOAuth = ({ description, required, properties }: typeof problemSchema) => ({
  type: 'object',
  description: `${description} It is also an OAuth error (RFC 6749, section 5.2).`,
  required: [...required, 'error', 'error_description'],
  properties: {
    ...properties,
    error: { type: 'string', enum: ['invalid_grant', 'invalid_request'] },
    error_description: { type: 'string', description: 'Same as `detail`.' },
  },
})

const problemSchemas = {
  Problem: problemSchema,
  InvalidInputProblem: withErrors,
  OAuthProblem: forOAuth(problemSchema),
  InvalidInputOAuthProblem: forOAuth(withErrors),
}

/** The schemes and the scope that an operation needs, and a sentence that says so. */
function securityOf({ needs }: AccessPolicy): { readonly security: readonly Json[]; readonly sentence: string } {
  if (needs === 'nothing') return { security: [], sentence: '' }
  if (typeof needs === 'object') {
    const { scope } = needs
    return {
      security: [{ password: [] }, { bearer: [scope] }],
      sentence: ` An API token needs the scope \`${scope}\`.`,
    }
  }
  const forAdmins = needs === 'admin' ? ' Returns 404 to users who are not admins.' : ''
  return { security: [{ password: [] }, { bearer: [] }], sentence: `${forAdmins} API tokens are refused.` }
}

function operation(endpoint: Endpoint, components: Components): Json {
  const { operationId, tag, summary, description, access, params, query, headers, body } = endpoint
  const { security, sentence } = securityOf(access)
  return {
    operationId,
    tags: [tag],
    summary,
    description: description + sentence,
    security,
    parameters: [...parameters('path', params), ...parameters('query', query), ...parameters('header', headers)],
    ...(body && { requestBody: { required: true, content: content(body.types, body.schema, components) } }),
    responses: { ...successes(endpoint, components), ...failures(endpoint, components) },
  }
}

/** Unknown fields of a form are ignored (RFC 6749, section 3.2); unknown members of JSON are not. */
function bodySchema(type: string, schema: Schema): JsonSchema {
  const json = convert(schema)
  const { propertyNames, additionalProperties, ...open } = json
  return type === FORM_TYPE ? { ...open, title: `${json.title}Form` } : json
}

function parameters(place: 'path' | 'query' | 'header', schema: Schema | undefined): Json[] {
  if (!schema) return []
  const { properties = {}, required = [] } = convert(schema)
  return Object.entries(properties).map(([name, { description, examples, ...property }]) => ({
    name,
    in: place,
    required: required.includes(name),
    ...(description !== undefined && { description }),
    ...parameterSchema(property, examples, required.includes(name)),
  }))
}

/** Swagger UI sends a parameter's `example` but only shows the `examples` of its schema, so optional parameters use these. */
function parameterSchema(schema: JsonSchema, examples: JsonSchema['examples'], isRequired: boolean): Json {
  if (!examples) return { schema }
  return isRequired ? { schema, example: examples[0] } : { schema: { ...schema, examples } }
}

/** A body in each of its media types. */
function content(types: readonly string[], schema: Schema, components: Components): Json {
  const mediaTypes = types.map((type) => {
    const json = bodySchema(type, schema)
    return [type, { schema: extractComponents(json, components), example: exampleOf(json) }]
  })
  return Object.fromEntries(mediaTypes)
}

/** The example of a schema, or one composed of the examples of its parts. */
function exampleOf({ examples, items, properties = {} }: JsonSchema): unknown {
  if (examples) return examples[0]
  if (items) return [exampleOf(items)]
  const members = Object.entries(properties).filter(([, { examples }]) => examples)
  return Object.fromEntries(members.map(([name, member]) => [name, exampleOf(member)]))
}

function successes(endpoint: Endpoint, components: Components): Json {
  const common = headerReferences(['X-Request-Id', ...(limitOf(endpoint) ? rateLimitHeaders : [])])
  const documented = Object.entries(endpoint.responses).map(([status, response]) => {
    const declared = Object.entries(response.headers ?? {}).map(([name, header]) => [name, { ...header, schema: text }])
    const headers = { ...common, ...Object.fromEntries(declared) }
    return [status, { description: response.description, headers, ...responseContent(response, components) }]
  })
  return Object.fromEntries(documented)
}

type SuccessResponse = BodyResponse | StreamResponse | EmptyResponse

function responseContent({ schema, mediaType, example }: SuccessResponse, components: Components): Json {
  if (schema) return { content: content(['application/json'], schema, components) }
  return mediaType ? { content: { [mediaType]: { schema: text, example } } } : {}
}

/** The declared errors of an endpoint, and those that follow from its access, limit, parameters and body. */
function codesOf(endpoint: Endpoint): ProblemCode[] {
  const { access, body, headers, ignoresQuery, errors } = endpoint
  return [
    ...(body ? (['malformed_body', 'body_too_large', 'unsupported_media_type'] as const) : []),
    ...access.errors,
    ...(limitOf(endpoint) ? (['too_many_requests'] as const) : []),
    ...errors,
    ...(ignoresQuery && !headers ? [] : (['invalid_input'] as const)),
    'malformed_host',
    'internal_error',
    'unsupported_transfer_coding',
  ]
}

/** The errors with one status form a component named after their codes; endpoints with the same codes share the component. */
function failures(endpoint: Endpoint, { responses }: Components): Json {
  const codesOfStatus = Map.groupBy(codesOf(endpoint), (code) => statusOfCode[code])
  const path = examplePath(endpoint)
  const references = [...codesOfStatus].map(([status, codes]) => {
    const examples = codes.map((code) => [code, exampleProblem(code, endpoint, path)] as const)
    const isOAuth = examples.every(([, problem]) => problem.error)
    const asJson = isOAuth && status === 400 && endpoint.oauthErrors === 'json'
    const name = codes.map((code) => componentName(code, endpoint)).join('Or') + (isOAuth ? 'ForOAuth' : '')
    const violations = codes.every((code) => code === 'invalid_input') ? 'InvalidInput' : ''
    const schema: keyof typeof problemSchemas = `${violations}${isOAuth ? 'OAuth' : ''}Problem`
    responses[name] ??= {
      description: `${STATUS_CODES[status]}: ${codes.map((code) => `\`${code}\``).join(', ')}.`,
      headers: headerReferences(['X-Request-Id', ...rateLimitHeaders, ...errorHeaders(status, codes)]),
      content: Object.fromEntries(
        // As `application/json` as well, for clients that accept no other type (RFC 6749, section 5.2).
        ['application/problem+json', ...(asJson ? [JSON_TYPE] : [])].map((type) => [
          type,
          {
            schema: { $ref: `#/components/schemas/${schema}` },
            examples: Object.fromEntries(examples.map(([code, value]) => [code, { value }])),
          },
        ]),
      ),
    }
    return [status, { $ref: `#/components/responses/${name}` }]
  })
  return Object.fromEntries(references)
}

const headersOfCode: { readonly [code in ProblemCode]?: readonly (keyof typeof commonHeaders)[] } = {
  idempotency_key_in_use: ['Retry-After'],
  insufficient_scope: ['WWW-Authenticate'],
}

const errorHeaders = (status: number, codes: readonly ProblemCode[]) => [
  ...(headersOfStatus[status] ?? []),
  ...codes.flatMap((code) => headersOfCode[code] ?? []),
]

/** `invalid_input` has two components, because a violation is in the body or in a parameter. */
function componentName(code: ProblemCode, { body }: Endpoint): string {
  if (code === 'invalid_input') return body ? 'InvalidBody' : 'InvalidParameter'
  return code.replaceAll(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase())
}

/** One error for each code of the domain. */
const domainErrors: Readonly<Record<Exclude<ErrorCode, 'invalid_input'>, DomainError>> = {
  invalid_grant: new InvalidGrant(),
  invalid_credentials: new InvalidCredentials(),
  invalid_token: new InvalidToken(),
  insufficient_scope: new InsufficientScope('tasks:write'),
  session_required: new SessionRequired(),
  wrong_password: new WrongPassword(),
  registration_disabled: new RegistrationDisabled(),
  task_not_found: new TaskNotFound(),
  session_not_found: new SessionNotFound(),
  api_token_not_found: new ApiTokenNotFound(),
  user_not_found: new UserNotFound(),
  email_taken: new EmailAlreadyTaken(),
  last_admin: new LastAdmin(),
  api_token_limit_reached: new ApiTokenLimitReached(MAX_API_TOKENS),
  task_limit_reached: new TaskLimitReached(100_000),
  idempotency_key_reused: new IdempotencyKeyReused(),
  idempotency_key_in_use: new IdempotencyKeyInUse(),
  revision_mismatch: new RevisionMismatch(42),
  sync_expired: new SyncExpired(),
  too_many_requests: new TooManyRequests(5),
  store_unavailable: new StoreUnavailable(undefined),
  outcome_unknown: new OutcomeUnknown(undefined),
  overloaded: new Overloaded(),
}

/** The violation that every endpoint can report: an unknown member or parameter. */
const unknownNames = { body: unknownName('body'), parameters: unknownName('parameters') }

function unknownName(part: Part): InvalidRequest {
  return new InvalidRequest(
    validate(v.strictObject({}), { value: { no_such_name: 1 }, violations: [] }, part).violations,
  )
}

/** The problem as the endpoint returns it. */
function exampleProblem(code: ProblemCode, endpoint: Endpoint, instance: string): Problem {
  const { problem } = toProblem(exampleError(code, endpoint), instance)
  return endpoint.oauthErrors ? withOAuthError(problem) : problem
}

function exampleError(code: ProblemCode, { method, body }: Endpoint): Error {
  switch (code) {
    case 'invalid_input':
      return unknownNames[body ? 'body' : 'parameters']
    case 'malformed_body':
      return invalidJson()
    case 'unsupported_media_type':
      return unsupportedType(method, body?.types ?? [])
    default:
      return domainErrors[code as keyof typeof domainErrors] ?? new HttpError(code as HttpErrorCode)
  }
}

/** The path with the examples of its parameters. */
function examplePath({ path, params }: Endpoint): string {
  const { properties = {} } = params ? convert(params) : {}
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(properties[name]?.examples?.[0]))
}

function headerReferences(names: readonly (keyof typeof commonHeaders)[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
}

function convert(schema: Schema): JsonSchema {
  const { $schema, ...json } = toJsonSchema(schema, {
    target: 'draft-2020-12',
    typeMode: 'input',
    ignoreActions: ['check'],
    overrideSchema: ({ jsonSchema }) => withTypes(withoutReadOnly(jsonSchema)) as typeof jsonSchema,
  }) as Json
  return json
}

/** Client generators need the type of a constant. */
function withTypes(schema: object): object {
  return 'const' in schema ? { type: typeof schema.const, ...schema } : schema
}

/** Omits read-only members: they are accepted, but tools would fill in members that the schema lists. */
function withoutReadOnly(schema: object): object {
  const { additionalProperties, properties = {}, ...rest } = schema as JsonSchema
  const names = Object.keys(properties)
  const writable = names.filter((name) => !properties[name]?.readOnly)
  if (writable.length === names.length) return schema
  return {
    ...rest,
    properties: Object.fromEntries(writable.map((name) => [name, properties[name] ?? {}])),
    propertyNames: { type: 'string', enum: names },
  }
}

/** Moves each titled schema to the components and replaces it with a reference. */
function extractComponents({ title, ...rest }: JsonSchema, components: Components): JsonSchema {
  const extract = (part: JsonSchema) => extractComponents(part, components)
  const { items, properties, anyOf, oneOf } = rest
  const schema = {
    ...rest,
    ...(items && { items: extract(items) }),
    ...(properties && { properties: mapValues(properties, extract) }),
    ...(anyOf && { anyOf: anyOf.map(extract) }),
    ...(oneOf && { oneOf: oneOf.map(extract) }),
  }
  if (title === undefined) return schema
  components.schemas[title] = schema
  return { $ref: `#/components/schemas/${title}` }
}
