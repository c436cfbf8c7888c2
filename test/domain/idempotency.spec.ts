import { expect } from 'chai'
import { IdempotencyKeyInUse } from '#src/domain/errors.ts'
import { KeysInFlight } from '#src/domain/tasks/idempotency.ts'

const KEY = { scope: 'POST /tasks', key: 'a', fingerprint: 'of the body' }

describe('Keys in flight', () => {
  /** Starts a request that runs until `end` is called. */
  function start(keys: KeysInFlight, name: string, ran: string[], key = KEY, ownerId = 1) {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const request = keys.run(ownerId, key, async () => {
      ran.push(name)
      await promise
      return name
    })
    return { request, end: resolve, fail: reject }
  }

  it('let requests with one key run one after the other, also if one fails', async () => {
    const keys = new KeysInFlight()
    const ran: string[] = []
    const [first, second, third] = ['first', 'second', 'third'].map((name) => start(keys, name, ran)) as [
      ReturnType<typeof start>,
      ReturnType<typeof start>,
      ReturnType<typeof start>,
    ]
    const failed = first.request.catch((error: Error) => error.message)
    expect(ran).to.deep.equal(['first'])
    first.fail(new Error('failed'))
    expect(await failed).to.equal('failed')
    second.end()
    third.end()
    expect(await Promise.all([second.request, third.request])).to.deep.equal(['second', 'third'])
    expect(ran).to.deep.equal(['first', 'second', 'third'])
  })

  it('let requests with other keys, scopes and owners run at once', () => {
    const keys = new KeysInFlight()
    const ran: string[] = []
    start(keys, 'first', ran)
    start(keys, 'key', ran, { ...KEY, key: 'b' })
    start(keys, 'scope', ran, { ...KEY, scope: 'POST /tasks/batch' })
    start(keys, 'owner', ran, KEY, 2)
    expect(ran).to.deep.equal(['first', 'key', 'scope', 'owner'])
  })

  it('refuse a request that waits too long', async () => {
    const keys = new KeysInFlight(10)
    const ran: string[] = []
    const first = start(keys, 'first', ran)
    const reason = await start(keys, 'second', ran).request.catch((error: unknown) => error)
    expect(reason).to.be.an.instanceOf(IdempotencyKeyInUse)
    first.end()
    await first.request
    expect(ran).to.deep.equal(['first'])
  })
})
