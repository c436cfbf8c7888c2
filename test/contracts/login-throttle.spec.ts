import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { expect } from 'chai'
import { type Database, openDatabase } from '#src/adapters/mikro-orm/database.ts'
import { RATE_LIMITS_TABLE } from '#src/adapters/mikro-orm/records.ts'
import type { Quota } from '#src/adapters/rate-limits/counter.ts'
import { CountingLoginThrottle, noLoginThrottle, rateLimiter } from '#src/adapters/rate-limits/rate-limits.ts'
import { type Queryable, SharedCounts, type Timing } from '#src/adapters/rate-limits/shared-counts.ts'
import type { PersistentTarget } from '#src/database-target.ts'
import type { LoginThrottle } from '#src/domain/accounts/ports.ts'
import { InvalidCredentials, Overloaded, TooManyRequests, WrongPassword } from '#src/domain/errors.ts'
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

/** A migrated database, because a migration creates the table of rate limits. */
async function sharedDatabase(): Promise<Database & { readonly pool: Queryable }> {
  const database = await openDatabase(targetOf(await postgresql.databaseUrl()) as PersistentTarget)
  await database.migrate()
  return database as Database & { readonly pool: Queryable }
}

describe('Counts in PostgreSQL', () => {
  let database: Database & { readonly pool: Queryable }
  before(async () => {
    database = await sharedDatabase()
  })
  after(() => database.close())

  describeThrottle('A login throttle (PostgreSQL)', ['Date'], () => database.pool)

  it('are shared by two instances: failed logins', async () => {
    const [one, other] = [throttle(database.pool), throttle(database.pool)]
    for (const each of [one, other, one]) await expectRejection(each.attempt('a', HOME, wrong), InvalidCredentials)
    for (const each of [one, other]) await expectRejection(each.attempt('a', HOME, right), TooManyRequests)
  })

  it('allow no extra guess when concurrent failures are counted in another order', async () => {
    const email = 'order@example.com'
    const [held, others] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let adds = 0
    // Holds the first failure, counted for the network only, until the others are counted for the account.
    const pool: Queryable = {
      async query(statement) {
        if (statement.text.trim().startsWith('INSERT') && ++adds === 2) {
          held.resolve()
          await others.promise
        }
        return database.pool.query(statement)
      },
    }
    const logins = throttle(pool)
    const first = logins.attempt(email, GUESSER, wrong)
    await held.promise
    for (let index = 0; index < ALLOWED; index++)
      await expectRejection(logins.attempt(email, GUESSER, wrong), InvalidCredentials)
    others.resolve()
    await expectRejection(first, TooManyRequests)
  })

  it('are shared by two instances: known networks of an account', async () => {
    const [one, other] = [throttle(database.pool), throttle(database.pool)]
    await one.attempt('b', HOME, right)
    await guess(one, 'b')
    expect(await other.attempt('b', HOME, right)).to.equal('a token')
  })

  it('are shared by two instances: requests', async () => {
    const quota = { name: 'test', allowed: 3, window: 60 }
    const [one, other] = [limiterIn(database.pool, quota), limiterIn(database.pool, quota)]
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

  it('cost no statement for requests that are already over the limit', async () => {
    let statements = 0
    const counted: Queryable = {
      query: (statement) => {
        statements++
        return database.pool.query(statement)
      },
    }
    const limiter = limiterIn(counted, { name: 'flood', allowed: 2, window: 60 })
    for (let request = 0; request < 20; request++) await limiter.count('a')
    expect(statements).to.equal(3)
    expect(await limiter.count('a')).to.include({ exceeded: true, remaining: 0 })
  })

  it('are in the schema of the tables, whatever the search path of a session', async () => {
    const statements: string[] = []
    const recording: Queryable = {
      query: (statement) => {
        statements.push(statement.text)
        return database.pool.query(statement)
      },
    }
    const counts = new SharedCounts(recording, () => undefined, { table: RATE_LIMITS_TABLE, schema: 'public' })
    await rateLimiter({ name: 'schema', allowed: 2, window: 60 }, counts).count('a')
    expect(statements.filter((text) => !text.includes('"public"."rate_limits"'))).to.deep.equal([])
    expect(statements).to.not.deep.equal([])
  })

  it('contain no e-mail address', async () => {
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

describe('Counts while PostgreSQL is unreachable', () => {
  it('continue in the memory of each process', async () => {
    const unreachable: Queryable = { query: () => Promise.reject(new Error('connect ECONNREFUSED 127.0.0.1:5432')) }
    const logins = throttle(unreachable)
    await logins.attempt(JANE, HOME, right)
    await guess(logins)
    await expectRejection(logins.attempt(JANE, GUESSER, right), TooManyRequests)
    expect(await logins.attempt(JANE, HOME, right)).to.equal('a token')

    const limiter = limiterIn(unreachable, { name: 'test', allowed: 1, window: 60 })
    expect(await limiter.count('a')).to.include({ exceeded: false })
    expect(await limiter.count('a')).to.include({ exceeded: true })
  })

  describe('or slow', () => {
    let time: number
    let opened: unknown[]
    let statements: number
    let query: () => Promise<{ rows: unknown[] }>
    let counts: SharedCounts

    beforeEach(() => {
      mock.timers.enable({ apis: ['setTimeout'] })
      time = 0
      opened = []
      statements = 0
      const pool = {
        query: () => {
          statements++
          return query()
        },
      }
      counts = new SharedCounts(pool, (error) => opened.push(error), { table: RATE_LIMITS_TABLE, now: () => time })
    })
    afterEach(() => mock.timers.reset())

    const answer = async () => ({ rows: [{ points: 1, expire: null }] })
    const limiter = () => rateLimiter({ name: 'test', allowed: 1, window: 60 }, counts)

    /** Advances the clock until the promise settles. */
    async function advanceUntil<Result>(work: Promise<Result>): Promise<Result> {
      let done = false
      const end = () => {
        done = true
      }
      work.then(end, end)
      for (;;) {
        for (let turns = 0; turns < 5; turns++) await turn()
        if (done) return work
        time += 50
        mock.timers.tick(50)
      }
    }

    it('delay a login by at most two seconds, for its request and its failures together', async () => {
      for (const delay of [50, 150, 300, 650, 950, 1_100, 30_000]) {
        for (const logIn of [right, wrong]) {
          query = () => new Promise((resolve) => setTimeout(() => resolve(answer()), delay))
          time = 10_000 * Math.ceil(time / 10_000 + 1)
          const start = time
          const request = rateLimiter({ name: 'test', allowed: 9, window: 60 }, counts)
          const logins = new CountingLoginThrottle(ALLOWED, WINDOW, counts)
          await advanceUntil(request.count('a'))
          await advanceUntil(logins.attempt(JANE, HOME, logIn).catch(() => undefined))
          expect(time - start, `${delay} ms each`).to.be.at.most(2_000)
        }
      }
    })

    it('continue in memory for some seconds without a statement, until one attempt finds that it responds', async () => {
      query = () => new Promise<never>(() => undefined)
      const requests = limiter()
      expect(await advanceUntil(requests.count('a'))).to.include({ exceeded: false })
      expect(time).to.equal(1_000)
      for (let request = 0; request < 20; request++)
        expect(await advanceUntil(requests.count('a'))).to.include({ exceeded: true })
      expect(statements).to.equal(1)
      expect(time).to.equal(1_000)
      // Of concurrent requests, only one sends a statement.
      time += 5_000
      await advanceUntil(Promise.all([requests.count('a'), requests.count('a'), requests.count('a')]))
      expect(statements).to.equal(2)
      await advanceUntil(requests.count('a'))
      expect(statements).to.equal(2)
      time += 5_000
      query = answer
      for (let request = 0; request < 3; request++)
        expect(await advanceUntil(requests.count('a'))).to.include({ exceeded: false })
      expect(statements).to.equal(5)
    })

    it('log each outage once', async () => {
      const requests = limiter()
      const first = new Error('first outage')
      const second = new Error('second outage')
      for (const reason of [undefined, first, first, undefined, second, second]) {
        query = () => (reason ? Promise.reject(reason) : answer())
        await advanceUntil(requests.count('a'))
        time += 5_000
      }
      expect(opened).to.deep.equal([first, second])
    })
  })
})

describeThrottle('A login throttle (in memory)', ['Date', 'setTimeout'], () => undefined)

describe('No login throttle', () => {
  it('lets every login through', async () => {
    for (let attempt = 0; attempt < 20; attempt++)
      await expectRejection(noLoginThrottle.attempt(JANE, HOME, wrong), InvalidCredentials)
    expect(await noLoginThrottle.attempt(JANE, HOME, right)).to.equal('a token')
  })
})

/** Milliseconds, enough for any machine. */
const LONG_TIMEOUTS: Partial<Timing> = { timeout: 60_000 }

const countsIn = (pool: Queryable) =>
  new SharedCounts(pool, () => undefined, { table: RATE_LIMITS_TABLE, ...LONG_TIMEOUTS })

const limiterIn = (pool: Queryable | undefined, quota: Quota) => rateLimiter(quota, pool && countsIn(pool))

function throttle(pool: Queryable | undefined): LoginThrottle {
  return new CountingLoginThrottle(ALLOWED, WINDOW, pool && countsIn(pool))
}

/** Each guess comes from another address. */
async function guess(logins: LoginThrottle, email = JANE, guesses = ALLOWED): Promise<void> {
  for (let guesser = 1; guesser <= guesses; guesser++)
    await expectRejection(logins.attempt(email, `203.0.113.${guesser}`, wrong), InvalidCredentials)
}

/** @param clock the APIs to fake so that the test controls the time */
function describeThrottle(title: string, clock: ('Date' | 'setTimeout')[], shared: () => Queryable | undefined): void {
  describe(title, () => {
    let logins: LoginThrottle
    let userCount = 0
    /** An account that no other test uses. */
    let email: string

    beforeEach(() => {
      mock.timers.enable({ apis: clock, now: Date.now() })
      logins = throttle(shared())
      email = `person-${++userCount}@example.com`
    })
    afterEach(() => mock.timers.reset())

    const attempt = (logIn: () => Promise<string>, clientNetwork = ELSEWHERE) =>
      logins.attempt(email, clientNetwork, logIn)

    /** Expects a refusal without an attempt. @returns the seconds until the next attempt is allowed */
    async function expectRefused(clientNetwork = GUESSER): Promise<number> {
      let tried = false
      const refused = await attempt(async () => {
        tried = true
        return 'a token'
      }, clientNetwork).catch((error: unknown) => error)
      expect(refused).to.be.an.instanceOf(TooManyRequests)
      expect(tried).to.equal(false)
      return (refused as TooManyRequests).retryAfter
    }

    it('lets a first login through, correct or wrong', async () => {
      expect(await attempt(right)).to.equal('a token')
      await expectRejection(attempt(wrong), InvalidCredentials)
      expect(await attempt(right)).to.equal('a token')
    })

    it('refuses logins after some failures from any networks, and returns the time to wait', async () => {
      await guess(logins, email)
      expect(await expectRefused()).to.be.within(WINDOW - 5, WINDOW)
    })

    it('keeps the failures when an account without the key succeeds', async () => {
      for (let count = 1; count < ALLOWED; count++) await expectRejection(attempt(wrong, GUESSER), InvalidCredentials)
      expect(await logins.attempt(email, GUESSER, right, () => false)).to.equal('a token')
      await expectRejection(attempt(wrong, GUESSER), InvalidCredentials)
      expect(await expectRefused()).to.be.within(WINDOW - 5, WINDOW)
    })

    it('does not affect other accounts', async () => {
      await guess(logins, email)
      expect(await logins.attempt(`other-${email}`, ELSEWHERE, right)).to.equal('a token')
    })

    it('resets the count after a successful login', async () => {
      for (let round = 0; round < 3; round++) {
        for (let failure = 1; failure < ALLOWED; failure++) await expectRejection(attempt(wrong), InvalidCredentials)
        expect(await attempt(right)).to.equal('a token')
      }
    })

    it('lets the owner in from a known network while it refuses an attacker', async () => {
      await attempt(right, HOME)
      await guess(logins, email)
      await expectRefused()
      expect(await attempt(right, HOME)).to.equal('a token')
      await expectRejection(attempt(wrong, HOME), InvalidCredentials)
      expect(await attempt(right, HOME)).to.equal('a token')
    })

    it('keeps the count of the account when the owner logs in from a known network', async () => {
      await attempt(right, HOME)
      await guess(logins, email)
      expect(await attempt(right, HOME)).to.equal('a token')
      await expectRefused(GUESSER)
    })

    it('allows one attempt from each network without a failure, so the owner can log in from anywhere', async () => {
      await guess(logins, email)
      await expectRejection(attempt(wrong, ELSEWHERE), InvalidCredentials)
      await expectRefused(ELSEWHERE)
      expect(await attempt(right, HOME)).to.equal('a token')
    })

    it('allows no first attempt from another network once too many networks have used theirs', async () => {
      await guess(logins, email, 10 * ALLOWED)
      expect(await expectRefused(ELSEWHERE)).to.be.within(WINDOW - 5, WINDOW)
    })

    it('refuses an attacker in a network known to the account, and no other network', async () => {
      await attempt(right, HOME)
      for (let failure = 1; failure <= ALLOWED; failure++)
        await expectRejection(attempt(wrong, HOME), InvalidCredentials)
      await expectRefused(HOME)
      expect(await attempt(right, ELSEWHERE)).to.equal('a token')
    })

    it('allows the next attempt when the window ends, which refused attempts do not extend', async () => {
      await guess(logins, email)
      mock.timers.tick((WINDOW / 2) * 1_000)
      expect(await expectRefused()).to.be.within(WINDOW / 2 - 5, WINDOW / 2)
      for (let refused = 0; refused < 20; refused++) await expectRefused()
      mock.timers.tick((WINDOW / 2) * 1_000 + 1)
      await expectRejection(attempt(wrong, GUESSER), InvalidCredentials)
      expect(await attempt(right, GUESSER)).to.equal('a token')
    })

    it('drops a window that would end too late because the clock was set back', async () => {
      await guess(logins, email)
      mock.timers.setTime(Date.now() - 3_600_000)
      await guess(logins, email)
      expect(await expectRefused()).to.be.within(WINDOW - 5, WINDOW)
    })

    it('never limits requests for longer than a window, even if the clock was set back', async () => {
      const limiter = limiterIn(shared(), { name: 'clock', allowed: 1, window: 60 })
      for (const exceeded of [false, true, true]) expect(await limiter.count(email)).to.include({ exceeded })
      mock.timers.setTime(Date.now() - 3_600_000)
      for (const exceeded of [false, true, true]) {
        const count = await limiter.count(email)
        expect(count).to.include({ exceeded })
        expect(count.reset).to.be.within(55, 60)
      }
    })

    it('counts wrong passwords at changes of an account like failed logins', async () => {
      const wrongPassword = async () => {
        throw new WrongPassword()
      }
      await expectRejection(attempt(wrong, GUESSER), InvalidCredentials)
      for (let failure = 1; failure < ALLOWED; failure++)
        await expectRejection(attempt(wrongPassword, GUESSER), WrongPassword)
      await expectRefused()
      await expectRejection(attempt(wrongPassword, GUESSER), TooManyRequests)
    })

    it('does not count errors other than wrong credentials', async () => {
      for (let failure = 0; failure < 3 * ALLOWED; failure++)
        await expectRejection(
          attempt(async () => {
            throw new Overloaded()
          }),
          Overloaded,
        )
      expect(await attempt(right)).to.equal('a token')
    })

    it('allows as many concurrent guesses as sequential ones, even if one is correct', async () => {
      const { promise: start, resolve } = Promise.withResolvers<void>()
      let tried = 0
      const guesses = Array.from({ length: 3 * ALLOWED }, (_, index) =>
        attempt(async () => {
          // All attempts begin before any settles.
          if (++tried === 3 * ALLOWED) resolve()
          await start
          if (index < 3 * ALLOWED - 1) throw new InvalidCredentials()
          // The last attempt succeeds after all others have settled.
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
