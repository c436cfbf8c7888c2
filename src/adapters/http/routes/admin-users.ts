import * as v from 'valibot'
import {
  type AdministerUsers,
  type Administrator,
  administrationRules,
  USERS_CONTAINING_LIMITS,
  USERS_LIMIT,
  userQueryRules,
} from '../../../domain/accounts/administer-users.ts'
import { ROLES, type Role, type User } from '../../../domain/accounts/user.ts'
import { NEWEST_FIRST } from '../../../domain/tasks/task-order.ts'
import { admin, type SignedInCaller } from '../endpoint/access.ts'
import { JSON_TYPE, MERGE_PATCH_TYPE } from '../endpoint/body.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import { idParameter } from '../endpoint/id-parameter.ts'
import { timestamp, toTimestamp } from '../endpoint/timestamp.ts'
import { bodyOf, numeral, ruleSchema } from '../endpoint/validation.ts'
import { type Cursor, decodeCursor, encodeCursor, positionIn } from './cursor.ts'
import { readOnlyMembers } from './user-members.ts'

const administeredUser = v.pipe(
  v.object({
    id: v.pipe(v.number(), v.integer()),
    email: v.string(),
    role: v.picklist(ROLES),
    disabled: v.boolean(),
    created_at: timestamp,
  }),
  v.metadata({
    title: 'AdministeredUser',
    examples: [
      { id: 1, email: 'jane@example.com', role: 'user', disabled: false, created_at: '2026-01-31T09:30:00.000Z' },
    ],
  }),
)

function present(user: User): v.InferOutput<typeof administeredUser> {
  const { id, email, role, disabled, createdAt } = user.snapshot()
  return { id, email, role, disabled, created_at: toTimestamp(createdAt) }
}

const search = ruleSchema<string | undefined>(
  userQueryRules.containing,
  {
    type: 'string',
    maxLength: USERS_CONTAINING_LIMITS.max,
    description: 'Only users whose address contains this text, ignoring case.',
    examples: ['example.com'],
  },
  // A search form that is left empty sends an empty text.
  (text) => (text === '' ? undefined : text),
)

const cursor = ruleSchema<Cursor>(
  (cursor) => (cursor === undefined ? { code: 'not_a_cursor', detail: 'must be taken from a Link header' } : undefined),
  {
    type: 'string',
    description: 'Opaque start of a page, taken from a `Link` header; valid for the same query only.',
    examples: [encodeCursor({ after: [42] }, '')],
  },
  (text) => decodeCursor(String(text)),
)

const parameters = v.strictObject({
  q: v.exactOptional(search),
  limit: v.exactOptional(
    numeral(USERS_LIMIT.min, USERS_LIMIT.max, {
      default: USERS_LIMIT.default,
      description: 'Maximum number of users to return.',
      examples: [20],
    }),
  ),
  cursor: v.exactOptional(cursor),
})
type Parameters = v.InferOutput<typeof parameters>

const queryOf = ({ q }: Pick<Parameters, 'q'>) => (q === undefined ? '' : new URLSearchParams({ q }).toString())

/** The id before which a page starts; undefined for the cursor of another query, or one that names no id. */
function startOf({ cursor, q }: Parameters): number | undefined {
  const position = cursor && positionIn(cursor, queryOf({ q }), NEWEST_FIRST)
  const id = position && 'after' in position ? (position.after[0] as number | undefined) : undefined
  return id === 0 ? undefined : id
}

const listParameters = v.pipe(
  parameters,
  v.forward(
    v.check(
      (given) => given.cursor === undefined || startOf(given) !== undefined,
      'must be used with the query that it was given for',
    ),
    ['cursor'],
  ),
  v.transform((given) => ({
    parameters: queryOf(given),
    query: { before: startOf(given), containing: given.q, limit: given.limit ?? USERS_LIMIT.default },
  })),
)
type ListRequest = v.InferOutput<typeof listParameters>

