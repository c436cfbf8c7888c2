import { AssertionError } from 'chai'
import type { Answer } from './documented.ts'

/** Headers of every response. An error has `Cache-Control: no-store`. */
const HEADERS = {
  'x-request-id': /^[A-Za-z0-9._-]{1,128}$/,
  'x-content-type-options': /^nosniff$/,
  'content-security-policy': /^default-src 'none'/,
  'referrer-policy': /./,
  'cache-control': /./,
}

/**
 * Checks the rules that all responses follow, by plain comparisons, because a test run checks 29,000 responses.
 *
 * @param target path and query of the request
 * @throws AssertionError when a rule is broken
 */
export function checkCommonRules(method: string, target: string, answer: Answer): void {
  const { status, headers } = answer
  const expectThat = (holds: boolean, rule: string) => {
    if (!holds) throw new AssertionError(`${method} ${target} → ${status}: ${rule}`)
  }
  for (const [name, form] of Object.entries(HEADERS))
    expectThat(form.test(String(headers[name] ?? '')), `${name} is ${headers[name]}`)
  expectThat(headers['x-powered-by'] === undefined, 'X-Powered-By is present')
  if (status < 400) return

  expectThat(headers['cache-control'] === 'no-store', `cache-control is ${headers['cache-control']}`)
  const presence = (name: string, expected: boolean) =>
    expectThat((headers[name] !== undefined) === expected, `${name} is ${headers[name]}`)
  presence('allow', status === 405)
  if (method === 'HEAD') {
    if (status === 401) presence('www-authenticate', true)
    return
  }
  const problem = JSON.parse(answer.text)
  const instance = target.startsWith('/') ? target.split('?')[0] : ''
  expectThat(problem.status === status && problem.instance === instance, `the problem is ${answer.text}`)
  expectThat(/\S/.test(problem.title) && /\S/.test(problem.detail), `the problem is ${answer.text}`)
  presence('www-authenticate', status === 401 || problem.code === 'insufficient_scope')
  const mayRetry = [429, 503].includes(status) && problem.code !== 'outcome_unknown'
  presence('retry-after', mayRetry || problem.code === 'idempotency_key_in_use')
}
