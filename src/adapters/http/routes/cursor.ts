import { isPlace, type Place, type Sort } from '../../../domain/tasks/task-order.ts'
import { isEdge, type Position } from '../../../domain/tasks/task-query.ts'
import { digest } from '../endpoint/conditional.ts'

/** A decoded cursor; `positionIn` checks whether it belongs to a query. */
export interface Cursor {
  /** Digest of the query of its page. */
  readonly query: string
  readonly side: 'after' | 'before'
  readonly place: Place
}

/** Maximum length in characters. The longest cursor has a title of control characters, each of which JSON escapes. */
const MAX_CURSOR = 4_096

/** @param query the parameters of the query; empty for the newest tasks */
const digestOf = (query: string) => (query === '' ? '' : digest(query))

/** Encodes a position in the list that a query yields, as a text that is opaque to clients. */
export function encodeCursor(position: Position, query: string): string {
  const [side, place] = 'after' in position ? ['after', position.after] : ['before', position.before]
  return toBase64(JSON.stringify([digestOf(query), side, ...place]))
}

/** Returns `undefined` for a text that is no cursor of this or an earlier release. */
export function decodeCursor(cursor: string): Cursor | undefined {
  if (cursor.length > MAX_CURSOR) return undefined
  const text = Buffer.from(cursor, 'base64url').toString()
  return toBase64(text) === cursor ? (parseFormer(text) ?? parse(text)) : undefined
}

/** Returns `undefined` for the cursor of another query. */
export function positionIn({ query: ofCursor, side, place }: Cursor, query: string, sort: Sort): Position | undefined {
  if (ofCursor !== digestOf(query) || !(isEdge(place) || isPlace(place, sort))) return undefined
  return side === 'after' ? { after: place } : { before: place }
}

const toBase64 = (text: string) => Buffer.from(text).toString('base64url')

/** A cursor of release 1.0, which listed the newest tasks only: a side and an id. */
const FORMER = /^([<>])(0|[1-9]\d{0,15})$/

function parseFormer(text: string): Cursor | undefined {
  const [, sign, id] = FORMER.exec(text) ?? []
  return id === undefined ? undefined : { query: '', side: sign === '<' ? 'after' : 'before', place: [Number(id)] }
}

function parse(text: string): Cursor | undefined {
  try {
    const [query, side, ...place] = JSON.parse(text)
    const isCursor = typeof query === 'string' && (side === 'after' || side === 'before')
    return isCursor ? { query, side, place } : undefined
  } catch {
    return undefined
  }
}
