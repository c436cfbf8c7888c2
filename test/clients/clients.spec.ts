import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'chai'
import createClient from 'openapi-fetch'
import { allowProcesses, Service } from '../process.ts'
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
})
