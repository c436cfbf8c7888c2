import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'chai'
import * as oauth from 'oauth4webapi'
import createClient, { type Client } from 'openapi-fetch'
import { freePort } from '../free-port.ts'
import { allowProcesses, Process, Service, testEnds } from '../process.ts'
import { waitUntil } from '../wait-until.ts'
import type { Problem } from './generated/hey-api/index.ts'
import type { components, paths } from './openapi.ts'

const HERE = import.meta.dirname
const EMAIL = 'jane@example.com'
const PASSWORD = 'correct horse battery staple'

/** The output of a file run by Node in this folder, even if it fails. */
const run = (file: string, ...words: readonly string[]): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)(process.execPath, [join(HERE, file), ...words], { cwd: HERE }).catch((error) => error)

/** The query parameters of the next page, from the `Link` header. */
function nextPage(response: Response | undefined): { cursor: string; limit: number } {
  const [, target = ''] = /<([^>]+)>; rel="next"/.exec(response?.headers.get('link') ?? '') ?? []
  const query = new URL(target, 'http://localhost').searchParams
  return { cursor: query.get('cursor') ?? '', limit: Number(query.get('limit')) }
}

describe('A generated client', function () {
  this.slow(40_000)
  allowProcesses()

  before(async () => {
    const { stdout, stderr } = await run('../../src/adapters/cli/openapi.ts')
    expect(stderr).to.equal('')
    mkdirSync(join(HERE, 'generated'), { recursive: true })
    writeFileSync(join(HERE, 'generated/openapi.json'), stdout)
    const page = readFileSync(join(HERE, '../../.github/API.md'), 'utf8')
    const [, sample = ''] = /^## Sync a client\n.*?^```ts\n(.*?)^```/ms.exec(page) ?? []
    writeFileSync(join(HERE, 'generated/sync.ts'), sample)
    copyFileSync(join(HERE, 'openapi.ts'), join(HERE, 'generated/openapi.ts'))
  })

  // Both generators print warnings to stderr.
  it('of openapi-typescript is generated without a warning and is committed', async () => {
    const words = ['generated/openapi.json', '--output', 'openapi.ts', '--check']
    const { stderr } = await run('node_modules/.bin/openapi-typescript', ...words)
    expect(stderr, 'npm run generate:clients').to.equal('')
  })

  it('of @hey-api/openapi-ts is generated without a warning', async () => {
    expect((await run('node_modules/.bin/openapi-ts')).stderr).to.equal('')
  })

  it('compiles under strict', async () => {
    expect((await run('node_modules/.bin/tsc')).stdout).to.equal('')
  })

  it('of openapi-fetch registers, logs in, creates, pages, edits, deletes, and gets a typed problem', async () => {
    const client = createClient<paths>({ baseUrl: await new Service({ DATABASE_URL: 'memory:' }).url() })

    const { data: user } = await client.POST('/api/v1/auth/register', { body: { email: EMAIL, password: PASSWORD } })
    expect(user).to.include({ id: 1, email: EMAIL })
    const { data: login } = await client.POST('/api/v1/auth/login', { body: { username: EMAIL, password: PASSWORD } })
    client.use({
      onRequest: ({ request }) => request.headers.set('Authorization', `Bearer ${login?.access_token}`),
    })

    for (const title of ['First', 'Second', 'Third']) {
      const { data: task } = await client.POST('/api/v1/tasks', { body: { title } })
      expect(task).to.include({ title, description: null, completed: false })
    }
    const page = await client.GET('/api/v1/tasks', { params: { query: { limit: 2 } } })
    expect(page.data?.map(({ title }) => title)).to.deep.equal(['Third', 'Second'])
    const next = await client.GET('/api/v1/tasks', { params: { query: nextPage(page.response) } })
    expect(next.data?.map(({ title }) => title)).to.deep.equal(['First'])

    const params = { path: { id: 1 } }
    const { data: edited } = await client.PATCH('/api/v1/tasks/{id}', { params, body: { completed: true } })
    expect(edited).to.include({ title: 'First', completed: true })
    expect((await client.DELETE('/api/v1/tasks/{id}', { params })).response.status).to.equal(204)

    const { error } = await client.GET('/api/v1/tasks/{id}', { params })
    const problem: components['schemas']['Problem'] | undefined = error
    // @ts-expect-error: no such code is in the document
    if (problem?.code === 'no_such_code') expect.fail()
    expect(problem).to.include({ status: 404, code: 'task_not_found', instance: '/api/v1/tasks/1' })
  })

  it('of @hey-api/openapi-ts registers, logs in, creates, pages, edits, deletes, and gets a typed problem', async () => {
    const api = await import('./generated/hey-api/index.ts')
    const { client } = await import('./generated/hey-api/client.gen.ts')
    client.setConfig({ baseUrl: await new Service({ DATABASE_URL: 'memory:' }).url() })

    const { data: user } = await api.register({ body: { email: EMAIL, password: PASSWORD } })
    expect(user).to.include({ id: 1, email: EMAIL })
    const { data: login } = await api.logIn({ body: { username: EMAIL, password: PASSWORD } })
    client.setConfig({ auth: login?.access_token })

    for (const title of ['First', 'Second', 'Third']) {
      const { data: task } = await api.createTask({ body: { title } })
      expect(task).to.include({ title, description: null, completed: false })
    }
    const page = await api.listTasks({ query: { limit: 2 } })
    expect(page.data?.map(({ title }) => title)).to.deep.equal(['Third', 'Second'])
    const next = await api.listTasks({ query: nextPage(page.response) })
    expect(next.data?.map(({ title }) => title)).to.deep.equal(['First'])

    const path = { id: 1 }
    const { data: edited } = await api.editTask({ path, body: { completed: true } })
    expect(edited).to.include({ title: 'First', completed: true })
    expect((await api.deleteTask({ path })).response?.status).to.equal(204)

    const { error } = await api.getTask({ path })
    const problem: Problem | undefined = error
    // @ts-expect-error: no such code is in the document
    if (problem?.code === 'no_such_code') expect.fail()
    expect(problem).to.include({ status: 404, code: 'task_not_found', instance: '/api/v1/tasks/1' })
  })

  it('of openapi-fetch, as API.md shows it, keeps a replica equal to the list across a restart and a restored backup', async () => {
    const { sync } = await import('./generated/sync.ts')
    const environment = { DATABASE_URL: 'sqlite:///tasks.db', PORT: String(await freePort()) }
    let service = new Service(environment)
    const baseUrl = await service.url()
    const anonymous = createClient<paths>({ baseUrl })
    await anonymous.POST('/api/v1/auth/register', { body: { email: EMAIL, password: PASSWORD } })
    const credentials = { username: EMAIL, password: PASSWORD }
    const { data: login } = await anonymous.POST('/api/v1/auth/login', { body: credentials })
    const token = login?.access_token ?? ''
    const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } })
    const runCommand = async (name: string) => {
      const command = new Process(`src/adapters/cli/${name}.ts`, environment, { words: ['backup.db'] })
      expect(await command.exitCode(), command.output).to.equal(0)
    }
    const start = async () => {
      service = new Service(environment)
      await service.url()
    }

    const first = await createTask(api, 'First')
    const operations = Array.from({ length: 100 }, (_, index) => ({
      op: 'create' as const,
      task: { title: `Task ${index}` },
    }))
    for (const _ of [1, 2, 3]) await api.POST('/api/v1/tasks/batch', { body: { operations } })
    const replica: Parameters<typeof sync>[2] = { tasks: new Map() }
    sync(baseUrl, token, replica, testEnds)
    const expectEqual = async () => {
      const latest = await createTask(api, 'Latest')
      await waitUntil(() => replica.tasks.has(latest))
      expect([...replica.tasks.values()].sort((one, other) => other.id - one.id)).to.deep.equal(await listTasks(api))
    }

    await expectEqual()
    await api.PATCH('/api/v1/tasks/{id}', { params: { path: { id: first } }, body: { title: '1\u2028\n\nid: x 🙂' } })
    await api.DELETE('/api/v1/tasks/{id}', { params: { path: { id: first + 1 } } })
    await expectEqual()

    await runCommand('backup')
    await service.stop()
    await start()
    await api.DELETE('/api/v1/tasks/{id}', { params: { path: { id: first + 2 } } })
    await expectEqual()

    const lost = await createTask(api, 'Lost')
    await waitUntil(() => replica.tasks.has(lost))
    await service.stop()
    await runCommand('restore')
    await start()
    await expectEqual()
    expect(replica.tasks.has(lost)).to.equal(false)
    expect(replica.tasks.has(first + 2)).to.equal(true)
  })
})

