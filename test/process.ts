/** The service, and the commands beside it, as an operator runs them: processes of their own, which end with their test. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { expect } from 'chai'

export type Environment = Readonly<Record<string, string>>

const ROOT = resolve(import.meta.dirname, '..')

/** What a service has that is given no other; no start that fails may print it. */
export const SECRET_KEY = 'a secret that is known to these specs alone'

/** Without it a coverage of the tests would not see these processes. */
const { PATH, NODE_V8_COVERAGE } = process.env
const ours = { PATH, ...(NODE_V8_COVERAGE && { NODE_V8_COVERAGE }) }

/** Where everything is kept that a test makes; removed after it. */
export let folder = ''
/** Is aborted when the test ends, whatever ends it: what goes round and round looks at it. */
export let testEnds: AbortSignal

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) end(child)
})

/**
 * To be called by the `describe` of tests that start processes: each test gets a folder, and no process outlives it.
 *
 * @param scope `suite` for tests that look at what the processes of their `before` did
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

/** With all that it has started: each is a group of its own. */
function end({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

interface Command {
  /** What the file is given. */
  readonly words?: readonly string[]
  /** A command that runs the command after it. */
  readonly launcher?: readonly string[]
}

/** A file of the project that Node runs, in the folder of the test, with that environment and no other. */
export class Process {
  readonly #child: ChildProcess
  readonly #end: Promise<unknown>
  /** Everything it has printed so far, both streams. */
  output = ''
  stdout = ''
  stderr = ''

  constructor(file: string, environment: Environment, { words = [], launcher = [] }: Command = {}) {
    // It would run where the tests were started, beside whatever `.env` and database are there.
    if (folder === '') throw new Error('Their describe has to call allowProcesses() for tests to start any.')
    const [program = '', ...rest] = [...launcher, process.execPath, join(ROOT, file), ...words]
    this.#child = spawn(program, rest, {
      cwd: folder,
      env: { ...ours, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    running.add(this.#child)
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

  /** @throws Error when it ends without having printed that */
  async printed(form: RegExp): Promise<RegExpExecArray> {
    const ended = this.#end.then(() => true)
    for (;;) {
      const found = form.exec(this.output)
      if (found) return found
      if ((await Promise.race([once(this.#child, 'printed'), ended])) === true && !form.test(this.output))
        throw new Error(`The process ended and had not printed ${form}, but:\n${this.output}`)
    }
  }

  /** Where it listens. */
  async url(): Promise<string> {
    const [, url = ''] = await this.printed(/(http:\/\/[^\s/]+:\d+)\//)
    return url
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** To all of its processes at once, as a terminal does. */
  signalAll(signal: NodeJS.Signals): void {
    process.kill(-this.pid, signal)
  }

  /** What it exits with; null when a signal killed it. */
  async exit(): Promise<number | null> {
    await this.#end
    return this.#child.exitCode
  }

  /** Ends as it is told to. */
  async stop(): Promise<void> {
    this.signal('SIGTERM')
    expect(await this.exit(), this.output).to.equal(0)
  }

  /** The message of a start that fails: short, without stack and without secret. */
  async refusal(): Promise<string> {
    expect(await this.exit(), this.output).to.equal(1)
    expect(this.output).to.not.match(/\n\s+at |node:internal|\.ts:\d|Error:/)
    expect(this.output).to.not.include(SECRET_KEY)
    return this.output.trim()
  }
}

/** The service, in an environment for tests. */
export class Service extends Process {
  constructor(environment: Environment, launcher: readonly string[] = []) {
    const usual = { ENVIRONMENT: 'test', PORT: '0', BCRYPT_ROUNDS: '4', RATE_LIMIT_ENABLED: 'false', SECRET_KEY }
    super('src/main.ts', { ...usual, ...environment }, { launcher })
  }
}
