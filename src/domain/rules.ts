import { type Broken, InvalidInput, type Violation } from './errors.ts'

/** Judges any value, also one of the wrong type: says which rule it breaks, or nothing. */
export type Rule = (value: unknown) => Broken | undefined

/** Lengths in Unicode code points, both inclusive. */
export interface TextLimits {
  readonly min: number
  readonly max: number
}

/** Text that every store can keep: a string without NUL (PostgreSQL has no place for it) and without lone surrogates (they have no UTF-8). */
export const wellFormed: Rule = (value) => {
  if (typeof value !== 'string') return { code: 'not_text', detail: 'must be a string' }
  if (value.includes('\0') || !value.isWellFormed()) {
    return { code: 'malformed_text', detail: 'must not contain NUL or lone surrogates' }
  }
  return undefined
}

/** UTF-16 code units of one code point, at most. */
const UNITS_PER_CHARACTER = 2

/**
 * Refuses a text by its length alone, which costs nothing: a rule that reads the text comes after it.
 *
 * @param units UTF-16 code units, more than a text of `max` characters can have
 */
export const atMostUnits =
  (units: number, max: number): Rule =>
  (value) =>
    typeof value === 'string' && value.length > units ? tooLong(max) : undefined

export const text = ({ min, max }: TextLimits): Rule =>
  all(atMostUnits(UNITS_PER_CHARACTER * max, max), wellFormed, (value) => {
    const length = codePoints(value as string)
    if (length < min) return { code: 'too_short', detail: `must have at least ${min} characters` }
    return length > max ? tooLong(max) : undefined
  })

const tooLong = (max: number): Broken => ({ code: 'too_long', detail: `must have at most ${max} characters` })

export const notBlank: Rule = (value) =>
  typeof value === 'string' && value.trim() === '' ? { code: 'blank', detail: 'must not be blank' } : undefined

export const boolean: Rule = (value) =>
  typeof value === 'boolean' ? undefined : { code: 'not_boolean', detail: 'must be true or false' }

/** A whole number, both limits inclusive. */
export const wholeNumber =
  (min: number, max: number): Rule =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : { code: 'out_of_range', detail: `must be a whole number from ${min} to ${max}` }

export const nullable =
  (rule: Rule): Rule =>
  (value) =>
    value === null ? undefined : rule(value)

export const optional =
  (rule: Rule): Rule =>
  (value) =>
    value === undefined ? undefined : rule(value)

/** The first of the rules that is broken. */
export const all =
  (...rules: readonly Rule[]): Rule =>
  (value) => {
    for (const rule of rules) {
      const broken = rule(value)
      if (broken) return broken
    }
    return undefined
  }

/** @throws InvalidInput with one violation for each member that breaks its rule. */
export function enforce<Member extends string>(
  rules: Readonly<Record<Member, Rule>>,
  values: { readonly [member in NoInfer<Member>]?: unknown },
): void {
  const violations: Violation[] = []
  for (const member in rules) {
    const broken = rules[member](values[member])
    if (broken) violations.push({ member, ...broken })
  }
  if (violations.length > 0) throw new InvalidInput(violations)
}

function codePoints(value: string): number {
  let count = 0
  for (const _ of value) count++
  return count
}
