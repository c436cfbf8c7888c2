import { KEY_LIFETIME } from '../../domain/tasks/idempotency.ts'

const DAY = 86_400_000
const HOUR = 3_600_000

interface Purgeable {
  forgetDeletions(before: Date): Promise<void>
  forgetKeys(before: Date): Promise<void>
}

/** Purges deletions of tasks that are older than some days, and expired idempotency keys, every hour. */
export function forgetRegularly(
  database: Purgeable,
  days: number,
  log: { warn(details: object, message: string): void },
): Disposable {
  const warn = (err: unknown) =>
    log.warn({ err }, 'Cannot purge old deletions and idempotency keys; trying again later')
  const forget = () => {
    const now = Date.now()
    database.forgetDeletions(new Date(now - days * DAY)).catch(warn)
    database.forgetKeys(new Date(now - KEY_LIFETIME)).catch(warn)
  }
  const timer = setInterval(forget, HOUR).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}
