/** Starts, pins to cores and stops the processes of a run. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '#test/free-port.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const PRODUCT = join(ROOT, 'src/main.ts')
const FLOOR = join(ROOT, 'test/bench/floor.ts')
const BARE_STREAMS = join(ROOT, 'test/bench/bare-streams.ts')

/** Shared by all processes of a run, so that one token works for all. */
export const SECRET_KEY = 'a key of the bench alone, which nothing else may use'
export const BCRYPT_ROUNDS = 12

const START_LIMIT_MS = 30_000
const STOP_LIMIT_MS = 5_000

/** Removed when the run ends. */
export const folder = mkdtempSync(join(tmpdir(), 'tasks-bench-'))
// If root runs the bench, PostgreSQL runs as another user, which needs access to its folder in this one.
chmodSync(folder, 0o711)
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
})

const TMPFS = 0x01021994
/** Whether a commit waits for a disk. On an in-memory file system it costs nothing. */
export const commitsReachADisk = statfsSync(folder).type !== TMPFS

/** The cores that this process may use; empty without `taskset`. */
const cores = allowedCores()

/** Where a process runs: on the core of the server or of the load, or on any core. */
export type Place = 'server' | 'load' | 'any'
export const pinned = cores.length >= 2
const coresOf: Readonly<Record<Place, string>> = {
  server: String(cores[0]),
  load: String(cores[1]),
  any: cores.join(','),
}

function allowedCores(): number[] {
  const { stdout, status } = spawnSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' })
  if (status !== 0) return []
  return (stdout.split(':')[1] ?? '').split(',').flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}

/** Moves this process, which generates the load. Its servers are pinned when they start. */
export function moveLoad(place: Place): void {
  if (pinned) spawnSync('taskset', ['-acp', coresOf[place], String(process.pid)])
}

export interface Server {
  /** The base URL of the routes, without a trailing slash. */
  readonly url: string
  readonly pid: number
  stop(): Promise<void>
}

/** Limits are enforced as in production, but never reached. */
const UNREACHED = {
  RATE_LIMIT_USER: '1000000000',
  RATE_LIMIT_LOGIN: '1000000000',
  RATE_LIMIT_REGISTER: '1000000000',
  RATE_LIMIT_REFRESH: '1000000000',
  RATE_LIMIT_FAILED_LOGINS: '1000000000',
  MAX_TASKS_PER_USER: '1000000000',
}

/** Starts the product as in production, with an empty compile cache as in the image. */
export const startProduct = async (databaseUrl: string, place: Place = 'server', environment: NodeJS.ProcessEnv = {}) =>
  start(PRODUCT, place, {
    METRICS_PORT: String(await freePort()),
    NODE_COMPILE_CACHE: mkdtempSync(join(folder, 'compiled-')),
    DATABASE_URL: databaseUrl,
    ENVIRONMENT: 'production',
    ...UNREACHED,
    BCRYPT_ROUNDS: String(BCRYPT_ROUNDS),
    HOST: '127.0.0.1',
    PORT: '0',
    ...environment,
  })

export const startFloor = (databaseUrl: string, place: Place = 'server') =>
  start(FLOOR, place, { DATABASE_URL: databaseUrl })

export const startBareStreams = () => start(BARE_STREAMS, 'server', {})

let started = 0

/** Logs to a file: this process would have to read a pipe while it generates the load. */
async function start(file: string, place: Place, environment: NodeJS.ProcessEnv): Promise<Server> {
  const logFile = join(folder, `${++started}.log`)
  const log = openSync(logFile, 'w')
  const command = [...(pinned ? ['taskset', '-c', coresOf[place]] : []), process.execPath, file]
  const child = spawn(command[0] as string, command.slice(1), {
    cwd: folder, // has no `.env`
    env: { PATH: process.env.PATH, SECRET_KEY, ...environment },
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  running.add(child)
  const ended = once(child, 'exit').finally(() => running.delete(child))
  const stop = async () => {
    child.kill('SIGTERM')
    const killed = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    await ended
    clearTimeout(killed)
  }
  return { url: await announced(child, logFile), pid: child.pid as number, stop }
}

async function announced(child: ChildProcess, logFile: string): Promise<string> {
  const deadline = Date.now() + START_LIMIT_MS
  while (child.exitCode === null && Date.now() < deadline) {
    const url = /http:\/\/127\.0\.0\.1:\d+\/api\/v1/.exec(readFileSync(logFile, 'utf8'))?.[0]
    if (url) return url
    await sleep(5)
  }
  throw new Error(`A server did not start.\n${readFileSync(logFile, 'utf8')}`)
}

/** The server and its workers. */
export function processesOf({ pid }: Server): readonly number[] {
  const { stdout } = spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
  return [pid, ...(stdout ?? '').split('\n').filter(Boolean).map(Number)]
}

/** Current and peak resident memory in bytes; NaN without /proc. */
export function memoryOf(server: Server): { now: number; peak: number } {
  const statuses = processesOf(server).map((pid) => fromProc(pid, 'status'))
  const bytes = (name: string) => {
    const line = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm')
    return sum(statuses.map((status) => Number(line.exec(status)?.[1]) * 1_024))
  }
  return { now: bytes('VmRSS'), peak: bytes('VmHWM') }
}

const TICKS_A_SECOND = 100

/** CPU seconds used; NaN without /proc. */
export function cpuSecondsOf(server: Server): number {
  const seconds = processesOf(server).map((pid) => {
    const [, fields = ''] = fromProc(pid, 'stat').split(') ')
    const [user, system] = fields.split(' ').slice(11).map(Number)
    return (Number(user) + Number(system)) / TICKS_A_SECOND
  })
  return sum(seconds)
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)

function fromProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}
