import { InvalidInput, type RuleViolation, type Violation } from './errors.ts'

/** Checks a value of any type; returns the violation, if any. */
export type Rule = (value: unknown) => RuleViolation | undefined

/** Lengths in Unicode code points, both inclusive. */
export interface TextLimits {
  readonly min: number
  readonly max: number
}

/** Text that every store can hold: without NUL, which PostgreSQL refuses, and lone surrogates, which UTF-8 cannot encode. */
export const wellFormed: Rule = (value) => {
  if (typeof value !== 'string') return { code: 'not_text', detail: 'must be a string' }
  if (value.includes('\0') || !value.isWellFormed()) {
    return { code: 'malformed_text', detail: 'must not contain NUL or lone surrogates' }
  }
  return undefined
}

/** Maximum number of UTF-16 code units in a code point. */
const UNITS_PER_CHARACTER = 2

/**
 * Refuses a text by its length alone, before any other rule reads it.
 *
 * @param units maximum length in UTF-16 code units
 * @param max maximum length in characters, for the message
 */
export const atMostUnits =
  (units: number, max: number): Rule =>
  (value) =>
    typeof value === 'string' && value.length > units ? tooLong(max) : undefined

export const text = ({ min, max }: TextLimits): Rule =>
  all(atMostUnits(UNITS_PER_CHARACTER * max, max), wellFormed, (value) => {
    const length = codePoints(value as string)
    if (length < min) return { code: 'too_short', detail: `must have at least ${characters(min)}` }
    return length > max ? tooLong(max) : undefined
  })

const tooLong = (max: number): RuleViolation => ({ code: 'too_long', detail: `must have at most ${characters(max)}` })

const characters = (count: number) => `${count} ${count === 1 ? 'character' : 'characters'}`

export const notBlank: Rule = (value) =>
  typeof value === 'string' && value.trim() === '' ? { code: 'blank', detail: 'must not be blank' } : undefined

export const boolean: Rule = (value) =>
  typeof value === 'boolean' ? undefined : { code: 'not_boolean', detail: 'must be true or false' }

/** A whole number; both limits are inclusive. */
export const wholeNumber =
  (min: number, max: number): Rule =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : { code: 'out_of_range', detail: `must be a whole number from ${min} to ${max}` }

export const oneOf = (values: readonly string[]): Rule => {
  const known = new Set<unknown>(values)
  return (value) =>
    known.has(value) ? undefined : { code: 'unknown_value', detail: `must be one of ${values.join(', ')}` }
}

/** A list of at most `max` elements, each of which follows the rule. */
export const listOf =
  (rule: Rule, max: number): Rule =>
  (value) => {
    if (!Array.isArray(value)) return { code: 'not_a_list', detail: 'must be a list' }
    if (value.length > max) return { code: 'too_many', detail: `must have at most ${max} elements` }
    for (const element of value) {
      const violation = rule(element)
      if (violation) return { ...violation, detail: `each element ${violation.detail}` }
    }
    return undefined
  }

export const nullable =
  (rule: Rule): Rule =>
  (value) => {
    const violation = value === null ? undefined : rule(value)
    return violation?.code === 'not_text' ? { ...violation, detail: `${violation.detail} or null` } : violation
  }

export const optional =
  (rule: Rule): Rule =>
  (value) =>
    value === undefined ? undefined : rule(value)

/** Returns the first violation. */
export const all =
  (...rules: readonly Rule[]): Rule =>
  (value) => {
    for (const rule of rules) {
      const violation = rule(value)
      if (violation) return violation
    }
    return undefined
  }

/** @throws InvalidInput with one violation for each member that breaks its rule */
export function enforce<Member extends string>(
  rules: Readonly<Record<Member, Rule>>,
  values: { readonly [member in NoInfer<Member>]?: unknown },
): void {
  const violations: Violation[] = []
  for (const member in rules) {
    const violation = rules[member](values[member])
    if (violation) violations.push({ member, ...violation })
  }
  if (violations.length > 0) throw new InvalidInput(violations)
}

function codePoints(value: string): number {
  let count = 0
  for (const _ of value) count++
  return count
}