function linkHeader(path: string, { parameters, query }: ListRequest, next: number | undefined) {
  if (next === undefined) return {}
  const cursor = encodeCursor({ after: [next] }, parameters)
  return { Link: `<${path}?cursor=${cursor}&limit=${query.limit}${parameters && `&${parameters}`}>; rel="next"` }
}

const administration = bodyOf(
  'Administration',
  [...readOnlyMembers, 'email'],
  {
    role: v.exactOptional(
      ruleSchema<Role>(administrationRules.role, { type: 'string', enum: ROLES, examples: ['admin'] }),
    ),
    disabled: v.exactOptional(
      ruleSchema<boolean>(administrationRules.disabled, {
        type: 'boolean',
        description: 'A disabled user can neither log in nor use any token.',
        examples: [true],
      }),
    ),
  },
  { examples: [{ disabled: true }] },
)

const administratorOf = ({ user, requester }: SignedInCaller): Administrator => ({
  id: user.id,
  clientNetwork: requester.clientNetwork,
})

/** @param rootPath prefix of the paths in `Link` */
export function adminUserEndpoints(prefix: string, users: AdministerUsers, rootPath: string): readonly Endpoint[] {
  const collection = `${prefix}/admin/users`
  const item = `${collection}/{id}`
  const { Link: exampleLink = '' } = linkHeader(
    collection,
    { parameters: '', query: { before: undefined, containing: undefined, limit: 20 } },
    42,
  )
  return [
    endpoint({
      method: 'GET',
      path: collection,
      operationId: 'listUsers',
      tag: 'Administration',
      summary: 'List the users, newest first',
      description: 'Returns one page. Follow the `Link` header to the next one.',
      access: admin,
      query: listParameters,
      responses: {
        200: {
          description: 'One page of users.',
          schema: v.array(administeredUser),
          headers: {
            Link: {
              description: 'Link to the next page, `rel="next"`, if there is one (RFC 8288).',
              example: exampleLink,
            },
          },
        },
      },
      errors: [],
      async handle({ query }) {
        const page = await users.list(query.query)
        return {
          status: 200,
          body: page.users.map(present),
          headers: linkHeader(rootPath + collection, query, page.next),
        }
      },
    }),
    endpoint({
      method: 'PATCH',
      path: item,
      operationId: 'administerUser',
      tag: 'Administration',
      summary: 'Change the role of a user, or disable the user',
      description:
        'JSON Merge Patch (RFC 7396). Disabling a user takes effect at once: it ends the sessions, and API tokens are refused until the user is enabled. The last enabled admin can be neither demoted nor disabled.',
      access: admin,
      params: idParameter,
      body: { types: [JSON_TYPE, MERGE_PATCH_TYPE], schema: administration },
      responses: { 200: { description: 'The changed user.', schema: administeredUser } },
      errors: ['user_not_found', 'last_admin', 'outcome_unknown'],
      async handle({ caller, params: { id }, body }) {
        return { status: 200, body: present(await users.change(administratorOf(caller), id, body)) }
      },
    }),
    endpoint({
      method: 'DELETE',
      path: item,
      operationId: 'deleteUser',
      tag: 'Administration',
      summary: 'Delete a user',
      description: 'Permanently deletes the account with its tasks, sessions and API tokens.',
      access: admin,
      params: idParameter,
      responses: { 204: { description: 'Deleted.' } },
      errors: ['user_not_found', 'last_admin', 'outcome_unknown'],
      async handle({ caller, params: { id } }) {
        await users.remove(administratorOf(caller), id)
        return { status: 204 }
      },
    }),
    endpoint({
      method: 'DELETE',
      path: `${item}/sessions`,
      operationId: 'endSessionsOfUser',
      tag: 'Administration',
      summary: 'End all sessions of a user',
      description:
        'The tokens of these sessions are refused at once, and their event streams end. API tokens stay valid.',
      access: admin,
      params: idParameter,
      responses: { 204: { description: 'Ended.' } },
      errors: ['user_not_found', 'outcome_unknown'],
      async handle({ caller, params: { id } }) {
        await users.endSessions(administratorOf(caller), id)
        return { status: 204 }
      },
    }),
  ]
}
