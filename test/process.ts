/** Runs the service and its commands as an operator does: as processes, which end with their test. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect } from 'chai'

export type Environment = Readonly<Record<string, string>>

const ROOT = resolve(import.meta.dirname, '..')

/** The default secret of a service; no failed start may print it. */
export const SECRET_KEY = 'a secret that is known to these specs alone'

/** With NODE_V8_COVERAGE, coverage includes these processes. It is imprecise for functions from a compile cache. */
const { PATH, NODE_V8_COVERAGE } = process.env
const baseEnvironment = { PATH, ...(NODE_V8_COVERAGE && { NODE_V8_COVERAGE, NODE_DISABLE_COMPILE_CACHE: '1' }) }

/** The working directory of the test's processes; removed afterwards. */
export let folder = ''
/** Aborted when the test ends for any reason, so that its loops can stop. */
export let testEnds: AbortSignal

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) end(child)
})

/**
 * Call this in the `describe` of tests that start processes. Each test gets a folder, and no process outlives the test.
 *
 * @param scope `suite` for tests of processes that their `before` starts
 */
export function allowProcesses(scope: 'test' | 'suite' = 'test'): void {
  const [begin, finish] = scope === 'test' ? [beforeEach, afterEach] : [before, after]
  let abort: AbortController

  begin(() => {
    folder = mkdtempSync(join(tmpdir(), 'tasks-processes-'))
    abort = new AbortController()
    testEnds = abort.signal
  })

  finish(async () => {
    abort.abort()
    const ends = [...running].map((child) => once(child, 'close'))
    for (const child of running) end(child)
    await Promise.all(ends)
    rmSync(folder, { recursive: true, force: true })
    folder = ''
  })
}

/** Kills the process group, which includes every process that it started. */
function end({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

interface Command {
  /** Command-line arguments. */
  readonly words?: readonly string[]
  /** A command that runs the rest of the command line, such as `prlimit`. */
  readonly launcher?: readonly string[]
  /** Written to its stdin, which then ends. */
  readonly input?: string
  /** Leaves its stdin open for `write`. */
  readonly interactive?: boolean
}

/** A file of the project that Node runs in the test's folder, with this environment and no other variables. */
export class Process {
  readonly #child: ChildProcess
  readonly #end: Promise<unknown>
  /** Everything printed so far on both streams. */
  output = ''
  stdout = ''
  stderr = ''

  constructor(file: string, environment: Environment, { words = [], launcher = [], input, interactive }: Command = {}) {
    // Without a folder of its own, the process would use the `.env` and the database of the working directory.
    if (folder === '') throw new Error('Call allowProcesses() in the describe of tests that start processes.')
    const [program = '', ...rest] = [...launcher, process.execPath, join(ROOT, file), ...words]
    this.#child = spawn(program, rest, {
      cwd: folder,
      env: { ...baseEnvironment, ...environment },
      stdio: [input === undefined && !interactive ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      detached: true,
    })
    running.add(this.#child)
    // A command may end before it has read everything.
    this.#child.stdin?.on('error', () => {})
    if (input !== undefined) this.#child.stdin?.end(input)
    for (const name of ['stdout', 'stderr'] as const) {
      this.#child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
        this[name] += chunk
        this.output += chunk
        this.#child.emit('printed')
      })
    }
    this.#end = once(this.#child, 'close').finally(() => running.delete(this.#child))
  }

  get pid(): number {
    return this.#child.pid as number
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** @returns the first match in the output. @throws Error when the process ends first */
  async waitForOutput(pattern: RegExp): Promise<RegExpExecArray> {
    const ended = this.#end.then(() => true)
    for (;;) {
      const found = pattern.exec(this.output)
      if (found) return found
      if ((await Promise.race([once(this.#child, 'printed'), ended])) === true && !pattern.test(this.output))
        throw new Error(`The process ended without printing ${pattern}. Its output:\n${this.output}`)
    }
  }

  /** The URL on which the process listens. */
  async url(): Promise<string> {
    const [, url = ''] = await this.waitForOutput(/(http:\/\/[^\s/]+:\d+)\//)
    return url
  }

  write(text: string): void {
    this.#child.stdin?.write(text)
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Signals the whole process group, as a terminal does. */
  signalAll(signal: NodeJS.Signals): void {
    process.kill(-this.pid, signal)
  }

  /** Waits for the end. @returns the exit code; null when a signal killed the process */
  async exitCode(): Promise<number | null> {
    await this.#end
    return this.#child.exitCode
  }

  /** Stops the process with SIGTERM and expects exit code 0. */
  async stop(): Promise<void> {
    this.signal('SIGTERM')
    expect(await this.exitCode(), this.output).to.equal(0)
  }

  /** Waits for a failure. @returns the message, which has no stack and no secret */
  async failureMessage(): Promise<string> {
    expect(await this.exitCode(), this.output).to.equal(1)
    expect(this.output).to.not.match(/\n\s+at |node:internal|\.ts:\d|Error:/)
    expect(this.output).to.not.include(SECRET_KEY)
    return this.output.trim()
  }
}

/** The service with defaults for tests. */
export class Service extends Process {
  constructor(environment: Environment, launcher: readonly string[] = []) {
    const usual = { ENVIRONMENT: 'test', PORT: '0', BCRYPT_ROUNDS: '4', RATE_LIMIT_ENABLED: 'false', SECRET_KEY }
    super('src/main.ts', { ...usual, ...environment }, { launcher })
  }
}
