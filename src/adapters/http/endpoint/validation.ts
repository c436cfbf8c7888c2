import * as v from 'valibot'
import type { RuleViolation } from '../../../domain/errors.ts'
import { type Rule, type TextLimits, wholeNumber } from '../../../domain/rules.ts'
import { type InputError, InvalidRequest, MAX_ERRORS } from './problems.ts'

/** A schema that yields `Output`. */
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
  readonly anyOf?: readonly JsonSchema[]
  readonly oneOf?: readonly JsonSchema[]
  readonly [keyword: string]: unknown
}

/**
 * A schema that enforces a rule of the domain. The JSON Schema documents the same rule in the OpenAPI document.
 *
 * @param read turns the value that was sent into the value that the rule checks
 */
export const ruleSchema = <Value>(
  rule: Rule,
  jsonSchema: JsonSchema,
  read: (sent: unknown) => unknown = (sent) => sent,
) =>
  v.pipe(
    v.unknown(),
    v.metadata(jsonSchema),
    v.rawTransform<unknown, Value>(({ dataset, addIssue, NEVER }) => {
      const value = read(dataset.value)
      const violation = rule(value)
      if (!violation) return value as Value
      addIssue({ message: violation.detail, expected: violation.code })
      return NEVER
    }),
  )

/** Replaces the detail of the violations with this code. */
export const withDetail =
  (rule: Rule, code: string, detail: (detail: string) => string): Rule =>
  (value) => {
    const violation = rule(value)
    return violation?.code === code ? { ...violation, detail: detail(violation.detail) } : violation
  }

/** Refuses an input before its schema reads it. */
const guarded = <Guarded extends v.GenericSchema>(rule: Rule, schema: Guarded): Guarded => {
  const guard = ruleSchema(rule, {})
  return {
    ...schema,
    '~run'(dataset, config) {
      const { issues } = guard['~run']({ value: dataset.value }, config)
      return issues ? { ...dataset, typed: false, issues } : schema['~run'](dataset, config)
    },
  }
}

/** valibot takes an array for an object. */
const isObject: Rule = (value) =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? undefined
    : { code: 'not_an_object', detail: 'must be a JSON object' }

/** A JSON array. Its elements are not read unless their number is within the limits, both inclusive. */
export const listOf = <Item extends v.GenericSchema>(
  item: Item,
  { min, max }: TextLimits,
  jsonSchema: JsonSchema = {},
) =>
  v.pipe(
    guarded((value) => {
      if (!Array.isArray(value)) return { code: 'not_a_list', detail: 'must be a list' }
      if (value.length >= min && value.length <= max) return undefined
      return { code: 'out_of_range', detail: `must have ${min} to ${max} elements` }
    }, v.array(item)),
    v.metadata({ minItems: min, maxItems: max, ...jsonSchema }),
  )

/** A JSON object that is one of several kinds, which a member tells apart. */
export const oneOfKinds = <const Key extends string, Kinds extends v.VariantOptions<Key>>(key: Key, kinds: Kinds) =>
  guarded(isObject, v.variant(key, kinds))

/** A whole number in a path, query or header, without sign, leading zeros or exponent; both limits are inclusive. */
export const numeral = (minimum: number, maximum: number, jsonSchema: JsonSchema = {}) =>
  ruleSchema<number>(wholeNumber(minimum, maximum), { type: 'integer', minimum, maximum, ...jsonSchema }, (sent) => {
    const text = String(sent)
    return text.length <= MAX_DIGITS && NUMERAL.test(text) ? Number(text) : undefined
  })

const FLAGS: ReadonlyMap<unknown, boolean> = new Map([
  ['true', true],
  ['false', false],
])

/** `true` or `false` in a query. */
export const flag = (rule: Rule, jsonSchema: JsonSchema) =>
  ruleSchema<boolean>(rule, { type: 'boolean', ...jsonSchema }, (sent) => FLAGS.get(sent) ?? sent)

const NUMERAL = /^(?:0|[1-9]\d*)$/
const MAX_DIGITS = String(Number.MAX_SAFE_INTEGER).length

/** A member that a client may send back as it was returned; its value is ignored. */
const readOnly = v.optional(v.pipe(v.unknown(), v.metadata({ readOnly: true })))

/**
 * The schema of a JSON object or a form with these members, the read-only ones, and no others.
 *
 * @param title its name in the OpenAPI document
 * @param readOnlyMembers names of the members that are accepted and ignored
 * @param jsonSchema keywords that replace those of the schema in the OpenAPI document
 */
export const bodyOf = <Members extends v.ObjectEntries>(
  title: string,
  readOnlyMembers: readonly string[],
  members: Members,
  jsonSchema: JsonSchema = {},
) => {
  const names = Object.keys(members)
  return v.pipe(
    guarded(
      isObject,
      v.strictObject({ ...members, ...Object.fromEntries(readOnlyMembers.map((name) => [name, readOnly])) }),
    ),
    v.metadata({ title, ...jsonSchema }),
    v.transform((body) => {
      const writable = Object.entries(body).filter(([name]) => names.includes(name))
      return Object.fromEntries(writable) as v.InferOutput<v.StrictObjectSchema<Members, undefined>>
    }),
  )
}

/** Names of the members that are not read-only. */
export const memberNames = ({ entries }: ObjectSchema): ReadonlySet<string> =>
  new Set(Object.keys(entries).filter((name) => entries[name] !== readOnly))

