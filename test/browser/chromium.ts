import type { Browser, Page } from 'playwright-core'

export const CHROMIUM = {
  executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
  // The sandbox does not work as root. The other flags prevent requests to Google.
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
  /** URLs on other hosts that the page requested. */
  readonly foreign: Set<string>
  /** URLs on other hosts that the Content-Security-Policy blocked. */
  readonly blocked: Set<string>
  /** Console errors and warnings. */
  readonly consoleErrors: string[]
}

export async function watch(browser: Browser, url: string): Promise<Watched> {
  const page = await browser.newPage()
  const [foreign, blocked, consoleErrors] = [new Set<string>(), new Set<string>(), [] as string[]]
  const isForeign = (address: string) => /^(?:https?|wss?):/.test(address) && new URL(address).origin !== url
  page.on('request', (request) => {
    if (isForeign(request.url())) foreign.add(request.url())
  })
  page.on('requestfailed', (request) => {
    if (request.failure()?.errorText !== 'csp') return
    foreign.delete(request.url())
    blocked.add(request.url())
  })
  page.on('pageerror', (error) => consoleErrors.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') consoleErrors.push(message.text())
  })
  return { page, foreign, blocked, consoleErrors }
}

/** Logs in with the password form of Swagger UI. */
export async function authorize(page: Page, email: string, password: string): Promise<void> {
  await page.getByRole('button', { name: 'Authorize' }).first().click()
  const form = page.locator('.auth-container').filter({ hasText: 'Token URL' })
  await form.getByLabel('username:').fill(email)
  await form.getByLabel('password:').fill(password)
  await form.getByRole('button', { name: 'Apply given OAuth2 credentials' }).click()
  await form.getByRole('button', { name: 'Remove authorization' }).waitFor()
  await page.locator('.close-modal').click()
}
