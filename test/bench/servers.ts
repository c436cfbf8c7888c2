/** The processes that a run starts, on which core each runs, and their end. */
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

/** The same for every process of a run, so that one token is good for all. */
export const SECRET_KEY = 'a key of the bench alone, which nothing else may use'
export const BCRYPT_ROUNDS = 12

const START_LIMIT_MS = 30_000
const STOP_LIMIT_MS = 5_000

/** Removed when the run ends, whatever ends it. */
export const folder = mkdtempSync(join(tmpdir(), 'tasks-bench-'))
chmodSync(folder, 0o711) // PostgreSQL runs as another user when this one is root, and has its folder in here
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
})

const TMPFS = 0x01021994
/** A commit costs nothing on a file system that lives in memory. */
export const commitsReachADisk = statfsSync(folder).type !== TMPFS

/** The cores that this process may use, or none where that can't be known or chosen. */
const cores = allowedCores()

/** Where a process runs: `server` and `load` are a core each, `any` leaves it to the operating system. */
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

/** Moves this process, which makes the load; what it starts later is placed by itself. */
export function moveLoad(place: Place): void {
  if (pinned) spawnSync('taskset', ['-acp', coresOf[place], String(process.pid)])
}

export interface Server {
  /** With the prefix of the routes, without a slash at the end. */
  readonly url: string
  readonly pid: number
  stop(): Promise<void>
}

/** Limits are counted as in production, and never reached. */
const UNREACHED = {
  RATE_LIMIT_USER: '1000000000',
  RATE_LIMIT_LOGIN: '1000000000',
  RATE_LIMIT_REGISTER: '1000000000',
  RATE_LIMIT_FAILED_LOGINS: '1000000000',
}

/** As in production, with everything on that production has, and as in the image with nothing compiled before. */
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

let started = 0

/** The log goes to a file, as in production to a collector: a pipe would make this process read it under load. */
async function start(file: string, place: Place, environment: NodeJS.ProcessEnv): Promise<Server> {
  const logFile = join(folder, `${++started}.log`)
  const log = openSync(logFile, 'w')
  const command = [...(pinned ? ['taskset', '-c', coresOf[place]] : []), process.execPath, file]
  const child = spawn(command[0] as string, command.slice(1), {
    cwd: folder, // where no `.env` is
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

/** The server and the workers that it has started. */
export function processesOf({ pid }: Server): readonly number[] {
  const { stdout } = spawnSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
  return [pid, ...(stdout ?? '').split('\n').filter(Boolean).map(Number)]
}

/** Resident memory now and at its highest, in bytes; not a number where the operating system does not say. */
export function memoryOf(server: Server): { now: number; peak: number } {
  const statuses = processesOf(server).map((pid) => fromProc(pid, 'status'))
  const bytes = (name: string) => {
    const line = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm')
    return sum(statuses.map((status) => Number(line.exec(status)?.[1]) * 1_024))
  }
  return { now: bytes('VmRSS'), peak: bytes('VmHWM') }
}

const TICKS_A_SECOND = 100

/** Seconds of a core that it has used; not a number where the operating system does not say. */
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
