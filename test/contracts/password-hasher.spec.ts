import { createHash } from 'node:crypto'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import bcrypt from 'bcrypt'
import { expect } from 'chai'
import { BcryptPasswordHasher } from '#src/adapters/security/bcrypt-password-hasher.ts'
import { BoundedPasswordHasher } from '#src/adapters/security/bounded-password-hasher.ts'
import type { PasswordHasher } from '#src/domain/accounts/ports.ts'
import { Overloaded } from '#src/domain/errors.ts'
import { aRequester } from '#test/builders.ts'
import { expectRejection } from '#test/contracts/repositories.ts'
import { FakePasswordHasher, SlowPasswordHasher } from '#test/use-cases/fakes.ts'

const ROUNDS = 4
const client = aRequester()

const implementations: Readonly<Record<string, () => PasswordHasher>> = {
  bcrypt: () => new BcryptPasswordHasher(ROUNDS),
  'bcrypt, bounded': () =>
    new BoundedPasswordHasher(new BcryptPasswordHasher(ROUNDS), { concurrency: 1, maxWaiting: 1 }),
  'the fake of the use-case specs': () => new FakePasswordHasher(),
}

for (const [name, build] of Object.entries(implementations)) {
  describe(`A password hasher (${name})`, () => {
    const passwords = build()

    it('verifies a password against its own hash', async () => {
      for (const password of ['correct horse', ' ', 'пароль🙂', 'e\u0301', 'a'.repeat(128), '🙂'.repeat(128)]) {
        const hash = await passwords.hash(password, client)
        expect(await passwords.verify(password, hash, client), password).to.equal('current')
      }
    })

    it('verifies a password in any form of Unicode against the hash of any other', async () => {
      const spellings = ['\u00e9t\u00e9 \u1e69', 'e\u0301te\u0301 s\u0323\u0307', 'e\u0301t\u00e9 s\u0307\u0323']
      for (const hashed of spellings) {
        const hash = await passwords.hash(hashed, client)
        for (const spelling of spellings) expect(await passwords.verify(spelling, hash, client)).to.equal('current')
        expect(await passwords.verify('\u00e9t\u00e9 s', hash, client)).to.equal('none')
      }
      // NFKC would make these equal.
      expect(await passwords.verify('fine', await passwords.hash('\ufb01ne', client), client)).to.equal('none')
    })

    it('verifies a hash made by another instance', async () => {
      const hash = await passwords.hash('correct horse', client)
      expect(await build().verify('correct horse', hash, client)).to.equal('current')
    })

    it('rejects another password', async () => {
      const hash = await passwords.hash('correct horse', client)
      for (const wrong of ['', 'Correct horse', 'correct horse ', 'correct hors', hash])
        expect(await passwords.verify(wrong, hash, client), wrong).to.equal('none')
    })

    it('distinguishes passwords that differ only in the last character, even after 72 bytes', async () => {
      for (const start of ['a'.repeat(71), 'a'.repeat(72), 'a'.repeat(127), '🙂'.repeat(18), '🙂'.repeat(127)]) {
        const hash = await passwords.hash(`${start}x`, client)
        expect(await passwords.verify(`${start}x`, hash, client)).to.equal('current')
        expect(await passwords.verify(`${start}y`, hash, client)).to.equal('none')
        expect(await passwords.verify(start, hash, client)).to.equal('none')
      }
    })

    it('returns a different hash each time, of at most 255 characters', async () => {
      const password = '🙂'.repeat(128)
      const hashes = await Promise.all([passwords.hash(password, client), passwords.hash(password, client)])
      expect(new Set(hashes)).to.have.property('size', 2)
      for (const hash of hashes) expect(Array.from(hash).length).to.be.at.most(255)
    })

    it('matches no password without a hash', async () => {
      for (const password of ['', 'correct horse', 'e\u0301', '🙂'.repeat(128), 'undefined'])
        expect(await passwords.verify(password, undefined, client)).to.equal('none')
    })
  })
}