/** Names of the parameters that may be repeated: their values are lists. */
export function listNames({ entries }: ObjectSchema): ReadonlySet<string> {
  const isList = (entry: v.ObjectEntries[string]) =>
    v.getMetadata('wrapped' in entry ? entry.wrapped : entry).type === 'array'
  return new Set(Object.keys(entries).filter((name) => isList(entries[name] as v.ObjectEntries[string])))
}

/** Characters of a name that a response repeats; every name in a schema is shorter. */
const MAX_NAME = 100
const shortened = (name: string) => (name.length > MAX_NAME ? `${name.slice(0, MAX_NAME)}…` : name)

const token = (key: string | number) => `/${shortened(String(key)).replaceAll('~', '~0').replaceAll('/', '~1')}`

/** The place of a violation: a JSON Pointer into the body (RFC 6901), or the name of a parameter or header. */
const places = {
  body: (...path: readonly (string | number)[]) => ({ pointer: path.map(token).join('') }),
  parameters: (name: string | number = '') => ({ parameter: shortened(String(name)) }),
  headers: (name: string | number = '') => ({ header: String(name) }),
}
export type Part = keyof typeof places

/** A part of a request. Its value has the type of its schema only if there are no violations. */
export interface Input<Value = unknown> {
  readonly value: Value
  readonly violations: readonly InputError[]
}

export function validate<Output>(schema: Schema<Output>, { value, violations }: Input, part: Part): Input<Output> {
  const result = v.safeParse(schema, value)
  if (result.success) return { value: result.output, violations }
  return {
    value: result.output as Output,
    violations: [...violations, ...result.issues.map((issue) => toInputError(issue, part))],
  }
}

/** @throws InvalidRequest with the violations in these parts, if any */
export function throwIfInvalid(inputs: readonly Input[]): void {
  if (inputs.some(({ violations }) => violations.length > 0))
    throw new InvalidRequest(inputs.flatMap(({ violations }) => violations))
}

/** Far more than any route takes; bounded because `URLSearchParams` takes quadratic time in Node 24. */
const MAX_PARAMETERS = 1_000

/** The parameters of a query or a form, in order; `undefined` if there are too many to be read. */
export function readParameters(text: string): URLSearchParams | undefined {
  return text.split('&', MAX_PARAMETERS + 1).length > MAX_PARAMETERS ? undefined : new URLSearchParams(text)
}

/**
 * The parameters of a query or the fields of a form, each of which may be given once unless it is a list.
 *
 * @param known names; all others are ignored, however often they are given
 * @param lists names of those whose value is a list
 * @throws InvalidRequest when there are too many to be read
 */
export function readUnique(
  text: string,
  part: Part,
  { known, lists }: { readonly known?: ReadonlySet<string>; readonly lists?: ReadonlySet<string> } = {},
): Input<Record<string, string | string[]>> {
  const parameters = readParameters(text)
  if (!parameters) {
    const detail = `must have at most ${MAX_PARAMETERS} parameters`
    throw new InvalidRequest([{ ...places[part](), code: 'too_many', detail }])
  }
  const values = new Map<string, string | string[]>()
  const repeated = new Set<string>()
  for (const [name, value] of parameters) {
    if (known && !known.has(name)) continue
    if (values.has(name) && !lists?.has(name) && repeated.size < MAX_ERRORS) repeated.add(name)
    values.set(name, value)
  }
  for (const name of lists ?? []) if (values.has(name)) values.set(name, parameters.getAll(name))
  const violations = Array.from(repeated, (name) => {
    return { ...places[part](name), code: 'repeated', detail: 'must not be repeated' }
  })
  return { value: Object.fromEntries(values), violations }
}

/** `URLSearchParams` replaces bytes that are not UTF-8. A % that begins no escape stands for itself (URL Standard, section 1.3). */
function isUtf8(parameter: string): boolean {
  try {
    decodeURIComponent(parameter.replaceAll(/%(?![\da-f]{2})/gi, '%25'))
    return true
  } catch {
    return false
  }
}

/** @throws InvalidRequest when a parameter of the query is not UTF-8 */
export function throwIfNotUtf8(query: string): void {
  const malformed = query.includes('%') ? query.split('&').filter((parameter) => !isUtf8(parameter)) : []
  if (malformed.length === 0) return
  const names = malformed.map((parameter) => parameter.split('=', 1)[0])
  throw new InvalidRequest(
    names.map((name) => ({ ...places.parameters(name), code: 'malformed_text', detail: 'must be UTF-8' })),
  )
}

/** valibot's messages echo the input, so the service writes its own. */
function toInputError(issue: v.BaseIssue<unknown>, part: Part): InputError {
  const path = (issue.path ?? []).map(({ key }) => key as string | number)
  return { ...places[part](...path), ...ruleViolation(issue, part) }
}

function ruleViolation({ type, input, expected, message }: v.BaseIssue<unknown>, part: Part): RuleViolation {
  if (type === 'raw_transform') return { code: expected ?? '', detail: message }
  if (type === 'check') return { code: 'conflicting', detail: message }
  if (expected === 'never') {
    return { code: 'unknown', detail: part === 'body' ? 'is not a member of this body' : 'is not a parameter here' }
  }
  if (type === 'variant' && input !== undefined)
    return {
      code: 'unknown_value',
      detail: `must be one of ${expected?.replaceAll(/[()"]/g, '').replaceAll(' |', ',')}`,
    }
  return { code: 'required', detail: 'is required' }
}
