import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { AssertionError } from 'chai'

/** A response as received. */
export interface Answer {
  readonly status: number
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly text: string
}

interface MediaType {
  readonly schema: object
  readonly example?: unknown
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>
}
interface Content {
  readonly content?: Readonly<Record<string, MediaType>>
}
interface Header {
  readonly description: string
  readonly schema: object
  readonly example?: unknown
}
interface Reference {
  readonly $ref: string
}
export interface DocumentedResponse extends Content {
  readonly description: string
  readonly headers?: Readonly<Record<string, Header | Reference>>
}
interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query'
  readonly schema: object & { readonly examples?: readonly unknown[] }
  readonly example?: unknown
}
interface Operation {
  readonly operationId: string
  readonly summary?: string
  readonly description?: string
  readonly security: readonly object[]
  readonly parameters: readonly Parameter[]
  readonly requestBody?: Content
  readonly responses: Readonly<Record<string, DocumentedResponse | Reference>>
}
/** The parts of an OpenAPI 3.1 document that the specs read. */
export interface OpenApi {
  readonly openapi: string
  readonly servers: readonly { readonly url: string }[]
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: {
    readonly schemas: Readonly<Record<string, unknown>>
    readonly responses: Readonly<Record<string, DocumentedResponse>>
    readonly headers: Readonly<Record<string, Header>>
    readonly securitySchemes: Readonly<Record<string, { readonly type: string; readonly flows?: unknown }>>
  }
}

const PROBLEM = ['components', 'schemas', 'Problem']

/** Statuses of unknown paths and of the documentation pages, which the document does not list. */
const UNDOCUMENTED = new Set([400, 404, 405, 422, 500])

/** Headers that a response may have only if the document lists them. */
const DOCUMENTED_HEADERS = [
  ...[
    'X-Accel-Buffering',
    'Content-Disposition',
    'ETag',
    'Idempotency-Replayed',
    'Location',
    'Link',
    'X-Total-Count',
    'WWW-Authenticate',
    'Retry-After',
    'RateLimit',
    'RateLimit-Policy',
  ],
  ...['Accept', 'Accept-Patch', 'Accept-Encoding'],
]

/**
 * Checks responses against the OpenAPI document. Also rejects members that the document does not list: its response
 * schemas are open, so that clients accept members added later.
 */
