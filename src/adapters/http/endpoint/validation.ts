import * as v from 'valibot'
import { type Rule, wholeNumber } from '../../../domain/rules.ts'
import { type InputError, InvalidRequest, MAX_ERRORS } from './problems.ts'

/** A schema of any members that yields `Output`. */
export type Schema<Output = unknown> = v.GenericSchema<unknown, Output>
/** A schema of an object whose members are known. */
export type ObjectSchema<Output = unknown> = Schema<Output> & { readonly entries: v.ObjectEntries }

/** Keywords of JSON Schema (2020-12), as OpenAPI 3.1 shows them. */
export interface JsonSchema {
  readonly title?: string
  readonly description?: string
  readonly examples?: readonly unknown[]
  readonly readOnly?: boolean
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly items?: JsonSchema
  readonly [keyword: string]: unknown
}

/**
 * The domain judges, and the JSON Schema beside the rule says the same to the reader of the OpenAPI document.
 *
 * @param read what the value that was sent stands for; the rule judges that
 */
export const ruled = <Value>(rule: Rule, jsonSchema: JsonSchema, read: (sent: unknown) => unknown = (sent) => sent) =>
  v.pipe(
    v.unknown(),
    v.metadata(jsonSchema),
    v.rawTransform<unknown, Value>(({ dataset, addIssue, NEVER }) => {
      const value = read(dataset.value)
      const broken = rule(value)
      if (!broken) return value as Value
      addIssue({ message: broken.detail, expected: broken.code })
      return NEVER
    }),
  )

/** A whole number as the text of a path or a query, without sign, leading zeros or exponent; both limits inclusive. */
export const numeral = (minimum: number, maximum: number, jsonSchema: JsonSchema = {}) =>
  ruled<number>(wholeNumber(minimum, maximum), { type: 'integer', minimum, maximum, ...jsonSchema }, (sent) => {
    const text = String(sent)
    return text.length <= MAX_DIGITS && NUMERAL.test(text) ? Number(text) : undefined
  })

const NUMERAL = /^(?:0|[1-9]\d*)$/
const MAX_DIGITS = String(Number.MAX_SAFE_INTEGER).length

/** What the API answers and nobody can set: accepted, so that what was read can be sent back, and ignored. */
const readOnly = v.optional(v.pipe(v.unknown(), v.metadata({ readOnly: true })))
const readOnlyMembers = { id: readOnly, owner_id: readOnly, created_at: readOnly, updated_at: readOnly }

/**
 * The schema of a JSON object or a form: these members, the read-only ones, and no other.
 *
 * @param title its name in the OpenAPI document
 */
export const bodyOf = <Members extends v.ObjectEntries>(title: string, members: Members) => {
  const names = Object.keys(members)
  return v.pipe(
    v.strictObject({ ...members, ...readOnlyMembers }),
    v.metadata({ title }),
    v.transform((body) => {
      const own = Object.entries(body).filter(([name]) => names.includes(name))
      return Object.fromEntries(own) as v.InferOutput<v.StrictObjectSchema<Members, undefined>>
    }),
  )
}

/** Characters of a name that an answer repeats; every name that is known here is shorter. */
const MAX_NAME = 100
const shortened = (name: string) => (name.length > MAX_NAME ? `${name.slice(0, MAX_NAME)}…` : name)

/**
 * Where a value stands in a request, to name the place of a mistake in it: a JSON Pointer into the body (RFC 6901), or
 * a parameter's name.
 */
const places = {
  body: (name: string | undefined) => ({
    pointer: name === undefined ? '' : `/${shortened(name).replaceAll('~', '~0').replaceAll('/', '~1')}`,
  }),
  parameters: (name = '') => ({ parameter: shortened(name) }),
}
export type Part = keyof typeof places

/** A part of a request, judged; `undefined` when a mistake was found in it, and added to the list. */
export function judge<Output>(schema: Schema<Output>, value: unknown, part: Part, mistakes: InputError[]): Output {
  const result = v.safeParse(schema, Array.isArray(value) ? undefined : value) // valibot takes an array for an object
  if (!result.success) mistakes.push(...result.issues.map((issue) => toInputError(issue, part)))
  return result.output as Output
}

/** Many more than any route takes. In Node 24 `URLSearchParams` takes four times as long for twice as many. */
const MAX_PARAMETERS = 1_000

/** The parameters of a query or a form in their order; nothing where there are too many to be read. */
export function readParameters(text: string): URLSearchParams | undefined {
  return text.split('&', MAX_PARAMETERS + 1).length > MAX_PARAMETERS ? undefined : new URLSearchParams(text)
}

/**
 * The parameters of a query or the fields of a form, each of which may be given once.
 *
 * @param known ignores every other one, however often it is given
 * @throws InvalidRequest when there are too many to be read
 */
export function onlyOnce(
  text: string,
  part: Part,
  mistakes: InputError[],
  known?: ReadonlySet<string>,
): Record<string, string> {
  const parameters = readParameters(text)
  if (!parameters) {
    const detail = `must have at most ${MAX_PARAMETERS} parameters`
    throw new InvalidRequest([{ ...places[part](undefined), code: 'too_many', detail }])
  }
  const values = new Map<string, string>()
  const repeated = new Set<string>()
  for (const [name, value] of parameters) {
    if (known && !known.has(name)) continue
    if (values.has(name) && repeated.size < MAX_ERRORS) repeated.add(name)
    values.set(name, value)
  }
  for (const name of repeated) mistakes.push({ ...places[part](name), code: 'repeated', detail: 'must be given once' })
  return Object.fromEntries(values)
}

/** valibot's own messages quote the input, so none of them is used. */
function toInputError(issue: v.BaseIssue<unknown>, part: Part): InputError {
  const name = issue.path?.[0]?.key as string | undefined
  return { ...places[part](name), ...brokenRule(issue, part) }
}

function brokenRule({ type, path, expected, message }: v.BaseIssue<unknown>, part: Part) {
  if (type === 'raw_transform') return { code: expected ?? '', detail: message }
  if (type === 'check') return { code: 'conflicting', detail: message }
  if (path === undefined) return { code: 'not_an_object', detail: 'must be a JSON object' }
  if (expected === 'never') {
    return { code: 'unknown', detail: part === 'body' ? 'is not a member of this body' : 'is not a parameter here' }
  }
  return { code: 'required', detail: 'is required' }
}
