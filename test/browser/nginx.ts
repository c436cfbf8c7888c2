import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '#test/free-port.ts'
import { Program } from '#test/program.ts'

/** The nginx samples of OPERATING.md for a service and a port, without TLS; at the root of the host if the path is empty. */
function sampleConfiguration(path: string, service: string, port: number): string {
  const page = readFileSync(new URL('../../.github/OPERATING.md', import.meta.url), 'utf8')
  const [server = '', below = ''] = [...page.matchAll(/```nginx\n(.*?)```/gs)].map(([, sample = '']) => sample)
  const [root = ''] = /^ {4}location .*?^ {4}\}\n/ms.exec(server) ?? []
  return [
    ['127.0.0.1:8000', new URL(service).host],
    ['listen 443 ssl', `listen 127.0.0.1:${port}`],
    [root, path === '' ? root : below],
    ...(path === '' ? [] : [['/tasks-api/', `${path}/`]]),
  ].reduce((text, [from = '', to = '']) => {
    if (from === '' || !text.includes(from))
      throw new Error(`The nginx samples of OPERATING.md do not contain "${from}"`)
    // A function, because "$" has a meaning in a replacement text.
    return text.replace(from, () => to)
  }, server)
}

/** An nginx that publishes a service at the root of a host, or below a path that it strips, as OPERATING.md says. */
export class Nginx {
  readonly url: string
  readonly #folder: string
  readonly #program: Program

  private constructor(url: string, folder: string, program: Program) {
    this.url = url
    this.#folder = folder
    this.#program = program
  }

  static async start(path: string, service: string): Promise<Nginx> {
    const port = await freePort()
    const url = `http://127.0.0.1:${port}`
    const folder = mkdtempSync(join(tmpdir(), 'tasks-nginx-'))
    const file = join(folder, 'nginx.conf')
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
    const isReady = () =>
      fetch(url).then(
        () => true,
        () => false,
      )
    return new Nginx(url, folder, await Program.start('nginx', ['-p', folder, '-c', file, '-e', 'stderr'], isReady))
  }

  /** Drains, then ends. */
  async stop(): Promise<void> {
    await this.#program.stop('SIGQUIT')
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
