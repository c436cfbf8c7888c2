import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { PollingChangeSignal } from '#src/adapters/change-signal/polling-change-signal.ts'
import type { ListHead } from '#src/domain/tasks/change-feed.ts'
import type { ChangeSubscription } from '#src/domain/tasks/ports.ts'

const JANE = 1
const JOHN = 2
/** Polling intervals in milliseconds: one without a poll during a test, and one with polls all the time. */
const NEVER = 3_600_000
const OFTEN = 1

/** The position before the only change of each list, so that the first poll announces this change. */
const BEGINNING = { epoch: 'a', revision: 0 }

const neverAborted = new AbortController().signal

/** Whether the promise resolves within this turn of the event loop. */
const isSettled = (promise: Promise<void>): Promise<boolean> =>
  Promise.race([promise.then(() => true), new Promise<boolean>((resolve) => setImmediate(resolve, false))])

describe('The change signal', () => {
  let heads: Map<number, ListHead>
  let read: number[]
  let failures: number
  beforeEach(() => {
    heads = new Map([JANE, JOHN].map((ownerId) => [ownerId, { epoch: 'a', revision: 1, forgotten: 0 }]))
    read = []
    failures = 0
  })

  const readHeads = async (ownerIds: readonly number[]) => {
    read.push(...ownerIds)
    if (failures-- > 0) throw new Error('The store is unavailable.')
    return new Map(ownerIds.map((ownerId) => [ownerId, heads.get(ownerId) as ListHead]))
  }
  const signalWith = (interval: number) => new PollingChangeSignal({ heads: readHeads }, interval)
  /** Waits for the first poll. */
  const polled = async (subscription: ChangeSubscription) => {
    await subscription.changed(neverAborted)
    return subscription
  }

  it('wakes every subscription to a list when a change of it is raised, and no other', async () => {
    const signal = signalWith(NEVER)
    using one = signal.subscribe(JANE, BEGINNING)
    using two = signal.subscribe(JANE, BEGINNING)
    using other = signal.subscribe(JOHN, BEGINNING)
    const waits = [one, two, other].map((subscription) => subscription.changed(neverAborted))
    signal.raise(JANE)
    expect(await Promise.all(waits.map(isSettled))).to.deep.equal([true, true, false])
  })

  it('remembers a change that is raised while a subscription does not wait, once', async () => {
    const signal = signalWith(NEVER)
    using subscription = signal.subscribe(JANE, BEGINNING)
    signal.raise(JANE)
    signal.raise(JANE)
    await subscription.changed(neverAborted)
    expect(await isSettled(subscription.changed(neverAborted))).to.equal(false)
  })

  it('ends a wait when its signal aborts, also before it begins', async () => {
    const controller = new AbortController()
    using subscription = signalWith(NEVER).subscribe(JANE, BEGINNING)
    const waiting = subscription.changed(controller.signal)
    controller.abort()
    await waiting
    await subscription.changed(controller.signal)
  })

  it('finds changes by other instances, and a restored list, by its poll', async () => {
    using subscription = await polled(signalWith(OFTEN).subscribe(JANE, BEGINNING))
    for (const changed of [{ revision: 2 }, { epoch: 'b' }]) {
      heads.set(JANE, { ...(heads.get(JANE) as ListHead), ...changed })
      await subscription.changed(neverAborted)
    }
    expect(await isSettled(subscription.changed(neverAborted))).to.equal(false)
  })

  it('wakes no subscription that knows the latest change', async () => {
    const signal = signalWith(OFTEN)
    using knowing = signal.subscribe(JANE, { epoch: 'a', revision: 1 })
    using other = await polled(signal.subscribe(JOHN, BEGINNING))
    expect(read).to.include.members([JANE, JOHN])
    expect(await Promise.all([knowing, other].map((each) => isSettled(each.changed(neverAborted))))).to.deep.equal([
      false,
      false,
    ])
  })

  it('continues after a read that fails', async () => {
    using subscription = await polled(signalWith(OFTEN).subscribe(JANE, BEGINNING))
    failures = 3
    heads.set(JANE, { epoch: 'a', revision: 2, forgotten: 0 })
    await subscription.changed(neverAborted)
  })

  it('reads each list once a poll, however many subscribe to it, and none without a subscription', async () => {
    const signal = signalWith(OFTEN)
    const first = await polled(signal.subscribe(JANE, BEGINNING))
    using second = signal.subscribe(JANE, BEGINNING)
    using other = await polled(signal.subscribe(JOHN, BEGINNING))
    expect(read.slice(read.indexOf(JOHN) - 1)).to.deep.equal([JANE, JOHN])
    first[Symbol.dispose]()
    second[Symbol.dispose]()
    read.length = 0
    heads.set(JOHN, { epoch: 'a', revision: 2, forgotten: 0 })
    await other.changed(neverAborted)
    expect(read).to.include(JOHN).and.not.include(JANE)
  })

  it('polls again for a list that is subscribed to after all others have ended', async () => {
    const signal = signalWith(OFTEN)
    ;(await polled(signal.subscribe(JANE, BEGINNING)))[Symbol.dispose]()
    // Timers of one duration fire in order, so the poll that finds no list is over.
    await delay(OFTEN)
    ;(await polled(signal.subscribe(JANE, BEGINNING)))[Symbol.dispose]()
  })
})