describe('A client library of OAuth 2.0', function () {
  this.slow(40_000)
  allowProcesses()

  it('logs in, refreshes and revokes, and understands the refusals', async () => {
    const url = await new Service({ DATABASE_URL: 'memory:' }).url()
    const server = {
      issuer: url,
      token_endpoint: `${url}/api/v1/auth/login`,
      revocation_endpoint: `${url}/api/v1/auth/revoke`,
    }
    const refreshing = { ...server, token_endpoint: `${url}/api/v1/auth/refresh` }
    const client = { client_id: 'library' }
    const options = { [oauth.allowInsecureRequests]: true }
    await createClient<paths>({ baseUrl: url }).POST('/api/v1/auth/register', {
      body: { email: EMAIL, password: PASSWORD },
    })

    const logIn = async (password: string) => {
      const credentials = { username: EMAIL, password }
      const request = oauth.genericTokenEndpointRequest(server, client, oauth.None(), 'password', credentials, options)
      return oauth.processGenericTokenEndpointResponse(server, client, await request)
    }
    const refresh = async (token = '') => {
      const request = oauth.refreshTokenGrantRequest(refreshing, client, oauth.None(), token, options)
      return oauth.processRefreshTokenResponse(refreshing, client, await request)
    }
    const refusal = (attempt: Promise<unknown>) =>
      attempt.then(
        () => expect.fail('no refusal'),
        (error) => error,
      )

    const first = await logIn(PASSWORD)
    expect(first).to.include({ token_type: 'bearer', expires_in: 3_600 })
    const second = await refresh(first.refresh_token)
    expect(second.refresh_token).to.be.a('string').and.not.equal(first.refresh_token)
    const revoked = oauth.revocationRequest(server, client, oauth.None(), second.refresh_token ?? '', options)
    await oauth.processRevocationResponse(await revoked)
    const invalid = await refusal(refresh(second.refresh_token))
    expect(invalid).to.be.instanceOf(oauth.ResponseBodyError).and.include({ error: 'invalid_grant', status: 400 })
    expect(invalid.error_description).to.match(/log in again/)
    const wrong = await refusal(logIn('wrong password'))
    expect(wrong).to.be.instanceOf(oauth.WWWAuthenticateChallengeError).and.include({ status: 401 })
  })
})

async function createTask(api: Client<paths>, title: string): Promise<number> {
  const { data } = await api.POST('/api/v1/tasks', { body: { title } })
  return data?.id ?? expect.fail('no task')
}

async function listTasks(api: Client<paths>) {
  const tasks: components['schemas']['Task'][] = []
  for (let skip = 0; ; skip += 200) {
    const { data } = await api.GET('/api/v1/tasks', { params: { query: { skip, limit: 200 } } })
    if (!data?.length) return tasks
    tasks.push(...data)
  }
}
