/** Loads servers with autocannon, checks every answer, and compares two of them. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import autocannon from 'autocannon'
import { cpuSecondsOf, type Server } from './servers.ts'

export interface Load {
  readonly status: number
  readonly connections: number
  /** What each connection sends, again and again, from the first to the last. */
  requests(connection: number): autocannon.Request[]
  /** Whether this is a right answer; a status that differs is a wrong one already. */
  accepts(body: string): boolean
}

export interface Measured {
  readonly requestsPerSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Microseconds of a core for each request, in the server itself and not in a database beside it. */
  readonly cpu: number
  /** How much of one core the server took: well under 1, and something else was the limit. */
  readonly busy: number
  /** How much of one core the load itself took: near 1, and it may be the limit. */
  readonly loadBusy: number
}

/** For one answer. */
const TIMEOUT_S = 10
/** For a load that nobody stops. */
const LIMIT_S = 60

/** @throws Error when any answer was not as expected */
async function measure(server: Server, load: Load, seconds: number): Promise<Measured> {
  const { answered, stop, measured } = fire(server, load)
  const stopped = answered.then(() => sleep(seconds * 1_000)).then(stop)
  await Promise.race([stopped, measured])
  return measured
}

export interface Company {
  /** It has been answered once. */
  readonly going: Promise<unknown>
  stop(): Promise<void>
}

/** Load without end, until it is told to stop. */
export function flood(server: Server, load: Load): Company {
  const { answered, stop, measured } = fire(server, load)
  return {
    going: Promise.race([answered, measured]),
    async stop() {
      stop()
      await measured
      // What was asked for last is still being worked on: whoever comes next must not meet it.
      const [{ method = 'GET', path = '', headers = {}, body = null } = {}] = load.requests(0)
      await fetch(new URL(path, server.url), {
        method,
        headers: headers as Record<string, string>,
        body: body as string,
      })
    },
  }
}

function fire(server: Server, load: Load) {
  const times: number[] = []
  let connection = 0
  let first = 0
  let last = 0
  const cpuBefore = cpuSecondsOf(server)
  const ownBefore = process.cpuUsage()
  const { promise, resolve, reject } = Promise.withResolvers<autocannon.Result>()
  const run = autocannon(
    {
      url: server.url,
      duration: LIMIT_S,
      sampleInt: 100,
      connections: load.connections,
      timeout: TIMEOUT_S,
      setupClient: (client) => client.setRequests(load.requests(connection++)),
      verifyBody: (body) => load.accepts(String(body)),
    },
    (error, done) => (error ? reject(error) : resolve(done)),
  )
  run.on('response', (_client, _status, _bytes, milliseconds) => {
    times.push(milliseconds)
    last = performance.now()
    first ||= last
  })
  const measured = promise.then((result) => {
    expectRightAnswers(result, load)
    const elapsed = (last - first) / 1_000
    const cpuSeconds = cpuSecondsOf(server) - cpuBefore
    const own = process.cpuUsage(ownBefore)
    times.sort((a, b) => a - b)
    const percentile = (part: number) => times[Math.ceil(times.length * part) - 1] as number
    return {
      requestsPerSecond: times.length / elapsed,
      p50: percentile(0.5),
      p99: percentile(0.99),
      cpu: (cpuSeconds / times.length) * 1_000_000,
      busy: cpuSeconds / elapsed,
      loadBusy: (own.user + own.system) / 1_000_000 / elapsed,
    }
  })
  return { answered: once(run, 'response'), measured, stop: () => run.stop() }
}

function expectRightAnswers({ errors, timeouts, mismatches, statusCodeStats = {} }: autocannon.Result, load: Load) {
  const statuses = Object.keys(statusCodeStats)
  const right = statuses.length === 1 && statuses[0] === String(load.status)
  if (right && errors + timeouts + mismatches === 0) return
  const counts = statuses.map((status) => `${statusCodeStats[status as `${number}`]?.count} × ${status}`).join(', ')
  throw new Error(
    `Not every answer was right: ${counts || 'no answer'}, where only ${load.status} is; ` +
      `${errors} socket errors, ${timeouts} timeouts, ${mismatches} wrong bodies.`,
  )
}

export interface Side {
  readonly server: Server
  readonly load: Load
  /** What goes on beside it, from shortly before until it is over. */
  readonly beside?: () => Company
}

export interface Comparison {
  /** Medians of the rounds. */
  readonly a: Measured
  readonly b: Measured
  /** Requests a second of A over B's, and its p99 over B's: medians over all rounds that were neighbours in time. */
  readonly ratio: number
  /** Between which half of these ratios lie: far apart, and the machine was busy with something else. */
  readonly middleHalf: readonly [from: number, to: number]
  readonly p99Ratio: number
}

export interface Effort {
  readonly seconds: number
  readonly rounds: number
}

const WARM_UP_S = 4

/** A B A B …: what disturbs the machine for a while disturbs both, and the ratio of two neighbours stays. */
export async function compare(a: Side, b: Side, { seconds, rounds }: Effort): Promise<Comparison> {
  for (const side of [a, b]) await shoot(side, WARM_UP_S)
  const shots: Measured[] = []
  for (let round = 0; round < rounds; round++) {
    shots.push(await shoot(a, seconds))
    shots.push(await shoot(b, seconds))
  }
  const neighbours = shots.slice(1).map((shot, index): [Measured, Measured] => {
    const other = shots[index] as Measured
    return index % 2 === 0 ? [other, shot] : [shot, other]
  })
  const ratios = (key: 'requestsPerSecond' | 'p99') => neighbours.map(([first, second]) => first[key] / second[key])
  const speeds = ratios('requestsPerSecond')
  return {
    a: medians(shots.filter((_, index) => index % 2 === 0)),
    b: medians(shots.filter((_, index) => index % 2 === 1)),
    ratio: median(speeds),
    middleHalf: [quantile(speeds, 0.25), quantile(speeds, 0.75)],
    p99Ratio: median(ratios('p99')),
  }
}

async function shoot({ server, load, beside }: Side, seconds: number): Promise<Measured> {
  const company = beside?.()
  await company?.going
  try {
    return await measure(server, load, seconds)
  } finally {
    await company?.stop()
  }
}

function medians(shots: readonly Measured[]): Measured {
  const of = (key: keyof Measured) => median(shots.map((shot) => shot[key]))
  return {
    requestsPerSecond: of('requestsPerSecond'),
    p50: of('p50'),
    p99: of('p99'),
    cpu: of('cpu'),
    busy: of('busy'),
    loadBusy: of('loadBusy'),
  }
}

/** Between two of the numbers where it falls between them. */
function quantile(numbers: readonly number[], part: number): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * part
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]] as [number, number]
  return low + (high - low) * (at % 1)
}

export const median = (numbers: readonly number[]) => quantile(numbers, 0.5)
