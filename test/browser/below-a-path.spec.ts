import { expect } from 'chai'
import { pino } from 'pino'
import { type Browser, chromium, type Page } from 'playwright-core'
import type { TaskBody } from '#src/adapters/http/routes/tasks.ts'
import { startService } from '#src/composition-root.ts'
import { readConfig } from '#src/config.ts'
import { authorize, CHROMIUM, watch } from './chromium.ts'
import { Nginx } from './nginx.ts'

const EMAIL = 'jane@example.com'
const PASSWORD = 'correct horse battery staple'
const ROOT_PATH = '/tasks-api'

describe('Behind nginx at the root of a host', function () {
  this.timeout(60_000)

  it('the service responds with its own paths and Strict-Transport-Security, and rejects a body that is too large', async () => {
    const environment = { ENVIRONMENT: 'test', PORT: '0', DATABASE_URL: 'memory:', BCRYPT_ROUNDS: '4' }
    const service = await startService(readConfig(environment), pino({ level: 'silent' }))
    const nginx = await Nginx.start('', service.url)
    try {
      expect((await fetch(`${nginx.url}/health`)).status).to.equal(200)
      expect((await fetch(`${nginx.url}/`)).url).to.equal(`${nginx.url}/docs`)
      const body = ' '.repeat(1_048_577)
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(`${nginx.url}/api/v1/auth/register`, { method: 'POST', headers, body })
      expect(await response.json()).to.include({ code: 'body_too_large' })
      expect(response.headers.get('strict-transport-security')).to.equal('max-age=31536000')
    } finally {
      await nginx.stop()
      await service.close()
    }
  })
})

describe('Behind nginx at /tasks-api, in a browser', function () {
  this.timeout(60_000)
  this.slow(10_000)

  let browser: Browser
  let service: Awaited<ReturnType<typeof startService>>
  let nginx: Nginx

  before(async () => {
    const environment = { ENVIRONMENT: 'test', PORT: '0', DATABASE_URL: 'memory:', BCRYPT_ROUNDS: '4', ROOT_PATH }
    service = await startService(readConfig(environment), pino({ level: 'silent' }))
    nginx = await Nginx.start(ROOT_PATH, service.url)
    browser = await chromium.launch(CHROMIUM)
    const { status } = await fetch(`${nginx.url}${ROOT_PATH}/api/v1/auth/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ email: EMAIL, password: PASSWORD }),
    })
    expect(status).to.equal(201)
  })
  after(async () => {
    await browser?.close()
    await nginx?.stop()
    await service?.close()
  })

  /** Executes an operation in Swagger UI. @returns the browser's response */
  async function execute(page: Page, operation: string) {
    const block = page.locator(`#operations-${operation}`)
    await block.locator('.opblock-summary').click()
    await block.getByRole('button', { name: 'Try it out' }).click()
    const answered = page.waitForResponse((response) => response.url().includes('/api/v1/'))
    await block.getByRole('button', { name: 'Execute' }).click()
    return answered
  }

  it('/docs logs in and creates a task, whose Location and Link work through the proxy', async () => {
    const { page, foreign, blocked, consoleErrors } = await watch(browser, nginx.url)
    await page.goto(`${nginx.url}${ROOT_PATH}/docs`)
    const asked = page.waitForRequest((request) => request.url().endsWith('/auth/login'))
    await authorize(page, EMAIL, PASSWORD)
    expect((await asked).url()).to.equal(`${nginx.url}${ROOT_PATH}/api/v1/auth/login`)

    const created = await execute(page, 'Tasks-createTask')
    expect(created.url()).to.equal(`${nginx.url}${ROOT_PATH}/api/v1/tasks`)
    expect(created.status()).to.equal(201)
    const { id, title } = await created.json()
    const { authorization = '' } = await created.request().allHeaders()
    const follow = (reference: string): Promise<{ status: number; link: string | null; body: TaskBody[] }> =>
      page.evaluate(
        async ({ reference, authorization }) => {
          const response = await fetch(reference, { headers: { authorization } })
          return {
            status: response.status,
            link: response.headers.get('link'),
            body: (await response.json()) as TaskBody[],
          }
        },
        { reference, authorization },
      )

    const location = await created.headerValue('location')
    expect(location).to.equal(`${ROOT_PATH}/api/v1/tasks/${id}`)
    expect((await follow(location ?? '')).status).to.equal(200)

    await page.evaluate(
      async ({ url, authorization }) => {
        const headers = { authorization, 'content-type': 'application/json' }
        await fetch(url, { method: 'POST', headers, body: '{"title":"Second"}' })
      },
      { url: created.url(), authorization },
    )
    const first = await follow(`${created.url()}?limit=1`)
    expect(first.body[0]?.title).to.equal('Second')
    const [, next = ''] = /<([^>]+)>; rel="next"/.exec(first.link ?? '') ?? []
    expect(next).to.match(new RegExp(`^${ROOT_PATH}/api/v1/tasks\\?`))
    const second = await follow(next)
    expect(second.status).to.equal(200)
    expect(second.body[0]?.title).to.equal(title)

    expect([...foreign, ...blocked]).to.deep.equal([])
    expect(consoleErrors).to.deep.equal([])
    await page.close()
  })

  for (const [from, to] of [
    ['/', '/docs'],
    ['/docs/', '/docs'],
    ['/redoc/', '/redoc'],
  ] as const) {
    it(`${from} redirects to ${to} below the path`, async () => {
      const { page } = await watch(browser, nginx.url)
      await page.goto(`${nginx.url}${ROOT_PATH}${from}`)
      expect(page.url()).to.equal(`${nginx.url}${ROOT_PATH}${to}`)
      await page.getByText('/api/v1/tasks', { exact: false }).first().waitFor({ state: 'attached' })
      await page.close()
    })
  }

  it('X-Request-Id is forwarded in both directions', async () => {
    const response = await fetch(`${nginx.url}${ROOT_PATH}/health`, { headers: { 'x-request-id': 'report-42' } })
    expect(response.headers.get('x-request-id')).to.equal('report-42')
  })

  it('the service rejects a body that is too large, not nginx', async () => {
    const response = await fetch(`${nginx.url}${ROOT_PATH}/api/v1/auth/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: ' '.repeat(1_048_577),
    })
    expect(response.status).to.equal(413)
    expect(response.headers.get('content-type')).to.equal('application/problem+json')
    expect(await response.json()).to.include({ code: 'body_too_large' })
  })

  it('/redoc loads the OpenAPI document', async () => {
    const { page } = await watch(browser, nginx.url)
    await page.goto(`${nginx.url}${ROOT_PATH}/redoc`)
    await page.getByText('/api/v1/tasks', { exact: false }).first().waitFor({ state: 'attached' })
    await page.close()
  })
})
