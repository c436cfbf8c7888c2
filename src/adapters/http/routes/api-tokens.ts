import * as v from 'valibot'
import { type ApiToken, apiTokenRules, MAX_API_TOKENS, TOKEN_NAME_LIMITS } from '../../../domain/accounts/api-token.ts'
import { SCOPES, type Scope } from '../../../domain/accounts/caller.ts'
import type { ManageApiTokens } from '../../../domain/accounts/manage-api-tokens.ts'
import type { Rule } from '../../../domain/rules.ts'
import { MAX_DUE, parseDue } from '../../../domain/tasks/due.ts'
import { session } from '../endpoint/access.ts'
import { JSON_TYPE } from '../endpoint/body.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import { idParameter } from '../endpoint/id-parameter.ts'
import { timestamp, toTimestamp } from '../endpoint/timestamp.ts'
import { bodyOf, ruleSchema } from '../endpoint/validation.ts'

export const API_TOKEN_EXAMPLE = {
  id: 1,
  name: 'backup script',
  scopes: ['tasks:read'],
  created_at: '2026-01-31T09:30:00.000Z',
  expires_at: '2026-05-01T09:30:00.000Z',
  last_used_at: null,
} as const

const members = {
  id: v.pipe(v.number(), v.integer()),
  name: v.string(),
  scopes: v.array(v.picklist(SCOPES)),
  created_at: timestamp,
  expires_at: v.nullable(timestamp),
  last_used_at: v.nullable(timestamp),
}

export const apiTokenSchema = v.pipe(
  v.object(members),
  v.metadata({ title: 'ApiToken', examples: [API_TOKEN_EXAMPLE] }),
)

const createdApiToken = v.pipe(
  v.object({
    ...members,
    token: v.pipe(v.string(), v.description('The token itself, which no later response contains.')),
  }),
  v.metadata({
    title: 'CreatedApiToken',
    examples: [{ ...API_TOKEN_EXAMPLE, token: 'tma_not-a-token' }],
  }),
)

export function presentApiToken(apiToken: ApiToken): v.InferOutput<typeof apiTokenSchema> {
  const { id, name, scopes, createdAt, expiresAt, lastUsedAt } = apiToken.snapshot()
  return {
    id,
    name,
    scopes: [...scopes],
    created_at: toTimestamp(createdAt),
    expires_at: expiresAt && toTimestamp(expiresAt),
    last_used_at: lastUsedAt && toTimestamp(lastUsedAt),
  }
}

/** The last moment that RFC 3339 can write in UTC. */
const LAST_MOMENT = Date.parse('9999-12-31T23:59:59.999Z')

const expiryRule: Rule = (expiry) =>
  expiry === undefined
    ? { code: 'not_an_instant', detail: 'must be an RFC 3339 instant with Z or an offset, or null' }
    : undefined

function parseExpiry(sent: unknown): Date | null | undefined {
  if (sent === null) return null
  const instant = typeof sent === 'string' ? parseDue(sent) : undefined
  return instant && !instant.allDay && instant.moment <= LAST_MOMENT ? new Date(instant.moment) : undefined
}

const newApiToken = bodyOf('NewApiToken', ['id', 'owner_id', 'created_at', 'updated_at', 'last_used_at'], {
  name: ruleSchema<string>(apiTokenRules.name, {
    type: 'string',
    minLength: TOKEN_NAME_LIMITS.min,
    maxLength: TOKEN_NAME_LIMITS.max,
    description: 'What the token is for; not blank.',
    examples: ['backup script'],
  }),
  scopes: ruleSchema<readonly Scope[]>(apiTokenRules.scopes, {
    type: 'array',
    items: { type: 'string', enum: SCOPES },
    minItems: 1,
    maxItems: SCOPES.length,
    description: 'What the token may do. `tasks:write` includes `tasks:read`.',
    examples: [['tasks:read']],
  }),
  expires_at: v.exactOptional(
    ruleSchema<Date | null>(
      expiryRule,
      {
        type: ['string', 'null'],
        format: 'date-time',
        maxLength: MAX_DUE,
        description:
          'When the token expires, in the future; null for a token that never expires. If absent, it expires in 90 days.',
        examples: ['2126-01-31T09:30:00Z'],
      },
      parseExpiry,
    ),
  ),
})

export function apiTokenEndpoints(prefix: string, apiTokens: ManageApiTokens): readonly Endpoint[] {
  const collection = `${prefix}/auth/tokens`
  return [
    endpoint({
      method: 'POST',
      path: collection,
      operationId: 'createApiToken',
      tag: 'API tokens',
      summary: 'Create an API token',
      description: `A credential for a script, sent as \`Authorization: Bearer <token>\`. Only this response contains the token. An account has at most ${MAX_API_TOKENS} API tokens.`,
      access: session,
      body: { types: [JSON_TYPE], schema: newApiToken },
      responses: { 201: { description: 'The created token.', schema: createdApiToken } },
      errors: ['api_token_limit_reached', 'outcome_unknown'],
      async handle({ caller, body: { name, scopes, expires_at: expiresAt } }) {
        const { apiToken, token } = await apiTokens.create(caller, { name, scopes, expiresAt }, caller.requester)
        return { status: 201, body: { ...presentApiToken(apiToken), token } }
      },
    }),
    endpoint({
      method: 'GET',
      path: collection,
      operationId: 'listApiTokens',
      tag: 'API tokens',
      summary: 'List your API tokens, newest first',
      description: 'Does not return the tokens themselves. `last_used_at` is updated at most once a minute.',
      access: session,
      responses: { 200: { description: 'The API tokens.', schema: v.array(apiTokenSchema) } },
      errors: [],
      async handle({ caller }) {
        return { status: 200, body: (await apiTokens.list(caller)).map(presentApiToken) }
      },
    }),
    endpoint({
      method: 'DELETE',
      path: `${collection}/{id}`,
      operationId: 'deleteApiToken',
      tag: 'API tokens',
      summary: 'Delete an API token',
      description: 'The token is refused at once, and its event streams end.',
      access: session,
      params: idParameter,
      responses: { 204: { description: 'Deleted.' } },
      errors: ['api_token_not_found', 'outcome_unknown'],
      async handle({ caller, params: { id } }) {
        await apiTokens.remove(caller, id, caller.requester)
        return { status: 204 }
      },
    }),
  ]
}
