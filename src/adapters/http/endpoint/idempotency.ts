import { hash } from 'node:crypto'
import * as v from 'valibot'
import type { IdempotencyKey } from '../../../domain/tasks/idempotency.ts'
import { type Endpoint, endpoint, type Request } from './endpoint.ts'
import { mapValues } from './map-values.ts'
import type { ReplyOf, Responses } from './reply.ts'
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

const keyHeader = v.object({
  'idempotency-key': v.exactOptional(
    ruleSchema<string>(
      (key) => (key === undefined ? malformed : undefined),
      {
        type: 'string',
        description:
          'Makes the request safe to repeat: with this key and the same body, it has no further effect and gets the same response for 24 hours.',
        examples: ['8e03978e-40d5-43dd-bc93-6894a57f9324'],
      },
      parseKey,
    ),
  ),
})

const replayedHeader = {
  'Idempotency-Replayed': { description: 'Present if this response repeats an earlier one.', example: 'true' },
}

type KeyRequest<Caller, Body> = Request<Caller, unknown, unknown, v.InferOutput<typeof keyHeader>, Body>

/** An endpoint without the parts that all repeatable endpoints share. */
interface Repeatable<Caller, Body, Declared extends Responses>
  extends Omit<Endpoint<Caller, unknown, unknown, unknown, Body, Declared>, 'headers' | 'handle'> {
  handle(
    request: Pick<KeyRequest<Caller, Body>, 'caller' | 'body'> & { readonly key: IdempotencyKey | undefined },
  ): Promise<ReplyOf<Declared> & { readonly replayed: boolean }>
}

/**
 * An endpoint whose requests a client may repeat with an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header). Adds that
 * header, its errors and Idempotency-Replayed to the definition.
 */
export function repeatableEndpoint<Caller, Body, const Declared extends Responses>({
  responses,
  errors,
  handle,
  ...others
}: Repeatable<Caller, Body, Declared>): Endpoint {
  const scope = `${others.method} ${others.path}`
  const keyOf = ({ headers: { 'idempotency-key': key }, rawBody }: KeyRequest<Caller, Body>) =>
    key === undefined ? undefined : { scope, key, fingerprint: hash('sha256', rawBody, 'base64url') }
  return endpoint({
    ...others,
    headers: keyHeader,
    responses: mapValues(responses as Required<Responses>, (response) => ({
      ...response,
      headers: { ...response.headers, ...replayedHeader },
    })) as Responses,
    errors: [...errors, 'idempotency_key_in_use', 'idempotency_key_reused'],
    async handle(request: KeyRequest<Caller, Body>) {
      const { caller, body } = request
      const { replayed, ...reply } = await handle({ caller, body, key: keyOf(request) })
      const headers = { ...reply.headers, ...(replayed && { 'Idempotency-Replayed': 'true' }) }
      return { ...reply, headers } as unknown as ReplyOf<Responses>
    },
  })
}
