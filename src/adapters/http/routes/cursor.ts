import type { Position } from '../../../domain/tasks/task-query.ts'

const PATTERN = /^([<>])(0|[1-9]\d{0,15})$/

/** Length of the cursor of the largest id. */
const MAX_CURSOR = encodeCursor({ olderThan: Number.MAX_SAFE_INTEGER }).length

/** Encodes a position as a text that is opaque to clients. */
export function encodeCursor(position: Position): string {
  const text = 'olderThan' in position ? `<${position.olderThan}` : `>${position.newerThan}`
  return Buffer.from(text).toString('base64url')
}

/** Returns `undefined` for any text that `encodeCursor` does not return. */
export function decodeCursor(cursor: string): Position | undefined {
  if (cursor.length > MAX_CURSOR) return undefined
  const [, side, digits] = PATTERN.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? []
  const id = Number(digits)
  if (!Number.isSafeInteger(id)) return undefined
  const position = side === '<' ? { olderThan: id } : { newerThan: id }
  return encodeCursor(position) === cursor ? position : undefined
}