describe('A bcrypt hash', () => {
  const passwords = new BcryptPasswordHasher(ROUNDS)

  it('uses the configured rounds', async () => {
    expect(await passwords.hash('correct horse')).to.match(/^\$2b\$04\$/)
    expect(await new BcryptPasswordHasher(5).hash('correct horse')).to.match(/^\$2b\$05\$/)
  })

  it('is verified with its own rounds after others are configured', async () => {
    const hash = await new BcryptPasswordHasher(5).hash('correct horse')
    expect(await passwords.verify('correct horse', hash)).to.equal('current')
  })

  it('does not contain the password', async () => {
    expect(await passwords.hash('correct horse')).to.not.include('correct')
  })

  it('is outdated if it was made with fewer rounds than configured', async () => {
    const hash = await new BcryptPasswordHasher(ROUNDS + 1).hash('correct horse')
    for (const [rounds, match] of [
      [ROUNDS, 'current'],
      [ROUNDS + 1, 'current'],
      [ROUNDS + 2, 'outdated'],
    ] as const)
      expect(await new BcryptPasswordHasher(rounds).verify('correct horse', hash)).to.equal(match)
  })

  describe('of a password that was hashed as sent', () => {
    const [composed, decomposed] = ['\u00e9t\u00e9', 'e\u0301te\u0301']
    const asSpelled = (password: string) =>
      bcrypt.hash(createHash('sha384').update(password, 'utf8').digest('base64'), ROUNDS)

    it('is outdated if that is not its NFC form', async () => {
      const hash = await asSpelled(decomposed)
      expect(await passwords.verify(decomposed, hash)).to.equal('outdated')
      expect(await passwords.verify(composed, hash)).to.equal('none')
      expect(await passwords.verify('ete', hash)).to.equal('none')
    })

    it('is current if that is its NFC form, which every spelling matches', async () => {
      const hash = await asSpelled(composed)
      for (const password of [composed, decomposed]) expect(await passwords.verify(password, hash)).to.equal('current')
    })
  })

  describe('takes the same work to verify', () => {
    const configured = 7
    let hasher: BcryptPasswordHasher
    let compare: ReturnType<typeof mock.method>
    beforeEach(() => {
      hasher = new BcryptPasswordHasher(configured)
      compare = mock.method(bcrypt, 'compare')
    })
    afterEach(() => compare.mock.restore())

    const hashOf = (rounds: number) => new BcryptPasswordHasher(rounds).hash('correct horse')

    /** Base-2 logarithm of the iterations of bcrypt's key setup. */
    async function workOf(password: string, hash: string | undefined): Promise<number> {
      compare.mock.resetCalls()
      await hasher.verify(password, hash)
      let iterations = 0
      for (const { arguments: args } of compare.mock.calls) {
        // bcrypt returns at once, without any work, for a hash of another form.
        const [, rounds] = /^\$2b\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(String(args[1])) ?? expect.fail(String(args[1]))
        iterations += 2 ** Number(rounds)
      }
      return Math.log2(iterations)
    }

    it('with the configured rounds or fewer, and without an account', async () => {
      for (const hash of [await hashOf(4), await hashOf(configured - 1), await hashOf(configured), undefined])
        for (const password of ['wrong horse', 'correct horse'])
          expect(await workOf(password, hash)).to.equal(configured)
    })

    it('if it is not a bcrypt hash', async () => {
      for (const hash of ['', 'correct horse', '$2b$07$short', `$2b$03$${'.'.repeat(53)}`, `$1$07$${'.'.repeat(53)}`]) {
        expect(await workOf('correct horse', hash), hash).to.equal(configured)
        expect(await hasher.verify('correct horse', hash), hash).to.equal('none')
      }
    })

    it('whether or not the NFC form or another one matches: twice the work if they differ', async () => {
      const [composed, decomposed] = ['caf\u00e9', 'cafe\u0301']
      const digest = (password: string) => createHash('sha384').update(password).digest('base64')
      const hashes = [
        await hasher.hash(composed),
        await bcrypt.hash(digest(decomposed), configured),
        await bcrypt.hash(digest(decomposed), 4),
        await hashOf(5),
        undefined,
      ]
      for (const hash of hashes) {
        expect(await workOf(composed, hash)).to.equal(configured)
        expect(await workOf(decomposed, hash)).to.equal(configured + 1)
      }
    })

    it('as a hash with more rounds than configured, once such a hash was seen', async () => {
      expect(await workOf('wrong horse', undefined)).to.equal(configured)
      const stronger = await hashOf(configured + 1)
      for (const hash of [stronger, await hashOf(4), await hashOf(configured), undefined])
        expect(await workOf('wrong horse', hash)).to.equal(configured + 1)
    })
  })
})

