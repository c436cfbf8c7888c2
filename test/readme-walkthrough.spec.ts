import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'chai'

const ROOT = resolve(import.meta.dirname, '..')

/** What the walk has a reader type, and the answer that it promises. */
interface Step {
  readonly commands: string
  readonly answer?: string
}

describe('The README’s walk with curl', function () {
  this.slow(2000)

  let folder: string
  let service: ChildProcess
  let url: string

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'walk-'))
    service = spawn(process.execPath, [join(ROOT, 'src/main.ts')], {
      // A folder of its own, so that nobody's .env has a say.
      cwd: folder,
      env: { ENVIRONMENT: 'test', DATABASE_URL: 'memory:', PORT: '0', BCRYPT_ROUNDS: '4' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    url = await listeningUrl(service)
  })

  after(async () => {
    service.kill()
    if (service.exitCode === null) await once(service, 'exit')
    rmSync(folder, { recursive: true })
  })

  it('gets the answers that it shows', async () => {
    const steps = walk(readFileSync(join(ROOT, 'README.md'), 'utf8'))
    const script = steps.map(({ commands }) => `${commands}\nprintf '\\f'`).join('\n')
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
      env: { PATH: process.env.PATH, BASE: url },
    })
    const answers = stdout.split('\f').slice(0, -1)
    expect(answers).to.have.lengthOf(steps.length)
    for (const [index, { commands, answer }] of steps.entries()) {
      if (answer === undefined) expect(answers[index], commands).to.equal('')
      else expect(timeless(answers[index]), commands).to.deep.equal(timeless(answer))
    }
  })
})

async function listeningUrl({ stdout }: ChildProcess): Promise<string> {
  let log = ''
  for await (const chunk of stdout ?? []) {
    log += chunk
    const [, found] = /API on (http:\/\/[^/]+)/.exec(log) ?? []
    if (found) return found
  }
  throw new Error(`The service did not start: ${log}`)
}

function walk(readme: string): readonly Step[] {
  const [, section = ''] = /^## A walk with curl\n(.*?)^## /ms.exec(readme) ?? []
  const blocks = section.matchAll(/^```sh\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?/gms)
  const steps = [...blocks].map(([, commands = '', answer]) => ({ commands, ...(answer && { answer }) }))
  expect(steps.length, 'steps').to.be.greaterThan(5)
  return steps
}

/** The JSON, with each time replaced by a word for it. */
function timeless(json = ''): unknown {
  return JSON.parse(json, (_, value) => (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value) ? 'a time' : value))
}
