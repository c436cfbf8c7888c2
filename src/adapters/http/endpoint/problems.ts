import { STATUS_CODES } from 'node:http'
import {
  DomainError,
  type ErrorCode,
  type ErrorKind,
  errorKinds,
  InsufficientScope,
  InvalidInput,
  RevisionMismatch,
  TooManyRequests,
} from '../../../domain/errors.ts'
import { strongTag } from './conditional.ts'
import { mapValues } from './map-values.ts'

const statusOfKind = {
  invalid: 422,
  'invalid-grant': 400,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  conflict: 409,
  gone: 410,
  'precondition-failed': 412,
  'too-many': 429,
  unavailable: 503,
} as const satisfies Record<ErrorKind, number>

/** The errors that HTTP adds to those of the domain. */
const httpErrors = {
  invalid_request: { status: 400, detail: 'A required parameter is missing.' },
  malformed_body: { status: 400, detail: 'The body could not be parsed as its Content-Type.' },
  malformed_host: {
    status: 400,
    detail: 'The request must have exactly one Host header: a host and optionally a port.',
  },
  malformed_target: { status: 400, detail: 'The request target is neither a path nor a URL.' },
  not_authenticated: {
    status: 401,
    detail: 'An access token or an API token is required: send it as "Authorization: Bearer <token>".',
  },
  route_not_found: { status: 404, detail: 'There is no such path.' },
  method_not_allowed: {
    status: 405,
    detail: 'This path does not support the method; the Allow header lists the supported methods.',
  },
  body_too_large: { status: 413, detail: 'The body has more than 1,048,576 bytes.' },
  unsupported_media_type: {
    status: 415,
    detail: 'The media type or content coding of the body is not supported.',
  },
  unsupported_transfer_coding: { status: 501, detail: 'The only supported transfer coding is chunked.' },
  store_too_slow: { status: 503, detail: 'The database did not respond in time.' },
  schema_outdated: { status: 503, detail: 'The schema of the database is older than this release needs.' },
  shutting_down: { status: 503, detail: 'This instance is shutting down.' },
  internal_error: { status: 500, detail: 'The service failed; its log has the cause under the X-Request-Id.' },
} as const

export type HttpErrorCode = keyof typeof httpErrors
/** Every `code` that a problem can carry. */
export type ProblemCode = ErrorCode | HttpErrorCode

/** The status of each code. */
export const statusOfCode = {
  ...mapValues(errorKinds, (kind) => statusOfKind[kind]),
  ...mapValues(httpErrors, ({ status }) => status),
} as Readonly<Record<ProblemCode, number>>

type Headers = Readonly<Record<string, string>>

/** A violation in a request: its place and what the value must be, never the value. */
export type InputError = { readonly code: string; readonly detail: string } & (
  | { /** JSON Pointer into the body (RFC 6901). */ readonly pointer: string }
  | { /** Name of a query or path parameter. */ readonly parameter: string }
  | { /** Name of a header, in lower case. */ readonly header: string }
)

/** An error that HTTP adds to those of the domain. */
export class HttpError extends Error {
  readonly code: HttpErrorCode
  readonly headers: Headers

  constructor(code: HttpErrorCode, headers: Headers = {}, detail: string = httpErrors[code].detail) {
    super(detail)
    this.code = code
    this.headers = headers
  }
}

/** Maximum number of violations in a response. */
export const MAX_ERRORS = 20

/** The violations in all parts of a request, at most MAX_ERRORS. */
export class InvalidRequest extends InvalidInput {
  readonly errors: readonly InputError[]

  constructor(errors: readonly InputError[]) {
    super([])
    this.errors = errors.slice(0, MAX_ERRORS)
  }
}

/** Problem details (RFC 9457). */
export interface Problem {
  readonly type: 'about:blank'
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly instance: string
  readonly code: ProblemCode
  readonly errors?: readonly InputError[]
  /** See `OAuthError`. */
  readonly error?: OAuthError['error']
  readonly error_description?: string
}

/** The members of an error of a token endpoint (RFC 6749, section 5.2). */
export interface OAuthError {
  readonly error: 'invalid_grant' | 'invalid_request'
  readonly error_description: string
}

const GRANT_CODES: ReadonlySet<ProblemCode> = new Set(['invalid_grant', 'invalid_credentials'])
const REQUEST_STATUSES: ReadonlySet<number> = new Set([400, 422])

/** Adds the members of OAuth to a problem that has an equivalent there. */
export function withOAuthError(problem: Problem): Problem {
  const { code, status, detail } = problem
  if (GRANT_CODES.has(code)) return { ...problem, error: 'invalid_grant', error_description: detail }
  return REQUEST_STATUSES.has(status) ? { ...problem, error: 'invalid_request', error_description: detail } : problem
}

/** Seconds; a guess, because the service cannot know when a retry will succeed. */
const RETRY_AFTER = '5'

const headersOf: { readonly [code in ProblemCode]?: Headers } = {
  not_authenticated: { 'WWW-Authenticate': 'Bearer' },
  invalid_credentials: { 'WWW-Authenticate': 'Bearer' },
  invalid_token: { 'WWW-Authenticate': 'Bearer error="invalid_token"' },
  idempotency_key_in_use: { 'Retry-After': RETRY_AFTER },
  store_unavailable: { 'Retry-After': RETRY_AFTER },
  store_too_slow: { 'Retry-After': RETRY_AFTER },
  schema_outdated: { 'Retry-After': RETRY_AFTER },
  shutting_down: { 'Retry-After': RETRY_AFTER },
  overloaded: { 'Retry-After': RETRY_AFTER },
}

const UNSATISFIABLE =
  'No task can meet this condition: If-Match must be the ETag of the task, in quotes; If-None-Match must not be *.'

/**
 * Maps an error to its problem document and headers. An unknown error is an `internal_error`.
 *
 * @param instance path of the request, without the query
 */
export function toProblem(error: unknown, instance: string): { readonly problem: Problem; readonly headers: Headers } {
  const known = error instanceof DomainError || error instanceof HttpError ? error : new HttpError('internal_error')
  const status = statusOfCode[known.code]
  return {
    problem: {
      type: 'about:blank',
      title: STATUS_CODES[status] ?? '',
      status,
      detail: known instanceof RevisionMismatch && !known.satisfiable ? UNSATISFIABLE : known.message,
      instance,
      code: known.code,
      ...(known instanceof DomainError && errorsOf(known)),
    },
    headers: {
      ...headersOf[known.code],
      ...(known instanceof HttpError && known.headers),
      ...(known instanceof InsufficientScope && {
        'WWW-Authenticate': `Bearer error="insufficient_scope", scope="${known.scope}"`,
      }),
      ...(known instanceof RevisionMismatch && known.operation === undefined && { ETag: strongTag(known.revision) }),
      ...(known instanceof TooManyRequests && { 'Retry-After': String(known.retryAfter) }),
    },
  }
}

function errorsOf(error: DomainError): Pick<Problem, 'errors'> {
  const { operation, code, message: detail } = error
  const place = operation === undefined ? '' : `/operations/${operation}`
  if (error instanceof InvalidRequest) return { errors: error.errors }
  if (error instanceof InvalidInput) {
    return { errors: error.violations.map(({ member, ...rule }) => ({ pointer: `${place}/${member}`, ...rule })) }
  }
  return operation === undefined ? {} : { errors: [{ pointer: place, code, detail }] }
}
