import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '#test/free-port.ts'

/** The sample configuration of OPERATING.md, without TLS, for this service and this port. */
function sampleConfiguration(path: string, service: string, port: number): string {
  const page = readFileSync(new URL('../../.github/OPERATING.md', import.meta.url), 'utf8')
  const [, sample = ''] = /```nginx\n(.*?)```/s.exec(page) ?? []
  return [
    ['127.0.0.1:8000', new URL(service).host],
    ['listen 443 ssl', `listen 127.0.0.1:${port}`],
    ['/tasks-api/', `${path}/`],
  ].reduce((text, [from = '', to = '']) => {
    if (!text.includes(from)) throw new Error(`The nginx sample of OPERATING.md does not contain "${from}"`)
    return text.replace(from, to)
  }, sample)
}

/** A real nginx that publishes a service below a path and strips it, configured as OPERATING.md says. */
export class Nginx {
  readonly url: string
  readonly #folder: string
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  readonly #errors: Promise<string>

  static async start(path: string, service: string): Promise<Nginx> {
    const nginx = new Nginx(path, service, await freePort())
    await nginx.#ready()
    return nginx
  }

  private constructor(path: string, service: string, port: number) {
    this.url = `http://127.0.0.1:${port}`
    this.#folder = mkdtempSync(join(tmpdir(), 'tasks-nginx-'))
    const file = join(this.#folder, 'nginx.conf')
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((each) => `${each}_temp_path ${each};`)
    writeFileSync(
      file,
      `daemon off;
pid nginx.pid;
error_log stderr;
${process.getuid?.() === 0 ? 'user root;' : ''}
events {}
http {
  access_log off;
  ${temporary.join('\n  ')}
  ${sampleConfiguration(path, service, port)}
}
`,
    )
    const PATH = `${process.env.PATH}:/usr/sbin`
    this.#child = spawn('nginx', ['-p', this.#folder, '-c', file, '-e', 'stderr'], {
      env: { PATH },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#ended = once(this.#child, 'close')
    this.#errors = text(this.#child.stderr as NonNullable<ChildProcess['stderr']>)
  }

  /** Lets it answer what it has begun to, then ends it. */
  async stop(): Promise<void> {
    this.#child.kill('SIGQUIT')
    await this.#ended.catch(() => undefined)
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #ready(): Promise<void> {
    const failed = this.#ended.then(
      async () => Promise.reject(new Error(`nginx ended: ${await this.#errors}`)),
      (error) => Promise.reject(new Error(`${error.message}: it is in Debian's package nginx`)),
    )
    const answers = async () => {
      while (!(await fetch(this.url).catch(() => undefined))) await delay(20)
    }
    await Promise.race([answers(), failed])
  }
}
