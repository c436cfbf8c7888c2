import type { SessionLifetimes } from '../../domain/accounts/session.ts'
import { KEY_LIFETIME } from '../../domain/tasks/idempotency.ts'
import type { Database } from './database.ts'

const DAY = 86_400_000
const HOUR = 3_600_000
/** Milliseconds from the start to the first purge, so that it neither delays the start nor waits for long after a crash. */
const FIRST_DELAY = 60_000
/** Time for which an expired API token stays in the list, in milliseconds. */
const EXPIRED_TOKEN_LIFETIME = 30 * DAY

type Purgeable = Pick<Database, 'purgeDeletions' | 'purgeKeys' | 'purgeSessions' | 'purgeApiTokens' | 'purgeLeavers'>

interface Lifetimes {
  /** Days for which deletions of tasks are kept. */
  readonly tombstoneDays: number
  readonly sessions: Pick<SessionLifetimes, 'idle' | 'max'>
}

/**
 * Purges, a minute after the start and then every hour, old deletions of tasks, expired idempotency keys, sessions and API
 * tokens, and the rows of users who left.
 */
export function purgeRegularly(
  database: Purgeable,
  { tombstoneDays, sessions }: Lifetimes,
  log: { warn(details: object, message: string): void },
): Disposable {
  const purgeAll = () => {
    const before = (lifetime: number) => new Date(Date.now() - lifetime)
    const purges = [
      database.purgeDeletions(before(tombstoneDays * DAY)),
      database.purgeKeys(before(KEY_LIFETIME)),
      database.purgeSessions({ lastUsed: before(sessions.idle), created: before(sessions.max) }),
      database.purgeApiTokens(before(EXPIRED_TOKEN_LIFETIME)),
      database.purgeLeavers(),
    ]
    for (const purge of purges) {
      purge.catch((err: unknown) => log.warn({ err }, 'Cannot purge old rows; trying again later'))
    }
  }
  const first = setTimeout(purgeAll, FIRST_DELAY).unref()
  const timer = setInterval(purgeAll, HOUR).unref()
  return {
    [Symbol.dispose]() {
      clearTimeout(first)
      clearInterval(timer)
    },
  }
}
