import { mock } from 'node:test'
import { expect } from 'chai'
import { type Database, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import {
  answeringInTime,
  CountingLoginThrottle,
  noLoginThrottle,
  type Queryable,
  rateLimiter,
} from '#src/adapters/rate-limits/rate-limits.ts'
import type { PersistentTarget } from '#src/database-target.ts'
import { InvalidCredentials, Overloaded, TooManyRequests } from '#src/domain/errors.ts'
import type { LoginThrottle } from '#src/domain/ports.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { expectRejection, outcomes, targetOf } from '#test/contracts/repositories.ts'

const ALLOWED = 3
const WINDOW = 900
const JANE = 'jane@example.com'
const HOME = '192.0.2.1'
const ELSEWHERE = '198.51.100.7'
const GUESSER = '203.0.113.1'

const right = async () => 'a token'
const wrong = async () => {
  throw new InvalidCredentials()
}

/** The tables of rate limits are made by a migration of the store. */
async function sharedDatabase(): Promise<Database & { readonly pool: Queryable }> {
  const database = await openDatabase(targetOf(await postgresql.databaseUrl()) as PersistentTarget)
  await database.migrate()
  return database as Database & { readonly pool: Queryable }
}

describe('Counts that PostgreSQL keeps', () => {
  let database: Database & { readonly pool: Queryable }
  before(async () => {
    database = await sharedDatabase()
  })
  after(() => database.close())

  describeThrottle('A login throttle (PostgreSQL)', ['Date'], () => database.pool)

  it('are one count for two instances: failed logins', async () => {
    const [one, other] = [throttle(database.pool), throttle(database.pool)]
    for (const each of [one, other, one]) await expectRejection(each.attempt('a', HOME, wrong), InvalidCredentials)
    for (const each of [one, other]) await expectRejection(each.attempt('a', HOME, right), TooManyRequests)
  })

  it('are one count for two instances: whence an account logs in', async () => {
    const [one, other] = [throttle(database.pool), throttle(database.pool)]
    await one.attempt('b', HOME, right)
    await guess(one, 'b')
    expect(await other.attempt('b', HOME, right)).to.equal('a token')
  })

  it('are one count for two instances: requests', async () => {
    const quota = { name: 'test', allowed: 3, window: 60 }
    const [one, other] = [rateLimiter(quota, database.pool), rateLimiter(quota, database.pool)]
    const counts = [await one.count('a'), await other.count('a'), await one.count('a'), await other.count('a')]
    expect(counts.map(({ exceeded, remaining }) => [exceeded, remaining])).to.deep.equal([
      [false, 2],
      [false, 1],
      [false, 0],
      [true, 0],
    ])
    for (const { reset } of counts) expect(reset).to.be.within(1, 60)
    expect(await one.count('b')).to.include({ exceeded: false, remaining: 2 })
  })

  it('are left alone by a flood: who is over the limit is refused without a statement', async () => {
    let statements = 0
    const counted: Queryable = {
      query: (statement) => {
        statements++
        return database.pool.query(statement)
      },
    }
    const limiter = rateLimiter({ name: 'flood', allowed: 2, window: 60 }, counted)
    for (let request = 0; request < 20; request++) await limiter.count('a')
    expect(statements).to.equal(3)
    expect(await limiter.count('a')).to.include({ exceeded: true, remaining: 0 })
  })

  it('hold no e-mail address', async () => {
    const allKeys = { text: 'select key from rate_limits', values: [] }
    const keys = async () => (await database.pool.query(allKeys)).rows.map((row) => (row as { key: string }).key)
    const others = new Set(await keys())
    const logins = throttle(database.pool)
    await logins.attempt('somebody@example.com', HOME, right)
    await guess(logins, 'somebody@example.com')
    const written = (await keys()).filter((key) => !others.has(key))
    expect([...new Set(written.map((key) => key.split(':')[0]))]).to.have.members(['known-origin', 'failed-login'])
    expect(written.join()).to.not.match(/somebody|example/)
  })
})

describe('Counts while PostgreSQL is away', () => {
  it('go on in the memory of each instance', async () => {
    const away: Queryable = { query: () => Promise.reject(new Error('connect ECONNREFUSED 127.0.0.1:5432')) }
    const logins = throttle(away)
    await logins.attempt(JANE, HOME, right)
    await guess(logins)
    await expectRejection(logins.attempt(JANE, GUESSER, right), TooManyRequests)
    expect(await logins.attempt(JANE, HOME, right)).to.equal('a token')

    const limiter = rateLimiter({ name: 'test', allowed: 1, window: 60 }, away)
    expect(await limiter.count('a')).to.include({ exceeded: false })
    expect(await limiter.count('a')).to.include({ exceeded: true })
  })

  it('go on by themselves when it says nothing, which is told as well', async () => {
    const told: unknown[] = []
    const silent = { query: () => new Promise<never>(() => undefined) }
    const shared = answeringInTime(silent, (error) => told.push(error), 1)
    const limiter = rateLimiter({ name: 'test', allowed: 1, window: 60 }, shared)
    expect(await limiter.count('a')).to.include({ exceeded: false })
    expect(await limiter.count('a')).to.include({ exceeded: true })
    expect(told).to.have.lengthOf(1)
  })

  it('are told of once each time', async () => {
    const told: unknown[] = []
    let reason: Error | undefined
    const shared = answeringInTime(
      { query: () => (reason ? Promise.reject(reason) : Promise.resolve({ rows: [{ points: 1, expire: null }] })) },
      (error) => told.push(error),
    )
    const limiter = rateLimiter({ name: 'test', allowed: 9, window: 60 }, shared)
    const first = new Error('it is away')
    const second = new Error('it is away again')
    for (reason of [undefined, first, first, undefined, second]) await limiter.count('a')
    expect(told).to.deep.equal([first, second])
  })
})

describeThrottle('A login throttle (in memory)', ['Date', 'setTimeout'], () => undefined)

describe('No login throttle', () => {
  it('tries every login', async () => {
    for (let attempt = 0; attempt < 20; attempt++)
      await expectRejection(noLoginThrottle.attempt(JANE, HOME, wrong), InvalidCredentials)
    expect(await noLoginThrottle.attempt(JANE, HOME, right)).to.equal('a token')
  })
})

function throttle(shared: Queryable | undefined): LoginThrottle {
  return new CountingLoginThrottle(ALLOWED, WINDOW, shared)
}

/** From an address each. */
async function guess(logins: LoginThrottle, email = JANE, guesses = ALLOWED): Promise<void> {
  for (let guesser = 1; guesser <= guesses; guesser++)
    await expectRejection(logins.attempt(email, `203.0.113.${guesser}`, wrong), InvalidCredentials)
}

/** @param clock what has to be a fake for the time to be one */
function describeThrottle(title: string, clock: ('Date' | 'setTimeout')[], shared: () => Queryable | undefined): void {
  describe(title, () => {
    let logins: LoginThrottle
    let people = 0
    /** Somebody whom no other test knows. */
    let email: string

    beforeEach(() => {
      mock.timers.enable({ apis: clock, now: Date.now() })
      logins = throttle(shared())
      email = `person-${++people}@example.com`
    })
    afterEach(() => mock.timers.reset())

    const attempt = (logIn: () => Promise<string>, origin = ELSEWHERE) => logins.attempt(email, origin, logIn)

    /** Seconds after which another attempt makes sense. */
    async function refusal(origin = GUESSER): Promise<number> {
      let tried = false
      const refused = await attempt(async () => {
        tried = true
        return 'a token'
      }, origin).catch((error: unknown) => error)
      expect(refused).to.be.an.instanceOf(TooManyRequests)
      expect(tried).to.equal(false)
      return (refused as TooManyRequests).retryAfter
    }

    it('lets a login through, right or wrong', async () => {
      expect(await attempt(right)).to.equal('a token')
      await expectRejection(attempt(wrong), InvalidCredentials)
      expect(await attempt(right)).to.equal('a token')
    })

    it('refuses to try after some failures, whichever addresses they came from, and says until when', async () => {
      await guess(logins, email)
      expect(await refusal()).to.be.within(WINDOW - 5, WINDOW)
    })

    it('has nothing against other accounts', async () => {
      await guess(logins, email)
      expect(await logins.attempt(`other-${email}`, ELSEWHERE, right)).to.equal('a token')
    })

    it('starts anew after a login that succeeds', async () => {
      for (let round = 0; round < 3; round++) {
        for (let failure = 1; failure < ALLOWED; failure++) await expectRejection(attempt(wrong), InvalidCredentials)
        expect(await attempt(right)).to.equal('a token')
      }
    })

    it('lets the owner in from where they have logged in before, while it refuses the guesser', async () => {
      await attempt(right, HOME)
      await guess(logins, email)
      await refusal()
      expect(await attempt(right, HOME)).to.equal('a token')
      await expectRejection(attempt(wrong, HOME), InvalidCredentials)
      expect(await attempt(right, HOME)).to.equal('a token')
    })

    it('leaves the count of the account when the owner logs in from a known network', async () => {
      await attempt(right, HOME)
      await guess(logins, email)
      expect(await attempt(right, HOME)).to.equal('a token')
      await refusal(GUESSER)
    })

    it('lets the owner in from anywhere: where nobody has failed yet there is one try', async () => {
      await guess(logins, email)
      await expectRejection(attempt(wrong, ELSEWHERE), InvalidCredentials)
      await refusal(ELSEWHERE)
      expect(await attempt(right, HOME)).to.equal('a token')
    })

    it('leaves no first try either when too many addresses have had theirs', async () => {
      await guess(logins, email, 10 * ALLOWED)
      expect(await refusal(ELSEWHERE)).to.be.within(WINDOW - 5, WINDOW)
    })

    it('slows a guesser who sits where the owner has logged in before, and nobody else', async () => {
      await attempt(right, HOME)
      for (let failure = 1; failure <= ALLOWED; failure++)
        await expectRejection(attempt(wrong, HOME), InvalidCredentials)
      await refusal(HOME)
      expect(await attempt(right, ELSEWHERE)).to.equal('a token')
    })

    it('tries again when the time is over, which no refused attempt puts off', async () => {
      await guess(logins, email)
      mock.timers.tick((WINDOW / 2) * 1_000)
      expect(await refusal()).to.be.within(WINDOW / 2 - 5, WINDOW / 2)
      for (let refused = 0; refused < 20; refused++) await refusal()
      mock.timers.tick((WINDOW / 2) * 1_000 + 1)
      await expectRejection(attempt(wrong, GUESSER), InvalidCredentials)
      expect(await attempt(right, GUESSER)).to.equal('a token')
    })

    it('does not count what is nobody’s guess', async () => {
      for (let failure = 0; failure < 3 * ALLOWED; failure++)
        await expectRejection(
          attempt(async () => {
            throw new Overloaded()
          }),
          Overloaded,
        )
      expect(await attempt(right)).to.equal('a token')
    })

    it('lets no more guesses through at the same time than one after the other, the right one neither', async () => {
      const { promise: start, resolve } = Promise.withResolvers<void>()
      let tried = 0
      const guesses = Array.from({ length: 3 * ALLOWED }, (_, index) =>
        attempt(async () => {
          // None is told before all are tried.
          if (++tried === 3 * ALLOWED) resolve()
          await start
          if (index < 3 * ALLOWED - 1) throw new InvalidCredentials()
          // The last, when all others are told.
          await Promise.allSettled(guesses.slice(0, -1))
          return 'a token'
        }),
      )
      const { succeeded, reasons } = await outcomes(guesses)
      expect(succeeded).to.equal(0)
      expect(reasons.filter((reason) => reason instanceof InvalidCredentials)).to.have.length(ALLOWED)
      expect(reasons.filter((reason) => reason instanceof TooManyRequests)).to.have.length(2 * ALLOWED)
    })
  })
}
