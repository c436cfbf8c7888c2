import { expect } from 'chai'
import { SCOPES, type Scope } from '#src/domain/accounts/caller.ts'
import { type Api, codeOf, describeApi, SECRET_KEY, type User } from './api.ts'
import type { Answer } from './documented.ts'
import { signed } from './tokens.ts'

/** The credentials that each operation requires. */
const ACCESS: Readonly<Record<string, 'anyone' | 'session' | 'admin' | Scope>> = {
  'GET /health': 'anyone',
  'GET /livez': 'anyone',
  'GET /readyz': 'anyone',
  'POST /api/v1/auth/register': 'anyone',
  'POST /api/v1/auth/login': 'anyone',
  'POST /api/v1/auth/refresh': 'anyone',
  'POST /api/v1/auth/revoke': 'anyone',
  'GET /api/v1/auth/me': 'account',
  'PATCH /api/v1/auth/me': 'account',
  'DELETE /api/v1/auth/me': 'session',
  'POST /api/v1/auth/me/delete': 'session',
  'GET /api/v1/auth/me/export': 'account',
  'GET /api/v1/auth/sessions': 'session',
  'DELETE /api/v1/auth/sessions': 'session',
  'DELETE /api/v1/auth/sessions/{id}': 'session',
  'POST /api/v1/auth/tokens': 'session',
  'GET /api/v1/auth/tokens': 'session',
  'DELETE /api/v1/auth/tokens/{id}': 'session',
  'POST /api/v1/tasks': 'tasks:write',
  'GET /api/v1/tasks': 'tasks:read',
  'GET /api/v1/tasks/{id}': 'tasks:read',
  'PATCH /api/v1/tasks/{id}': 'tasks:write',
  'DELETE /api/v1/tasks/{id}': 'tasks:write',
  'POST /api/v1/tasks/batch': 'tasks:write',
  'GET /api/v1/tasks/changes': 'tasks:read',
  'GET /api/v1/tasks/events': 'tasks:read',
  'GET /api/v1/admin/users': 'admin',
  'PATCH /api/v1/admin/users/{id}': 'admin',
  'DELETE /api/v1/admin/users/{id}': 'admin',
  'DELETE /api/v1/admin/users/{id}/sessions': 'admin',
}

/** `allowed`, or the code of the refusal. */
type Verdict =
  | 'allowed'
  | 'not_authenticated'
  | 'invalid_token'
  | 'insufficient_scope'
  | 'session_required'
  | 'route_not_found'
const STATUS: Readonly<Record<Exclude<Verdict, 'allowed'>, number>> = {
  not_authenticated: 401,
  invalid_token: 401,
  insufficient_scope: 403,
  session_required: 403,
  route_not_found: 404,
}

type Needs = (typeof ACCESS)[string]
const unless =
  (refusal: Verdict) =>
  (needs: Needs): Verdict =>
    needs === 'anyone' ? 'allowed' : refusal
const session = (needs: Needs): Verdict => (needs === 'admin' ? 'route_not_found' : 'allowed')
const script =
  (isAdmin: boolean, ...granted: readonly Scope[]) =>
  (needs: Needs): Verdict => {
    if (needs === 'anyone') return 'allowed'
    if (needs === 'admin' && !isAdmin) return 'route_not_found'
    if (needs === 'admin' || needs === 'session') return 'session_required'
    const wider = granted.includes('tasks:write') && needs === 'tasks:read'
    return granted.includes(needs) || wider ? 'allowed' : 'insufficient_scope'
  }

interface Credential {
  readonly authorization: (api: Api) => Promise<string | undefined>
  readonly verdict: (needs: Needs) => Verdict
}

const bearer = ({ token }: Pick<User, 'token'>) => `Bearer ${token}`

async function disabled(api: Api): Promise<{ readonly user: User; readonly script: User }> {
  const user = await api.signUp()
  const script = await user.asScript(...SCOPES)
  const admin = await api.signUpAdmin()
  await admin.patch(`/api/v1/admin/users/${user.id}`).send({ disabled: true }).expect(200)
  return { user, script }
}

