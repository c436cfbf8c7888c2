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
  const code = method === 'HEAD' ? undefined : checkedCode()
  if (code || status === 401) presence('www-authenticate', status === 401 || code === 'insufficient_scope')
  const mayRetry = [429, 503].includes(status) && code !== 'outcome_unknown'
  presence('retry-after', mayRetry || code === 'idempotency_key_in_use')

  function checkedCode(): string {
    const problem = JSON.parse(answer.text)
    const instance = target.startsWith('/') ? target.split('?')[0] : ''
    expectThat(problem.status === status && problem.instance === instance, `the problem is ${answer.text}`)
    for (const words of [problem.title, problem.detail]) expectThat(/\S/.test(words), `the problem is ${answer.text}`)
    return problem.code
  }
}
