import type { Position } from '../../../domain/tasks/task-query.ts'

const FORM = /^([<>])(0|[1-9]\d{0,15})$/

/** Of the largest id. */
const MAX_CURSOR = encodeCursor({ olderThan: Number.MAX_SAFE_INTEGER }).length

/** A position as text that a client hands back and never has to understand. */
export function encodeCursor(position: Position): string {
  const text = 'olderThan' in position ? `<${position.olderThan}` : `>${position.newerThan}`
  return Buffer.from(text).toString('base64url')
}

/** The position that a cursor stands for; nothing when `encodeCursor` never made it. */
export function decodeCursor(cursor: string): Position | undefined {
  if (cursor.length > MAX_CURSOR) return undefined
  const [, side, digits] = FORM.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? []
  const id = Number(digits)
  if (!Number.isSafeInteger(id)) return undefined
  const position = side === '<' ? { olderThan: id } : { newerThan: id }
  return encodeCursor(position) === cursor ? position : undefined
}
