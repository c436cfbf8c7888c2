import { hash } from 'node:crypto'
import * as v from 'valibot'
import type { IdempotencyKey } from '../../../domain/tasks/idempotency.ts'
import type { ProblemCode } from './problems.ts'
import { ruleSchema } from './validation.ts'

/** Printable ASCII, or a String of RFC 8941, section 3.3.3. */
const BARE = /^[\x21\x23-\x7e][\x20-\x7e]*$/
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/
const MAX_KEY = 255

/** Returns undefined if the header is malformed. The quotes are not part of the key. */
function parseKey(sent: unknown): string | undefined {
  const header = String(sent)
  if (header.length > 2 * MAX_KEY + 2) return undefined
  const key = BARE.test(header) ? header : QUOTED.exec(header)?.[1]?.replaceAll(/\\(.)/g, '$1')
  return key && key.length <= MAX_KEY ? key : undefined
}

const malformed = { code: 'malformed', detail: `must have 1 to ${MAX_KEY} printable ASCII characters, quoted or bare` }

/** The header of a request that a client may repeat (draft-ietf-httpapi-idempotency-key-header). */
export const idempotencyKeyHeader = v.object({
  'idempotency-key': v.exactOptional(
    ruleSchema<string>(
      (key) => (key === undefined ? malformed : undefined),
      {
        type: 'string',
        description:
          'Another request with this key and the same body within 24 hours has the same answer, and no further effect.',
        examples: ['8e03978e-40d5-43dd-bc93-6894a57f9324'],
      },
      parseKey,
    ),
  ),
})

/** @param scope the method and the route */
export function idempotencyKeyOf(
  scope: string,
  headers: v.InferOutput<typeof idempotencyKeyHeader>,
  rawBody: Buffer,
): IdempotencyKey | undefined {
  const key = headers['idempotency-key']
  return key === undefined ? undefined : { scope, key, fingerprint: hash('sha256', rawBody, 'base64url') }
}

export const replayedHeader = {
  'Idempotency-Replayed': { description: 'Present if this answer was given before.', example: 'true' },
}
export const replayedHeaders = (replayed: boolean) => (replayed ? { 'Idempotency-Replayed': 'true' } : {})

export const idempotencyErrors = [
  'idempotency_key_in_use',
  'idempotency_key_reused',
] as const satisfies readonly ProblemCode[]
