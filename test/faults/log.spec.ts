import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { freePort } from '#test/free-port.ts'
import { allowProcesses, type Environment, folder, Service } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import { refusesConnections } from './client.ts'

/** A launcher that redirects the output of a command. */
const redirected = (redirection: string) => ['bash', '-c', `exec "$@" ${redirection}`, 'bash']

/** Starts a service on a chosen port, because its output cannot be read. */
async function startService(environment: Environment, launcher: readonly string[]) {
  const port = await freePort()
  const service = new Service({ DATABASE_URL: 'memory:', PORT: String(port), ...environment }, launcher)
  const url = `http://127.0.0.1:${port}`
  await waitUntil(async () => {
    expect(service.alive, service.output).to.equal(true)
    return !(await refusesConnections(url))
  })
  return { service, url }
}

/** Sends requests, each of which logs one line. */
async function sendRequests(url: string, count: number): Promise<void> {
  for (let index = 0; index < count; index++) expect((await fetch(`${url}/openapi.json`)).status).to.equal(200)
}

const outputs = {
  'a full disk': '> /dev/full',
  'a pipe without a reader': '> >(exec true)',
  'a closed output': '>&-',
}
const environments: Readonly<Record<string, Environment>> = {
  production: { ENVIRONMENT: 'production', BCRYPT_ROUNDS: '10' },
  development: { ENVIRONMENT: 'development' },
  'two workers': { WEB_CONCURRENCY: '2', DATABASE_URL: 'sqlite:///tasks.db' },
}

describe('A log that cannot be written', () => {
  allowProcesses()

  for (const [output, redirection] of Object.entries(outputs)) {
    for (const [name, environment] of Object.entries(environments)) {
      it(`does not stop the service (${output}, ${name})`, async () => {
        const { service, url } = await startService(environment, redirected(redirection))
        await sendRequests(url, 20)
        await service.stop()
      })
    }
  }

  it('does not keep an uncaught error from ending the process with 1', async () => {
    const throwing = "process.on('SIGUSR2',()=>{setImmediate(()=>{throw new Error('uncaught')})})"
    const NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(throwing)}`
    const { service } = await startService({ NODE_OPTIONS }, redirected('> /dev/full'))
    service.signal('SIGUSR2')
    expect(await service.exitCode()).to.equal(1)
  })

  it('contains whole lines only and the number of lost lines after a full disk', async () => {
    // Limits the size of the log file until the limit is lifted below.
    const launcher = ['prlimit', '--fsize=10000:unlimited', ...redirected('> log')]
    const { service, url } = await startService({}, launcher)
    const log = () => readFileSync(join(folder, 'log'), 'utf8')
    let requests = 0
    await waitUntil(async () => {
      await sendRequests(url, 1)
      requests++
      return log().length === 10_000
    })
    await sendRequests(url, 10)
    const { status, stderr } = spawnSync('prlimit', [`--pid=${service.pid}`, '--fsize=unlimited:unlimited'])
    expect(status, String(stderr)).to.equal(0)
    await sendRequests(url, 5)
    await service.stop()

    const lines = log()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { readonly msg: string; readonly level: string; readonly lost?: number })
    const notices = lines.filter(({ lost }) => lost !== undefined)
    expect(notices).to.have.lengthOf(1)
    expect(notices[0]).to.include({ level: 'warn' })
    const answered = lines.filter(({ msg }) => msg === 'request').length
    expect(answered + (notices[0]?.lost as number)).to.equal(requests + 15)
  })
})