export class Documented {
  readonly document: OpenApi
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true })
  readonly #templates: readonly { readonly template: string; readonly form: RegExp }[]

  constructor(document: OpenApi) {
    this.document = document
    addFormats.default(this.#ajv)
    this.#ajv.addSchema(document, 'requests')
    this.#ajv.addSchema(closed(document) as object, 'answers')
    this.#templates = Object.keys(document.paths).map((template) => ({
      template,
      form: new RegExp(`^${template.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
    }))
  }

  /**
   * @param target path and query of the request
   * @throws AssertionError when the document does not describe the response
   */
  check(method: string, target: string, answer: Answer): void {
    const described = `${method} ${target} → ${answer.status} ${answer.headers['content-type'] ?? ''}`
    const [path = ''] = target.split('?')
    // A concrete path precedes a template (OpenAPI 3.1, Path Templating Matching).
    const isConcrete = this.document.paths[path] !== undefined
    const template = isConcrete ? path : this.#templates.find(({ form }) => form.test(path))?.template
    const pathItem = template === undefined ? undefined : this.document.paths[template]
    const name = method === 'HEAD' ? 'get' : method.toLowerCase()

    if (template !== undefined && pathItem?.[name]) {
      this.#checkOperation(described, template, name, method, answer)
    } else if (pathItem ? answer.status === 405 : UNDOCUMENTED.has(answer.status)) {
      this.#checkBody(described, 'application/problem+json', PROBLEM, method, answer)
    } else if (!(isPage(path, answer) || isPreflight(method, answer))) {
      throw new AssertionError(`${described}: this is not in the document`)
    }
  }

  /** Whether the request schema of an operation accepts the body. */
  accepts(template: string, method: string, type: string, body: unknown): boolean {
    const pointer = ['paths', template, method.toLowerCase(), 'requestBody', 'content', type, 'schema']
    return this.#schema('requests', `${method} ${template}`, pointer)(body) === true
  }

  /**
   * Whether a value matches a schema and has no other members.
   *
   * @param pointer the unescaped tokens of the JSON Pointer to the schema
   */
  matches(pointer: readonly string[], value: unknown): boolean {
    return this.#schema('answers', pointer.join(' → '), pointer)(value) === true
  }

  /** @returns undefined when the document does not list the status */
  response(
    template: string,
    method: string,
    status: number,
  ): (DocumentedResponse & { pointer: readonly string[] }) | undefined {
    const name = method.toLowerCase()
    const response = this.document.paths[template]?.[name]?.responses[status]
    if (!(response && '$ref' in response))
      return response && { ...response, pointer: ['paths', template, name, 'responses', String(status)] }
    const pointer = response.$ref.split('/').slice(1)
    const component = this.document.components.responses[pointer.at(-1) ?? '']
    return component && { ...component, pointer }
  }

  #checkOperation(described: string, template: string, name: string, method: string, answer: Answer): void {
    const response = this.response(template, name, answer.status)
    if (!response) throw new AssertionError(`${described}: this status is not in the document`)
    for (const header of DOCUMENTED_HEADERS) {
      if (answer.headers[header.toLowerCase()] !== undefined && response.headers?.[header] === undefined)
        throw new AssertionError(`${described}: the header ${header} is not in the document`)
    }
    if (!response.content) {
      if (answer.text !== '' || answer.headers['content-type'] !== undefined)
        throw new AssertionError(`${described}: the document lists no body`)
      return
    }
    const type = Object.keys(response.content).find((each) => each === mediaType(answer))
    if (type === undefined) throw new AssertionError(`${described}: this type is not in the document`)
    this.#checkBody(described, type, [...response.pointer, 'content', type, 'schema'], method, answer)
  }

  #checkBody(described: string, type: string, pointer: readonly string[], method: string, answer: Answer): void {
    if (mediaType(answer) !== type) throw new AssertionError(`${described}: expected ${type}`)
    if (method === 'HEAD') {
      if (answer.text !== '') throw new AssertionError(`${described}: HEAD has no body`)
      return
    }
    const validate = this.#schema('answers', described, pointer)
    if (!validate(JSON.parse(answer.text)))
      throw new AssertionError(`${described}: ${this.#ajv.errorsText(validate.errors)} in ${answer.text}`)
  }

  #schema(part: 'requests' | 'answers', described: string, pointer: readonly string[]): ValidateFunction {
    const tokens = pointer.map((token) => encodeURIComponent(token.replaceAll('~', '~0').replaceAll('/', '~1')))
    const validate = this.#ajv.getSchema(`${part}#/${tokens.join('/')}`)
    if (!validate) throw new AssertionError(`${described}: no schema at ${pointer.join(' → ')}`)
    return validate as ValidateFunction
  }
}

/** Adds `additionalProperties: false` to every object schema that lists its members. */
function closed(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(closed)
  if (typeof node !== 'object' || node === null) return node
  const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, closed(value)]))
  return copy.type === 'object' && copy.properties ? { additionalProperties: false, ...copy } : copy
}

const mediaType = ({ headers }: Answer) => String(headers['content-type'] ?? '').split(';')[0]

/** The OpenAPI document, its pages, and the redirects to them. */
const isPage = (path: string, { status }: Answer) =>
  status === 302 || status === 308
    ? /^\/(?:(?:docs|redoc)\/)?$/.test(path)
    : (status === 200 || status === 304) && /^\/(?:openapi\.json$|(?:docs|redoc)(?:\/|$))/.test(path)

const isPreflight = (method: string, { status }: Answer) => method === 'OPTIONS' && status === 204
