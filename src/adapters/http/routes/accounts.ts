import * as v from 'valibot'
import type { ManageAccounts } from '../../../domain/accounts/manage-accounts.ts'
import {
  credentialRules,
  EMAIL_LIMITS,
  loginRules,
  MAX_RAW_EMAIL,
  MAX_RAW_PASSWORD,
  PASSWORD_LIMITS,
  type UserSnapshot,
} from '../../../domain/accounts/user.ts'
import { anyone, signedInUser } from '../endpoint/access.ts'
import { FORM_TYPE, JSON_TYPE } from '../endpoint/body.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import { timestamp, toTimestamp } from '../endpoint/timestamp.ts'
import { bodyOf, ruleSchema } from '../endpoint/validation.ts'

const userSchema = v.pipe(
  v.object({ id: v.pipe(v.number(), v.integer()), email: v.string(), created_at: timestamp }),
  v.metadata({
    title: 'User',
    examples: [{ id: 1, email: 'jane@example.com', created_at: '2026-01-31T09:30:00.000Z' }],
  }),
)

function present({ id, email, createdAt }: UserSnapshot): v.InferOutput<typeof userSchema> {
  return { id, email, created_at: toTimestamp(createdAt) }
}

const tokenSchema = v.pipe(
  v.object({
    access_token: v.string(),
    token_type: v.literal('bearer'),
    expires_in: v.pipe(v.number(), v.integer(), v.description('Seconds.')),
  }),
  v.metadata({
    title: 'AccessToken',
    examples: [
      { access_token: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl', token_type: 'bearer', expires_in: 3600 },
    ],
  }),
)

/** Accepted in a body and ignored, like the members of every resource that only the service sets. */
const readOnlyMembers = ['id', 'owner_id', 'created_at', 'updated_at']

const newUser = bodyOf('NewUser', readOnlyMembers, {
  email: ruleSchema<string>(credentialRules.email, {
    type: 'string',
    maxLength: EMAIL_LIMITS.max,
    description: 'E-mail address; letters of any script are allowed.',
    examples: ['jane@example.com'],
  }),
  password: ruleSchema<string>(credentialRules.password, {
    type: 'string',
    format: 'password',
    minLength: PASSWORD_LIMITS.min,
    maxLength: PASSWORD_LIMITS.max,
    examples: ['correct horse battery staple'],
  }),
})

const ignored = v.optional(v.pipe(v.unknown(), v.metadata({ type: 'string', description: 'Accepted and ignored.' })))

/** The password grant of OAuth 2.0 (RFC 6749, section 4.3.2). Longer values are accepted, but never match. */
const logIn = bodyOf('LogIn', readOnlyMembers, {
  username: ruleSchema<string>(loginRules.email, {
    type: 'string',
    maxLength: MAX_RAW_EMAIL,
    description: 'The e-mail address.',
    examples: ['jane@example.com'],
  }),
  password: ruleSchema<string>(loginRules.password, {
    type: 'string',
    format: 'password',
    maxLength: MAX_RAW_PASSWORD,
    examples: ['correct horse battery staple'],
  }),
  grant_type: ignored,
  scope: ignored,
  client_id: ignored,
  client_secret: ignored,
})

export function accountEndpoints(prefix: string, accounts: ManageAccounts): readonly Endpoint[] {
  return [
    endpoint({
      method: 'POST',
      path: `${prefix}/auth/register`,
      operationId: 'register',
      tag: 'Accounts',
      summary: 'Register an account',
      description: 'An e-mail address can be registered once. Log in to get an access token.',
      access: anyone,
      limit: 'register',
      body: { types: [JSON_TYPE], schema: newUser },
      responses: { 201: { description: 'The created account.', schema: userSchema } },
      errors: ['email_taken', 'store_unavailable', 'outcome_unknown', 'overloaded'],
      async handle({ body, caller }) {
        return { status: 201, body: present((await accounts.register(body, caller)).snapshot()) }
      },
    }),
    endpoint({
      method: 'POST',
      path: `${prefix}/auth/login`,
      operationId: 'logIn',
      tag: 'Accounts',
      summary: 'Exchange an e-mail address and a password for an access token',
      description:
        'The password grant of OAuth 2.0 (RFC 6749, section 4.3), as JSON or as a form. The response to wrong credentials does not reveal whether the account exists.',
      access: anyone,
      limit: 'login',
      body: { types: [JSON_TYPE, FORM_TYPE], schema: logIn },
      responses: {
        200: {
          description: 'An access token, to be sent as `Authorization: Bearer <token>`.',
          schema: tokenSchema,
        },
      },
      errors: ['invalid_credentials', 'store_unavailable', 'overloaded'],
      async handle({ body: { username: email, password }, caller }) {
        const { token, expiresIn } = await accounts.logIn({ email, password }, caller)
        return { status: 200, body: { access_token: token, token_type: 'bearer', expires_in: expiresIn } }
      },
    }),
    endpoint({
      method: 'GET',
      path: `${prefix}/auth/me`,
      operationId: 'whoAmI',
      tag: 'Accounts',
      summary: 'Get your account',
      description: 'Returns the user whose access token the request carries.',
      access: signedInUser,
      responses: { 200: { description: 'The authenticated user.', schema: userSchema } },
      errors: [],
      async handle({ caller }) {
        return { status: 200, body: present(caller) }
      },
    }),
  ]
}
