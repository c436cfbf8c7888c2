import { expect } from 'chai'
import { pino } from 'pino'
import { type Browser, chromium } from 'playwright-core'
import { startService } from '#src/composition-root.ts'
import { readConfig } from '#src/config.ts'
import { authorize, CHROMIUM, watch } from './chromium.ts'

const EMAIL = 'jane@example.com'
const PASSWORD = 'correct horse battery staple'
const OPERATIONS = [
  '/health',
  '/livez',
  '/readyz',
  '/auth/register',
  '/auth/login',
  '/auth/me',
  '/tasks',
  '/tasks/{id}',
]

describe('In a browser', function () {
  this.timeout(60_000)
  this.slow(10_000)

  let browser: Browser
  let service: Awaited<ReturnType<typeof startService>>

  before(async () => {
    const config = readConfig({ ENVIRONMENT: 'test', PORT: '0', DATABASE_URL: 'memory:', BCRYPT_ROUNDS: '4' })
    service = await startService(config, pino({ level: 'silent' }))
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

  it('/docs shows every operation, signs in, and lists tasks', async () => {
    const { page, elsewhere, blocked, complaints } = await watch(browser, service.url)
    await page.goto(`${service.url}/docs`)
    for (const path of OPERATIONS) {
      await page.locator(`.opblock-summary-path[data-path$="${path}"]`).first().waitFor()
    }
    expect(await page.locator('.opblock').count()).to.equal(11)

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
    // That refusal is the one thing that the browser itself complains about.
    for (const complaint of complaints.splice(0)) expect(complaint).to.include('401')

    await authorize(page, EMAIL, PASSWORD)

    expect(await (await listTasks(200)).json()).to.deep.equal([])

    expect([...elsewhere, ...blocked]).to.deep.equal([])
    expect(complaints).to.deep.equal([])
    await page.close()
  })

  it('/docs asks for the password first, with the cursor in username, and keeps the token over a reload', async () => {
    const { page, complaints } = await watch(browser, service.url)
    await page.goto(`${service.url}/docs`)
    await page.getByRole('button', { name: 'Authorize' }).first().click()
    const forms = page.locator('.auth-container')
    expect(await forms.count()).to.equal(2)
    expect(await forms.first().innerText()).to.include('Token URL')
    expect(await page.evaluate('document.activeElement.id')).to.equal('oauth_username')
    const inputs = forms.first().locator('input:visible, select:visible')
    expect(await inputs.evaluateAll((all) => all.map(({ id }) => id))).to.deep.equal([
      'oauth_username',
      'oauth_password',
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
    expect(complaints).to.deep.equal([])
    await page.close()
  })

  for (const [path, shown] of [
    ['/docs', '#operations-Tasks-createTask .opblock-summary'],
    ['/redoc', '[data-section-id*="operation/createTask"]'],
  ] as const) {
    it(`${path} has no margin, and fits a screen 390 pixels wide`, async () => {
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

  it('/redoc shows every operation, and asks no other host for anything', async () => {
    const { page, elsewhere, blocked, complaints } = await watch(browser, service.url)
    await page.goto(`${service.url}/redoc`)
    for (const path of OPERATIONS) await page.getByText(path, { exact: false }).first().waitFor({ state: 'attached' })
    expect(await page.locator('[data-section-id*="operation/"]').count()).to.be.at.least(11)

    expect([...elsewhere, ...blocked]).to.deep.equal([])
    expect(complaints).to.deep.equal([])
    await page.close()
  })
})
