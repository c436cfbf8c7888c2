import * as v from 'valibot'
import { MAX_RAW_PASSWORD } from '../../../domain/accounts/password.ts'
import type { SignIn, TokenPair } from '../../../domain/accounts/sign-in.ts'
import { loginRules, MAX_RAW_EMAIL } from '../../../domain/accounts/user.ts'
import { wellFormed } from '../../../domain/rules.ts'
import { anyone } from '../endpoint/access.ts'
import { FORM_TYPE, JSON_TYPE } from '../endpoint/body.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import { HttpError } from '../endpoint/problems.ts'
import { bodyOf, ruleSchema } from '../endpoint/validation.ts'
import { emailMember, newPasswordMember, presentUser, readOnlyMembers, userSchema } from './user-members.ts'

const seconds = (description: string) => v.pipe(v.number(), v.integer(), v.description(description))

const tokenPair = v.pipe(
  v.object({
    access_token: v.string(),
    token_type: v.literal('bearer'),
    expires_in: seconds('Seconds until the access token expires.'),
    refresh_token: v.string(),
    refresh_expires_in: seconds('Seconds until the session ends, unless it is used before.'),
  }),
  v.metadata({
    title: 'TokenPair',
    examples: [
      {
        access_token: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl',
        token_type: 'bearer',
        expires_in: 3600,
        refresh_token: 'cmVmcmVzaCB0b2tlbg',
        refresh_expires_in: 2_592_000,
      },
    ],
  }),
)

const presentPair = ({ access, refreshToken, refreshExpiresIn }: TokenPair): v.InferOutput<typeof tokenPair> => ({
  access_token: access.token,
  token_type: 'bearer',
  expires_in: access.expiresIn,
  refresh_token: refreshToken,
  refresh_expires_in: refreshExpiresIn,
})

const ignored = v.optional(v.pipe(v.unknown(), v.metadata({ type: 'string', description: 'Accepted and ignored.' })))
/** OAuth clients send them, but the service has one kind of client. */
const ignoredOAuthMembers = { grant_type: ignored, scope: ignored, client_id: ignored, client_secret: ignored }

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
  ...ignoredOAuthMembers,
})

/** Maximum length in characters; tokens of this service have less than half. */
const MAX_TOKEN = 2_048

/** Optional in the schema, because a missing token returns 400 (RFC 6749, section 5.2), not 422. */
const tokenMember = (description: string) =>
  v.exactOptional(
    ruleSchema<string>(wellFormed, {
      type: 'string',
      maxLength: MAX_TOKEN,
      description,
      examples: ['cmVmcmVzaCB0b2tlbg'],
    }),
  )

const refresh = bodyOf(
  'Refresh',
  [],
  { refresh_token: tokenMember('The refresh token that you received last.'), ...ignoredOAuthMembers },
  { required: ['refresh_token'] },
)

const revoke = bodyOf(
  'Revoke',
  [],
  {
    token: tokenMember('A refresh token, an access token or an API token.'),
    token_type_hint: ignored,
    client_id: ignored,
    client_secret: ignored,
  },
  { required: ['token'] },
)

/**
 * A parameter without a value counts as missing (RFC 6749, section 3.2). A text that is too long for a token is replaced by
 * an empty one, which is invalid as well.
 *
 * @throws HttpError `invalid_request` when the token is missing
 */
function requiredToken(name: string, token: string | undefined): string {
  if (!token) throw new HttpError('invalid_request', {}, `The parameter ${name} is missing.`)
  return token.length > MAX_TOKEN ? '' : token
}

const pairResponse = {
  description: 'An access token, to be sent as `Authorization: Bearer <token>`, and a refresh token for the next pair.',
  schema: tokenPair,
}

/** @param passwordMinLength in characters */
export function signInEndpoints(prefix: string, signIn: SignIn, passwordMinLength: number): readonly Endpoint[] {
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
      body: {
        types: [JSON_TYPE],
        schema: bodyOf('NewUser', readOnlyMembers, {
          email: emailMember,
          password: newPasswordMember(passwordMinLength),
        }),
      },
      responses: { 201: { description: 'The created account.', schema: userSchema } },
      errors: ['registration_disabled', 'email_taken', 'store_unavailable', 'outcome_unknown', 'overloaded'],
      async handle({ body, caller }) {
        return { status: 201, body: presentUser((await signIn.register(body, caller)).snapshot()) }
      },
    }),
    endpoint({
      method: 'POST',
      path: `${prefix}/auth/login`,
      operationId: 'logIn',
      tag: 'Sessions',
      summary: 'Exchange an e-mail address and a password for tokens',
      description:
        'The password grant of OAuth 2.0 (RFC 6749, section 4.3), as JSON or as a form. Starts a session. The response to wrong credentials does not reveal whether the account exists.',
      access: anyone,
      limit: 'login',
      body: { types: [JSON_TYPE, FORM_TYPE], schema: logIn },
      responses: { 200: pairResponse },
      oauthErrors: 'problem',
      errors: ['invalid_credentials', 'store_unavailable', 'outcome_unknown', 'overloaded'],
      async handle({ body: { username: email, password }, caller }) {
        return { status: 200, body: presentPair(await signIn.logIn({ email, password }, caller)) }
      },
    }),
    endpoint({
      method: 'POST',
      path: `${prefix}/auth/refresh`,
      operationId: 'refresh',
      tag: 'Sessions',
      summary: 'Exchange a refresh token for new tokens',
      description:
        'As JSON or as a form (RFC 6749, section 6). Each refresh token works once: store the new one. Requests that send the same token at nearly the same time get the same successor; a used token that is sent again later ends the session.',
      access: anyone,
      limit: 'refresh',
      body: { types: [JSON_TYPE, FORM_TYPE], schema: refresh },
      responses: { 200: pairResponse },
      oauthErrors: 'json',
      errors: ['invalid_request', 'invalid_grant', 'store_unavailable', 'outcome_unknown'],
      async handle({ body: { refresh_token }, caller }) {
        const token = requiredToken('refresh_token', refresh_token)
        return { status: 200, body: presentPair(await signIn.refresh(token, caller)) }
      },
    }),
    endpoint({
      method: 'POST',
      path: `${prefix}/auth/revoke`,
      operationId: 'revoke',
      tag: 'Sessions',
      summary: 'Log out, or revoke an API token',
      description:
        'Takes a token as JSON or as a form (RFC 7009). Ends the session of a refresh token or an access token, or deletes an API token.',
      access: anyone,
      limit: 'refresh',
      body: { types: [JSON_TYPE, FORM_TYPE], schema: revoke },
      responses: { 200: { description: 'The token is no longer valid, or never was.', schema: v.object({}) } },
      oauthErrors: 'json',
      errors: ['invalid_request', 'store_unavailable', 'outcome_unknown'],
      async handle({ body: { token }, caller }) {
        await signIn.revoke(requiredToken('token', token), caller)
        return { status: 200, body: {} }
      },
    }),
  ]
}
