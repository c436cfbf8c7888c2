/** Loads servers with autocannon, checks every response, and compares two servers. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import autocannon from 'autocannon'
import { cpuSecondsOf, type Server } from './servers.ts'

export interface Load {
  readonly status: number
  readonly connections: number
  /** Requests that one response counts as: for a batch, its operations. */
  readonly weight?: number
  /** The requests that a connection sends in order, over and over. */
  requests(connection: number): autocannon.Request[]
  /** Whether a response body is correct, given the expected status. */
  accepts(body: string): boolean
}

export interface Measured {
  readonly requestsPerSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Microseconds of CPU per request in the server itself, without its database. */
  readonly cpu: number
  /** Fraction of one core that the server used. Well below 1, something else was the limit. */
  readonly busy: number
  /** Fraction of one core that the load used. Near 1, the load may be the limit. */
  readonly loadBusy: number
}

/** Timeout of one response. */
const TIMEOUT_S = 10
/** Limit of a load that is never stopped. */
const LIMIT_S = 60

/** @throws Error when any response was wrong */
async function measure(server: Server, load: Load, seconds: number): Promise<Measured> {
  const { answered, stop, measured } = fire(server, load)
  const stopped = answered.then(() => sleep(seconds * 1_000)).then(stop)
  await Promise.race([stopped, measured])
  return measured
}

/** A load that runs beside a measurement. */
export interface BackgroundLoad {
  /** Resolves with its first response. */
  readonly started: Promise<unknown>
  stop(): Promise<void>
}

/** Loads a server until stopped. */
export function startLoad(server: Server, load: Load): BackgroundLoad {
  const { answered, stop, measured } = fire(server, load)
  return {
    started: Promise.race([answered, measured]),
    async stop() {
      stop()
      await measured
      // The server may still handle the last requests, so wait for one more request, which is served after them.
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
    const requests = times.length * (load.weight ?? 1)
    const percentile = (part: number) => times[Math.ceil(times.length * part) - 1] as number
    return {
      requestsPerSecond: requests / elapsed,
      p50: percentile(0.5),
      p99: percentile(0.99),
      cpu: (cpuSeconds / requests) * 1_000_000,
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
    `Wrong responses: ${counts || 'none'}, expected only ${load.status}; ` +
      `${errors} socket errors, ${timeouts} timeouts, ${mismatches} wrong bodies.`,
  )
}

export interface Side {
  readonly server: Server
  readonly load: Load
  /** Starts a load that runs beside the measurement. */
  readonly beside?: () => BackgroundLoad
}

export interface Comparison {
  /** Medians of the rounds. */
  readonly a: Measured
  readonly b: Measured
  /** A's requests per second and its p99 relative to B's: medians over all pairs of neighbouring rounds. */
  readonly ratio: number
  /** The range of the middle half of the ratios. A wide range means a noisy machine. */
  readonly middleHalf: readonly [from: number, to: number]
  readonly p99Ratio: number
}

export interface Effort {
  readonly seconds: number
  readonly rounds: number
}

const WARM_UP_S = 4
/** Seconds of load before each measurement beside a background load. */
const SETTLE_S = 1

/** Measures A B A B …, so that a temporary disturbance affects both and the ratio of two neighbours stays the same. */
export async function compare(a: Side, b: Side, { seconds, rounds }: Effort): Promise<Comparison> {
  for (const side of [a, b]) await measureSide(side, WARM_UP_S)
  const measured: Measured[] = []
  for (let round = 0; round < rounds; round++) {
    measured.push(await measureSide(a, seconds))
    measured.push(await measureSide(b, seconds))
  }
  const neighbours = measured.slice(1).map((current, index): [Measured, Measured] => {
    const other = measured[index] as Measured
    return index % 2 === 0 ? [other, current] : [current, other]
  })
  const ratios = (key: 'requestsPerSecond' | 'p99') => neighbours.map(([first, second]) => first[key] / second[key])
  const speeds = ratios('requestsPerSecond')
  return {
    a: medians(measured.filter((_, index) => index % 2 === 0)),
    b: medians(measured.filter((_, index) => index % 2 === 1)),
    ratio: median(speeds),
    middleHalf: [quantile(speeds, 0.25), quantile(speeds, 0.75)],
    p99Ratio: median(ratios('p99')),
  }
}

async function measureSide({ server, load, beside }: Side, seconds: number): Promise<Measured> {
  const background = beside?.()
  await background?.started
  try {
    // Garbage collection pauses for 25 ms at a time while it moves the objects of newly opened streams.
    if (background) await measure(server, load, SETTLE_S)
    return await measure(server, load, seconds)
  } finally {
    await background?.stop()
  }
}

function medians(measured: readonly Measured[]): Measured {
  const of = (key: keyof Measured) => median(measured.map((each) => each[key]))
  return {
    requestsPerSecond: of('requestsPerSecond'),
    p50: of('p50'),
    p99: of('p99'),
    cpu: of('cpu'),
    busy: of('busy'),
    loadBusy: of('loadBusy'),
  }
}

/** Interpolates between two numbers. */
function quantile(numbers: readonly number[], part: number): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * part
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]] as [number, number]
  return low + (high - low) * (at % 1)
}

export const median = (numbers: readonly number[]) => quantile(numbers, 0.5)
