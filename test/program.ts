import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { waitUntil } from './wait-until.ts'

/** Debian installs servers in /usr/sbin, which is not in the PATH of every user. */
const PATH = `${process.env.PATH}:/usr/sbin`

/** A server program from the Debian package of the same name. */
export class Program {
  readonly #child: ChildProcess
  readonly #ended: Promise<void>
  #log = ''
  #failure: Error | undefined

  /** @param isReady whether the program is ready, judging by its stderr */
  static async start(
    name: string,
    words: readonly string[],
    isReady: (log: string) => boolean | Promise<boolean>,
    options: SpawnOptions = {},
  ): Promise<Program> {
    const program = new Program(name, words, options)
    await waitUntil(() => {
      if (program.#failure) throw program.#failure
      return isReady(program.#log)
    })
    return program
  }

  private constructor(name: string, words: readonly string[], options: SpawnOptions) {
    this.#child = spawn(name, words, { env: { PATH }, stdio: ['ignore', 'ignore', 'pipe'], ...options })
    process.once('exit', () => this.#child.kill('SIGKILL'))
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text
    })
    this.#ended = once(this.#child, 'close').then(
      () => {
        this.#failure = new Error(`${name} ended:\n${this.#log}`)
      },
      ({ message }) => {
        this.#failure = new Error(`${message}. Install the Debian package ${name}.`)
      },
    )
  }

  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#child.kill(signal)
    await this.#ended
  }
}
