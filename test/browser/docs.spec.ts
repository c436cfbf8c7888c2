import { expect } from 'chai'
import { pino } from 'pino'
import { type Browser, chromium } from 'playwright-core'
import { startService } from '#src/composition-root.ts'
import { readConfig } from '#src/config.ts'
import { authorize, CHROMIUM, watch } from './chromium.ts'

const EMAIL = 'jane@example.com'
const PASSWORD = 'correct horse battery staple'

describe('The documentation in a browser', function () {
  this.timeout(60_000)
  this.slow(10_000)

  let browser: Browser
  let service: Awaited<ReturnType<typeof startService>>
  let paths: Readonly<Record<string, object>>

  before(async () => {
    const config = readConfig({ ENVIRONMENT: 'test', PORT: '0', DATABASE_URL: 'memory:', BCRYPT_ROUNDS: '4' })
    service = await startService(config, pino({ level: 'silent' }))
    const document = await fetch(`${service.url}/openapi.json`)
    paths = ((await document.json()) as { readonly paths: typeof paths }).paths
    browser = await chromium.launch(CHROMIUM)
    const body = JSON.stringify({ email: EMAIL, password: PASSWORD })
    const headers = { 'content-type': 'application/json' }
    const { status } = await fetch(`${service.url}/api/v1/auth/register`, { method: 'POST', headers, body })
    expect(status).to.equal(201)
  })
  after(async () => {
    await browser?.close()
    await service?.close()
  })

  it('shows every operation, logs in and lists tasks at /docs', async () => {
    const { page, foreign, blocked, consoleErrors } = await watch(browser, service.url)
    await page.goto(`${service.url}/docs`)
    for (const path of Object.keys(paths)) {
      await page.locator(`.opblock-summary-path[data-path="${path}"]`).first().waitFor()
    }
    const operations = Object.values(paths).flatMap((item) => Object.keys(item))
    expect(await page.locator('.opblock').count()).to.equal(operations.length)

    const list = page.locator('#operations-Tasks-listTasks')
    const listTasks = async (status: number) => {
      const answered = page.waitForResponse((response) => response.url().includes('/api/v1/tasks'))
      await list.getByRole('button', { name: 'Execute' }).click()
      const answer = await answered
      expect(answer.status()).to.equal(status)
      await list
        .locator('.live-responses-table .response-col_status', { hasText: String(status) })
        .first()
        .waitFor()
      return answer
    }
    await list.locator('.opblock-summary').click()
    await list.getByRole('button', { name: 'Try it out' }).click()
    await listTasks(401)
    // The browser logs the 401.
    for (const message of consoleErrors.splice(0)) expect(message).to.include('401')

    await authorize(page, EMAIL, PASSWORD)

    expect(await (await listTasks(200)).json()).to.deep.equal([])

    expect([...foreign, ...blocked]).to.deep.equal([])
    expect(consoleErrors).to.deep.equal([])
    await page.close()
  })

  it('focuses username in the Authorize dialog at /docs and keeps the token after a reload', async () => {
    const { page, consoleErrors } = await watch(browser, service.url)
    await page.goto(`${service.url}/docs`)
    await page.getByRole('button', { name: 'Authorize' }).first().click()
    const forms = page.locator('.auth-container')
    expect(await forms.count()).to.equal(2)
    expect(await forms.first().innerText()).to.include('Token URL')
    expect(await page.evaluate('document.activeElement.id')).to.equal('oauth_username')
    const inputs = forms.first().locator('input:visible, select:visible')
    expect(await inputs.evaluateAll((all) => all.map((each) => [each.id, each.getAttribute('type')]))).to.deep.equal([
      ['oauth_username', 'text'],
      ['oauth_password', 'password'],
    ])
    expect(await page.evaluate("document.querySelector('.modal-ux-content').scrollTop")).to.equal(0)
    await page.locator('.close-modal').click()
    await authorize(page, EMAIL, PASSWORD)

    await page.reload()
    const list = page.locator('#operations-Tasks-listTasks')
    await list.locator('.opblock-summary').click()
    await list.getByRole('button', { name: 'Try it out' }).click()
    const answered = page.waitForResponse((response) => response.url().includes('/api/v1/tasks'))
    await list.getByRole('button', { name: 'Execute' }).click()
    expect((await answered).status()).to.equal(200)
    expect(consoleErrors).to.deep.equal([])
    await page.close()
  })

  for (const [path, shown] of [
    ['/docs', '#operations-Tasks-createTask .opblock-summary'],
    ['/redoc', '[data-section-id*="operation/createTask"]'],
  ] as const) {
    it(`has no margin and fits a width of 390 pixels at ${path}`, async () => {
      const { page } = await watch(browser, service.url)
      await page.setViewportSize({ width: 390, height: 844 })
      await page.goto(service.url + path)
      await page.locator(shown).first().click()
      if (path === '/docs') await page.locator('#operations-Tasks-createTask .responses-table').first().waitFor()
      expect(await page.evaluate('getComputedStyle(document.body).margin')).to.equal('0px')
      expect(await page.evaluate('document.documentElement.scrollWidth')).to.equal(390)
      await page.close()
    })
  }

  it('shows every operation and requests no other host at /redoc', async () => {
    const { page, foreign, blocked, consoleErrors } = await watch(browser, service.url)
    await page.goto(`${service.url}/redoc`)
    for (const path of Object.keys(paths))
      await page.getByText(path, { exact: false }).first().waitFor({ state: 'attached' })
    expect(await page.locator('[data-section-id*="operation/"]').count()).to.be.at.least(11)

    expect([...foreign, ...blocked]).to.deep.equal([])
    expect(consoleErrors).to.deep.equal([])
    await page.close()
  })
})
