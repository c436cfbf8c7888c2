import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { allowProcesses, folder, Process, Service } from '#test/process.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const read = (page: string) => readFileSync(join(ROOT, page), 'utf8')
const PASSWORD = 'correct horse battery staple'

/** Commands, and the response that the page shows for them. */
interface Step {
  readonly commands: string
  readonly answer?: string
}

describe('The README’s curl walk', function () {
  this.slow(2000)

  allowProcesses()

  it('returns every member that it shows', async () => {
    const service = new Service({ DATABASE_URL: 'memory:' })
    await expectAnswers(stepsIn('README.md', 'Try it with curl'), { BASE: await service.url() })
  })
})

describe('The README’s in-process example', () => {
  allowProcesses()

  it('runs unchanged and prints the task', async () => {
    const [, example = ''] = /^```ts\n(.*?)^```/ms.exec(read('README.md')) ?? []
    const run = promisify(execFile)(process.execPath, ['--input-type=module-typescript'], { cwd: ROOT })
    run.child.stdin?.end(example)
    const { stdout, stderr } = await run
    expect(stderr).to.equal('')
    expect(stdout).to.include("title: 'Ship the release'").and.to.include('completed: true')
  })
})

describe('API.md’s curl walk through accounts', function () {
  this.timeout(40_000)
  this.slow(4000)

  allowProcesses()

  it('returns every member that it shows', async () => {
    const environment = { DATABASE_URL: 'sqlite:///tasks.db' }
    const service = new Service(environment)
    const url = await service.url()
    await register(url, 'jane@example.com')
    await register(url, 'admin@example.com')
    const grant = new Process('src/adapters/cli/admin.ts', environment, { words: ['grant', 'admin@example.com'] })
    expect(await grant.exitCode(), grant.output).to.equal(0)
    const login = await postJson(`${url}/api/v1/auth/login`, { username: 'admin@example.com', password: PASSWORD })
    const { access_token: ADMIN_TOKEN = '' } = (await login.json()) as { access_token?: string }

    await expectAnswers(stepsIn('.github/API.md', 'Accounts'), { BASE: url, ADMIN_TOKEN })

    const { user, tasks } = JSON.parse(readFileSync(join(folder, 'export.json'), 'utf8'))
    expect(user).to.include({ email: 'jane@example.com', time_zone: 'Europe/Berlin' })
    expect(tasks).to.deep.equal([])
  })
})

describe('API.md’s client of several tabs', function () {
  this.timeout(40_000)
  this.slow(4000)

  allowProcesses()

  type Storage = {
    getItem(key: string): string | null
    setItem(key: string, value: string): void
    removeItem(key: string): void
  }
  type Tab = {
    logIn(email: string, password: string): Promise<void>
    logOut(): Promise<void>
    request(path: string, options?: RequestInit): Promise<Response>
  }

  /** The storage that all tabs of a browser share. */
  function sharedStorage(): Storage {
    const items = new Map<string, string>()
    return {
      getItem: (key) => items.get(key) ?? null,
      setItem: (key, value) => items.set(key, value),
      removeItem: (key) => items.delete(key),
    }
  }

  /** Makes the access token invalid, as if it had expired. */
  function expire(storage: Storage): void {
    const tokens = JSON.parse(storage.getItem('tokens') ?? '')
    storage.setItem('tokens', JSON.stringify({ ...tokens, access_token: 'expired' }))
  }

  let open: (storage: Storage) => Tab
  beforeEach(async () => {
    const [, source = ''] = /^## Accounts\n.*?^```js\n(.*?)^```/ms.exec(read('.github/API.md')) ?? []
    const file = join(folder, 'client.mjs')
    writeFileSync(file, source)
    const { createClient } = await import(pathToFileURL(file).href)
    const url = await new Service({ DATABASE_URL: 'memory:' }).url()
    await register(url, 'jane@example.com')
    open = (storage) => createClient(`${url}/api/v1`, storage)
  })

  it('stays logged in when tabs refresh at the same instant', async () => {
    const storage = sharedStorage()
    const tabs = [open(storage), open(storage), open(storage)]
    await tabs[0]?.logIn('jane@example.com', PASSWORD)
    for (const _ of [1, 2, 3]) {
      expire(storage)
      const answers = await Promise.all(tabs.map((tab) => tab.request('/auth/me')))
      expect(answers.map(({ status }) => status)).to.deep.equal([200, 200, 200])
    }
  })

  it('returns 401 and forgets the tokens once the session has ended', async () => {
    const storage = sharedStorage()
    const tab = open(storage)
    await tab.logIn('jane@example.com', PASSWORD)
    const { status } = await tab.request('/auth/sessions/1', { method: 'DELETE' })
    expect(status).to.equal(204)
    expect((await tab.request('/auth/me')).status).to.equal(401)
    expect(storage.getItem('tokens')).to.equal(null)
  })

  it('logs all tabs out', async () => {
    const storage = sharedStorage()
    const [one, other] = [open(storage), open(storage)]
    await one.logIn('jane@example.com', PASSWORD)
    const kept = sharedStorage()
    kept.setItem('tokens', storage.getItem('tokens') ?? '')
    await one.logOut()
    expect((await other.request('/auth/me')).status).to.equal(401)
    expect((await open(kept).request('/auth/me')).status).to.equal(401)
  })
})

function postJson(url: string, body: object): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
}

async function register(url: string, email: string): Promise<void> {
  const { status } = await postJson(`${url}/api/v1/auth/register`, { email, password: PASSWORD })
  expect(status).to.equal(201)
}

/** The steps in a section of a page. */
function stepsIn(page: string, heading: string): readonly Step[] {
  const [, section = ''] = new RegExp(`^## ${heading}\\n(.*?)^## `, 'ms').exec(read(page)) ?? []
  const blocks = section.matchAll(/^```sh\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?/gms)
  const steps = [...blocks].map(([, commands = '', answer]) => ({ commands, ...(answer && { answer }) }))
  expect(steps.length, 'steps').to.be.greaterThan(5)
  return steps
}

/** Runs the steps in one shell, in the test's folder. */
async function expectAnswers(steps: readonly Step[], environment: Readonly<Record<string, string>>): Promise<void> {
  const script = steps.map(({ commands }) => `${commands}\nprintf '\\f'`).join('\n')
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: folder,
    env: { PATH: process.env.PATH, ...environment },
  })
  const answers = stdout.split('\f').slice(0, -1)
  expect(answers).to.have.lengthOf(steps.length)
  for (const [index, { commands, answer }] of steps.entries()) {
    if (answer === undefined) expect(answers[index], commands).to.equal('')
    else expect(comparable(answers[index]), commands).to.containSubset(comparable(answer))
  }
}

/** Texts that differ between runs. A page shows only the beginning of a token. */
const VARIABLE: Readonly<Record<string, RegExp>> = {
  'a time': /^\d{4}-\d\d-\d\dT[\d:.]+Z$/,
  'an access token': /^eyJ./,
  'a refresh token': /^tmr_./,
  'an API token': /^tma_./,
  curl: /^curl\/./,
}

/** The JSON, with a placeholder for each variable text. */
function comparable(json = ''): unknown {
  return JSON.parse(json, (name, value) => {
    if (name === 'refresh_expires_in') return 'the rest of a session'
    const [placeholder = value] = Object.entries(VARIABLE).find(([, form]) => form.test(value)) ?? []
    return placeholder
  })
}
