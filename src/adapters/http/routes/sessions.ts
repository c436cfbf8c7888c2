import * as v from 'valibot'
import type { Caller } from '../../../domain/accounts/caller.ts'
import type { ManageAccount } from '../../../domain/accounts/manage-account.ts'
import type { Session } from '../../../domain/accounts/session.ts'
import { session } from '../endpoint/access.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import { idParameter } from '../endpoint/id-parameter.ts'
import { timestamp, toTimestamp } from '../endpoint/timestamp.ts'

export const SESSION_EXAMPLE = {
  id: 1,
  created_at: '2026-01-31T09:30:00.000Z',
  last_used_at: '2026-02-01T08:00:00.000Z',
  user_agent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
  current: true,
} as const

export const sessionSchema = v.pipe(
  v.object({
    id: v.pipe(v.number(), v.integer()),
    created_at: timestamp,
    last_used_at: timestamp,
    user_agent: v.nullable(v.string()),
    current: v.pipe(v.boolean(), v.description('Whether the token of this request belongs to this session.')),
  }),
  v.metadata({
    title: 'Session',
    examples: [SESSION_EXAMPLE],
  }),
)

export const presentSession =
  ({ credential }: Caller) =>
  (each: Session): v.InferOutput<typeof sessionSchema> => {
    const { id, createdAt, lastUsedAt, userAgent } = each.snapshot()
    return {
      id,
      created_at: toTimestamp(createdAt),
      last_used_at: toTimestamp(lastUsedAt),
      user_agent: userAgent,
      current: credential.kind === 'session' && credential.sessionId === id,
    }
  }

export function sessionEndpoints(prefix: string, account: ManageAccount): readonly Endpoint[] {
  const collection = `${prefix}/auth/sessions`
  return [
    endpoint({
      method: 'GET',
      path: collection,
      operationId: 'listSessions',
      tag: 'Sessions',
      summary: 'List your sessions, newest first',
      description:
        'A session begins with a login and has the tokens that follow from it. `last_used_at` is updated at most once a minute.',
      access: session,
      responses: { 200: { description: 'The sessions that have not ended.', schema: v.array(sessionSchema) } },
      errors: [],
      async handle({ caller }) {
        return { status: 200, body: (await account.sessions(caller)).map(presentSession(caller)) }
      },
    }),
    endpoint({
      method: 'DELETE',
      path: collection,
      operationId: 'endOtherSessions',
      tag: 'Sessions',
      summary: 'End all your other sessions',
      description:
        'The tokens of these sessions are refused at once, and their event streams end. API tokens stay valid.',
      access: session,
      responses: { 204: { description: 'Ended.' } },
      errors: ['outcome_unknown'],
      async handle({ caller }) {
        await account.endOtherSessions(caller, caller.requester)
        return { status: 204 }
      },
    }),
    endpoint({
      method: 'DELETE',
      path: `${collection}/{id}`,
      operationId: 'endSession',
      tag: 'Sessions',
      summary: 'End one of your sessions',
      description:
        'The tokens of the session are refused at once, and its event streams end. The session of this request can be ended as well.',
      access: session,
      params: idParameter,
      responses: { 204: { description: 'Ended.' } },
      errors: ['session_not_found', 'outcome_unknown'],
      async handle({ caller, params: { id } }) {
        await account.endSession(caller, id, caller.requester)
        return { status: 204 }
      },
    }),
  ]
}