const credentials: Readonly<Record<string, Credential>> = {
  'no credential': { authorization: async () => undefined, verdict: unless('not_authenticated') },
  'another scheme': { authorization: async () => 'Basic amFuZTpzZWNyZXQ=', verdict: unless('not_authenticated') },
  garbage: { authorization: async () => 'Bearer nonsense', verdict: unless('invalid_token') },
  'an API token that was made up': {
    authorization: async () => `Bearer tma_${'0'.repeat(60)}`,
    verdict: unless('invalid_token'),
  },
  'a refresh token': {
    authorization: async (api) => `Bearer ${(await api.signUp()).refreshToken}`,
    verdict: unless('invalid_token'),
  },
  'a session': { authorization: async (api) => bearer(await api.signUp()), verdict: session },
  'a token from before there were sessions': {
    async authorization(api) {
      const iat = Math.floor(Date.now() / 1_000)
      return `Bearer ${signed({ sub: String((await api.signUp()).id), iat, exp: iat + 600 }, SECRET_KEY)}`
    },
    verdict: session,
  },
  'a session that has ended': {
    async authorization(api) {
      const jane = await api.signUp()
      await api.post('/api/v1/auth/revoke').send({ token: jane.token }).expect(200)
      return bearer(jane)
    },
    verdict: unless('invalid_token'),
  },
  'the session of a disabled user': {
    authorization: async (api) => bearer((await disabled(api)).user),
    verdict: unless('invalid_token'),
  },
  'the API token of a disabled user': {
    authorization: async (api) => bearer((await disabled(api)).script),
    verdict: unless('invalid_token'),
  },
  ...Object.fromEntries(
    SCOPES.map((scope) => [
      `an API token with the scope ${scope}`,
      {
        authorization: async (api: Api) => bearer(await (await api.signUp()).asScript(scope)),
        verdict: script(false, scope),
      },
    ]),
  ),
  'the session of an admin': {
    authorization: async (api) => bearer(await api.signUpAdmin()),
    verdict: () => 'allowed',
  },
  'the API token of an admin, with every scope': {
    authorization: async (api) => bearer(await (await api.signUpAdmin()).asScript(...SCOPES)),
    verdict: script(true, ...SCOPES),
  },
}

describeApi('Access', (api) => {
  it('is declared for every operation', () => {
    const operations = Object.entries(api.document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(operations.sort()).to.deep.equal(Object.keys(ACCESS).sort())
  })

  it('is documented', () => {
    for (const [operation, needs] of Object.entries(ACCESS)) {
      const [method = '', path = ''] = operation.split(' ')
      const { security, description, responses } = documented(api, method, path)
      if (needs === 'anyone') expect(security, operation).to.deep.equal([])
      else {
        const scopes = needs.includes('tasks:') || needs === 'account' ? [needs] : []
        expect(security, operation).to.deep.equal([{ password: [] }, { bearer: scopes }])
        expect(description, operation).to.include(scopes[0] ?? 'API tokens are refused')
        expect(responses, operation).to.include.keys('401', '403')
      }
    }
  })

  for (const [what, { authorization, verdict }] of Object.entries(credentials)) {
    it(`with ${what} is as declared`, async () => {
      const credential = await authorization(api)
      for (const [operation, needs] of Object.entries(ACCESS)) {
        const [method = '', template = ''] = operation.split(' ')
        const answer = await attempt(api, method, template, credential)
        const expected = verdict(needs)
        const seen = verdictOf(template, answer)
        expect(seen, operation).to.equal(expected)
        if (expected !== 'allowed') expect(answer.status, operation).to.equal(STATUS[expected])
        if (expected === 'insufficient_scope')
          expect(answer.headers['www-authenticate']).to.equal(`Bearer error="insufficient_scope", scope="${needs}"`)
      }
    })
  }
})

const documented = (api: Api, method: string, path: string) => {
  const operation = api.document.paths[path]?.[method.toLowerCase()]
  if (!operation) throw new Error(`${method} ${path} is not documented`)
  return operation
}

/** An id that no resource has. */
const UNUSED = '999999999'

/** A request that changes nothing: its id is unused, and its body is an empty object. */
function attempt(api: Api, method: string, template: string, authorization: string | undefined): Promise<Answer> {
  const hasBody = documented(api, method, template).requestBody !== undefined
  return api.raw({
    // A GET would open an endless stream.
    method: template.endsWith('/events') ? 'HEAD' : method,
    path: template.replace('{id}', UNUSED),
    headers: {
      ...(authorization !== undefined && { authorization }),
      ...(hasBody && { 'content-type': 'application/json' }),
    },
    ...(hasBody && { body: '{}' }),
  })
}

/** A response to HEAD has no body, so its status and WWW-Authenticate show the refusal. */
function verdictOf(template: string, answer: Answer): Verdict {
  const isRefusal = (code: string): code is Verdict => code in STATUS
  if (answer.status < 400) return 'allowed'
  if (template.endsWith('/events')) return headVerdict(answer)
  const code = codeOf(answer)
  return isRefusal(code) ? code : 'allowed'
}

function headVerdict({ status, headers }: Answer): Verdict {
  if (status === 403) return 'insufficient_scope'
  return String(headers['www-authenticate']).includes('error') ? 'invalid_token' : 'not_authenticated'
}