describe('A bounded password hasher', () => {
  let slow: SlowPasswordHasher
  const bounded = (concurrency: number, maxWaiting: number) => {
    slow = new SlowPasswordHasher()
    return new BoundedPasswordHasher(slow, { concurrency, maxWaiting })
  }
  const from = (clientNetwork: string, signal = client.signal) => aRequester({ clientNetwork, signal })
  const finishOne = async () => {
    slow.finishOne()
    await turn()
  }

  it('runs a limited number of jobs at a time, the others in order', async () => {
    const passwords = bounded(2, 10)
    const results = [
      passwords.hash('a', client),
      passwords.verify('b', 'hash', client),
      passwords.hash('c', client),
      passwords.verify('d', undefined, client),
    ]
    expect(passwords.load()).to.deep.equal({ waiting: 2, running: 2 })
    expect(slow.running).to.equal(2)
    const order: unknown[] = []
    for (const result of results) {
      slow.finishOne()
      order.push(await result)
      expect(slow.running).to.be.at.most(2)
    }
    expect(order).to.deep.equal(['hash of a', 'current', 'hash of c', 'current'])
    expect(passwords.load()).to.deep.equal({ waiting: 0, running: 0 })
  })

  it('refuses a job at once if the queue is full, and accepts more when there is room', async () => {
    const passwords = bounded(1, 2)
    const accepted = ['a', 'b', 'c'].map((password) => passwords.hash(password, from(password)))
    await expectRejection(passwords.hash('d', client), Overloaded)
    await expectRejection(passwords.verify('d', 'hash', client), Overloaded)
    expect(slow.running).to.equal(1)
    slow.finishOne()
    expect(await accepted[0]).to.equal('hash of a')
    const later = passwords.hash('d', client)
    for (const result of [...accepted.slice(1), later]) {
      slow.finishOne()
      await result
    }
    expect(await later).to.equal('hash of d')
  })

  it('serves client networks in turn, and the jobs of each in order', async () => {
    const passwords = bounded(1, 20)
    const jobs = ['a0', 'a1', 'a2', 'a3', 'b1', 'b2', 'c1'].map((job) => passwords.hash(job, from(job.charAt(0))))
    for (const _ of jobs) await finishOne()
    await Promise.all(jobs)
    expect(slow.begun).to.deep.equal(['a0', 'a1', 'b1', 'c1', 'a2', 'b2', 'a3'])
  })

  it('starves no network while another always has jobs', async () => {
    const passwords = bounded(1, 20)
    const jobs = ['a0', 'a1', 'a2', 'a3'].map((job) => passwords.hash(job, from('a')))
    for (const job of ['b1', 'b2', 'b3', 'b4']) {
      jobs.push(passwords.hash(job, from('b')))
      await finishOne()
    }
    for (let finished = 0; finished < 4; finished++) await finishOne()
    await Promise.all(jobs)
    expect(slow.begun).to.deep.equal(['a0', 'a1', 'b1', 'a2', 'b2', 'a3', 'b3', 'b4'])
  })

  it('gives a client network at most half of the places, and divides a full queue evenly', async () => {
    const passwords = bounded(1, 5)
    const jobs: Promise<unknown>[] = ['running', 'a1', 'a2'].map((job) => passwords.hash(job, from('a')))
    const newest = passwords.hash('a3', from('a'))
    await expectRejection(passwords.hash('a4', from('a')), Overloaded)
    jobs.push(passwords.verify('b1', 'hash', from('b')), passwords.hash('b2', from('b')))
    jobs.push(passwords.hash('c1', from('c')))
    await expectRejection(newest, Overloaded)
    await expectRejection(passwords.hash('b3', from('b')), Overloaded)
    await finishOne()
    jobs.push(passwords.hash('a4', from('a')))
    while (slow.running > 0) await finishOne()
    await Promise.all(jobs)
  })

  it('drops a job whose client disconnects before it begins, and frees its place', async () => {
    const passwords = bounded(1, 2)
    const jane = new AbortController()
    const running = passwords.hash('a', from('a'))
    const waiting = passwords.hash('jane', from('j', jane.signal))
    const next = passwords.hash('b', from('b'))
    jane.abort(new RangeError('jane has left'))
    await expectRejection(waiting, RangeError)
    expect(passwords.load()).to.deep.equal({ waiting: 1, running: 1 })
    await expectRejection(passwords.verify('jane', 'hash', from('j', jane.signal)), RangeError)
    const last = passwords.hash('c', from('j'))
    for (let job = 0; job < 3; job++) await finishOne()
    expect(await Promise.all([running, next, last])).to.deep.equal(['hash of a', 'hash of b', 'hash of c'])
    expect(slow.begun).to.deep.equal(['a', 'b', 'c'])
  })

  it('starts no other job while that of a disconnected client runs', async () => {
    const passwords = bounded(1, 2)
    const jane = new AbortController()
    const running = passwords.hash('jane', from('j', jane.signal))
    const next = passwords.hash('b', from('b'))
    jane.abort(new RangeError('jane has left'))
    await turn()
    expect(passwords.load()).to.deep.equal({ waiting: 1, running: 1 })
    expect(slow.begun).to.deep.equal(['jane'])
    await finishOne()
    expect(await running).to.equal('hash of jane')
    await finishOne()
    expect(await next).to.equal('hash of b')
  })

  it('refuses all but the running jobs without a queue', async () => {
    const passwords = bounded(1, 0)
    const first = passwords.hash('a', client)
    await expectRejection(passwords.hash('b', client), Overloaded)
    slow.finishOne()
    expect(await first).to.equal('hash of a')
    const second = passwords.hash('c', client)
    slow.finishOne()
    expect(await second).to.equal('hash of c')
  })

  it('continues after a failed hash', async () => {
    const passwords = bounded(1, 1)
    const [first, second] = [passwords.hash('a', client), passwords.hash('b', client)]
    slow.failOne(new TypeError('no hash'))
    await expectRejection(first, TypeError)
    slow.finishOne()
    expect(await second).to.equal('hash of b')
  })
})
