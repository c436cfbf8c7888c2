import { hash } from 'node:crypto'
import * as v from 'valibot'

/** The opaque tags that a condition names, without quotes; `any` is `*` (RFC 9110, section 13.1). */
export type EntityTags = 'any' | readonly string[]

/** An element of the list, which may be empty (RFC 9110, sections 5.6.1 and 8.8.3). */
const ELEMENT = /[ \t]*(?:(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|$)/y

/** A malformed list matches nothing. */
function parseTags(list: string, takesWeak: boolean): EntityTags {
  if (list.trim() === '*') return 'any'
  const tags: string[] = []
  ELEMENT.lastIndex = 0
  while (ELEMENT.lastIndex < list.length) {
    const element = ELEMENT.exec(list)
    if (!element) return []
    const [, weak, tag] = element
    if (tag !== undefined && (takesWeak || !weak)) tags.push(tag)
  }
  return tags
}

/** Compares strongly: a weak tag matches nothing. */
export const ifMatch = v.pipe(
  v.string(),
  v.metadata({
    description: 'Carries out the request only if the task has one of these ETags (`*`: any).',
    examples: ['"41"'],
  }),
  v.transform((list) => parseTags(list, false)),
)

/** Compares weakly. */
export const ifNoneMatch = v.pipe(
  v.string(),
  v.metadata({
    description: 'Carries out the request only if the current ETag is none of these (`*`: any).',
    examples: ['"41"'],
  }),
  v.transform((list) => parseTags(list, true)),
)

/** @param tag absent for a representation without one, which only `*` includes */
export const includesTag = (tags: EntityTags, tag: string | undefined): boolean =>
  tags === 'any' || (tag !== undefined && tags.includes(tag))

export const strongTag = (tag: string | number): string => `"${tag}"`
export const weakTag = (tag: string): string => `W/"${tag}"`

/** A short text that stands for a long one. */
export const digest = (text: string): string => hash('sha256', text, 'base64url').slice(0, 22)
