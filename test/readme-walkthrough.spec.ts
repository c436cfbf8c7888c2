import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { allowProcesses, Service } from './process.ts'

const ROOT = resolve(import.meta.dirname, '..')

/** What the walk has a reader type, and the answer that it promises. */
interface Step {
  readonly commands: string
  readonly answer?: string
}

describe('The README’s walk with curl', function () {
  this.slow(2000)

  allowProcesses()

  it('gets the answers that it shows', async () => {
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
      else expect(timeless(answers[index]), commands).to.deep.equal(timeless(answer))
    }
  })
})

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
