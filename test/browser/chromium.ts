import type { Browser, Page } from 'playwright-core'

export const CHROMIUM = {
  executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
  // As root there is no sandbox; the rest keeps the browser from calling its maker.
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
}

/** Side effects of a page: its requests to other hosts and its console messages. */
export interface Watched {
  readonly page: Page
  /** Addresses elsewhere that the page got an answer from, or waits for one. */
  readonly elsewhere: Set<string>
  /** Addresses elsewhere that its policy kept it from asking. */
  readonly blocked: Set<string>
  readonly complaints: string[]
}

export async function watch(browser: Browser, url: string): Promise<Watched> {
  const page = await browser.newPage()
  const [elsewhere, blocked, complaints] = [new Set<string>(), new Set<string>(), [] as string[]]
  const isElsewhere = (address: string) => /^(?:https?|wss?):/.test(address) && new URL(address).origin !== url
  page.on('request', (request) => {
    if (isElsewhere(request.url())) elsewhere.add(request.url())
  })
  page.on('requestfailed', (request) => {
    if (request.failure()?.errorText !== 'csp') return
    elsewhere.delete(request.url())
    blocked.add(request.url())
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  return { page, elsewhere, blocked, complaints }
}

/** Signs in by the password form of Swagger UI. */
export async function authorize(page: Page, email: string, password: string): Promise<void> {
  await page.getByRole('button', { name: 'Authorize' }).first().click()
  const form = page.locator('.auth-container').filter({ hasText: 'Token URL' })
  await form.getByLabel('username:').fill(email)
  await form.getByLabel('password:').fill(password)
  await form.getByRole('button', { name: 'Apply given OAuth2 credentials' }).click()
  await form.getByRole('button', { name: 'Remove authorization' }).waitFor()
  await page.locator('.close-modal').click()
}
