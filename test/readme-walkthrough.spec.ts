import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { allowProcesses, Service } from './process.ts'

const ROOT = resolve(import.meta.dirname, '..')

/** Commands, and the response that the README shows for them. */
interface Step {
  readonly commands: string
  readonly answer?: string
}

describe('The README’s curl walk', function () {
  this.slow(2000)

  allowProcesses()

  it('returns every member that it shows', async () => {
    const steps = walk(readFileSync(join(ROOT, 'README.md'), 'utf8'))
    const script = steps.map(({ commands }) => `${commands}\nprintf '\\f'`).join('\n')
    const service = new Service({ DATABASE_URL: 'memory:' })
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
      env: { PATH: process.env.PATH, BASE: await service.url() },
    })
    const answers = stdout.split('\f').slice(0, -1)
    expect(answers).to.have.lengthOf(steps.length)
    for (const [index, { commands, answer }] of steps.entries()) {
      if (answer === undefined) expect(answers[index], commands).to.equal('')
      else expect(timeless(answers[index]), commands).to.containSubset(timeless(answer))
    }
  })
})

describe('The README’s in-process example', () => {
  allowProcesses()

  it('runs unchanged and prints the task', async () => {
    const [, example = ''] = /^```ts\n(.*?)^```/ms.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? []
    const run = promisify(execFile)(process.execPath, ['--input-type=module-typescript'], { cwd: ROOT })
    run.child.stdin?.end(example)
    const { stdout, stderr } = await run
    expect(stderr).to.equal('')
    expect(stdout).to.include("title: 'Ship the release'").and.to.include('completed: true')
  })
})

function walk(readme: string): readonly Step[] {
  const [, section = ''] = /^## Try it with curl\n(.*?)^## /ms.exec(readme) ?? []
  const blocks = section.matchAll(/^```sh\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?/gms)
  const steps = [...blocks].map(([, commands = '', answer]) => ({ commands, ...(answer && { answer }) }))
  expect(steps.length, 'steps').to.be.greaterThan(5)
  return steps
}

/** The JSON, with each time replaced by a placeholder. */
function timeless(json = ''): unknown {
  return JSON.parse(json, (_, value) => (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value) ? 'a time' : value))
}
