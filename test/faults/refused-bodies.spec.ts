import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { allowProcesses, folder, Service } from '#test/process.ts'
import { Client } from './client.ts'

const MIB = 1_048_576
const run = promisify(execFile)

interface Refused {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  readonly status: number
}

function refusals({ token }: Client): Readonly<Record<string, Refused>> {
  const signed = { authorization: `Bearer ${token}` }
  const json = { 'content-type': 'application/json' }
  const path = '/api/v1/tasks'
  const large = Buffer.alloc(2.5 * MIB, ' ')
  return {
    'a large body': { path, headers: { ...signed, ...json }, body: large, status: 413 },
    'a very large body': { path, headers: { ...signed, ...json }, body: Buffer.alloc(20 * MIB, ' '), status: 413 },
    'corrupt gzip': {
      path,
      headers: { ...signed, ...json, 'content-encoding': 'gzip' },
      body: randomBytes(1.5 * MIB),
      status: 400,
    },
    'an unsupported media type': {
      path,
      headers: { ...signed, 'content-type': 'text/plain' },
      body: large,
      status: 415,
    },
    'no token': { path, headers: json, body: large, status: 401 },
    'no token and a small body': { path, headers: json, body: large.subarray(0, 1_000), status: 401 },
    'an unknown path': { path: '/nowhere', headers: json, body: large, status: 404 },
  }
}

const KINDS = Object.keys(refusals({ token: '' } as Client))

/** A stream, which fetch sends in chunks. */
async function* streamOf(body: Buffer): AsyncGenerator<Buffer> {
  for (let start = 0; start < body.length; start += 65_536) yield body.subarray(start, start + 65_536)
}

/** Sends the rejected request and then a valid one, both twice. @returns the four statuses */
type RealClient = (url: string, refused: Refused, isChunked: boolean) => Promise<readonly number[]>

const withFetch: RealClient = async (url, { path, headers, body }, isChunked) => {
  const statuses: number[] = []
  for (let count = 0; count < 2; count++) {
    const sent = isChunked ? { body: streamOf(body), duplex: 'half' } : { body }
    const refused = await fetch(url + path, { method: 'POST', headers, ...sent } as RequestInit)
    statuses.push(refused.status)
    expect(await refused.json()).to.include({ status: refused.status })
    const next = await fetch(`${url}/livez`)
    statuses.push(next.status)
    await next.text()
  }
  return statuses
}

const withHttpAgent: RealClient = async (url, { path, headers, body }, isChunked) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const send = async (method: string, target: string, sent?: Buffer) => {
    const length = sent && !isChunked ? { 'content-length': sent.length } : {}
    const request = httpRequest(url + target, { method, agent, headers: sent ? { ...headers, ...length } : {} })
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve).once('error', reject)
    })
    for (let start = 0; sent && start < sent.length; start += 65_536)
      request.write(sent.subarray(start, start + 65_536))
    request.end()
    const response = await answered
    await text(response)
    return response.statusCode ?? 0
  }
  const statuses: number[] = []
  for (let count = 0; count < 2; count++) {
    statuses.push(await send('POST', path, body))
    statuses.push(await send('GET', '/livez'))
  }
  agent.destroy()
  return statuses
}

const PYTHON = `
import http.client, json, sys
given = json.load(sys.stdin)
connection = http.client.HTTPConnection(given["host"], timeout=20)
body = open(given["file"], "rb").read()
pieces = lambda: (body[start:start + 65536] for start in range(0, len(body), 65536))
for count in range(2):
    sent = pieces() if given["chunked"] else body
    connection.request("POST", given["path"], sent, given["headers"], encode_chunked=given["chunked"])
    answer = connection.getresponse(); assert json.loads(answer.read())["status"] == answer.status; print(answer.status)
    connection.request("GET", "/livez")
    answer = connection.getresponse(); answer.read(); print(answer.status)
`

const withPython: RealClient = async (url, { path, headers, body }, isChunked) => {
  const file = join(folder, 'body')
  writeFileSync(file, body)
  const python = run('python3', ['-c', PYTHON])
  const chunkedHeaders = isChunked ? { 'transfer-encoding': 'chunked' } : {}
  const host = new URL(url).host
  python.child.stdin?.end(
    JSON.stringify({ host, path, file, chunked: isChunked, headers: { ...headers, ...chunkedHeaders } }),
  )
  const { stdout } = await python
  return stdout.trim().split('\n').map(Number)
}

/** urllib sends Connection: close. */
const URLLIB = `
import json, sys, urllib.request, urllib.error
given = json.load(sys.stdin)
body = open(given["file"], "rb").read()
pieces = lambda: (body[start:start + 65536] for start in range(0, len(body), 65536))
for count in range(2):
    sent = pieces() if given["chunked"] else body
    request = urllib.request.Request(given["url"] + given["path"], sent, given["headers"], method="POST")
    try: urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error: assert json.load(error)["status"] == error.code; print(error.code)
    print(urllib.request.urlopen(given["url"] + "/livez", timeout=20).status)
`

const withUrllib: RealClient = async (url, { path, headers, body }, isChunked) => {
  const file = join(folder, 'body')
  writeFileSync(file, body)
  const python = run('python3', ['-c', URLLIB])
  python.child.stdin?.end(JSON.stringify({ url, path, file, chunked: isChunked, headers }))
  const { stdout } = await python
  return stdout.trim().split('\n').map(Number)
}

const curlWith =
  (...options: string[]): RealClient =>
  async (url, { path, headers, body }, isChunked) => {
    const file = join(folder, 'body')
    writeFileSync(file, body)
    const fields = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
    const common = ['-sS', '--max-time', '20', '-w', '%{stderr}%{http_code}\n', '-o', join(folder, 'answer')]
    const refused = [...common, ...fields, ...options, ...(isChunked ? ['-H', 'transfer-encoding: chunked'] : [])]
    const round = [...refused, '-X', 'POST', '-T', file, url + path, '--next', ...common, `${url}/livez`]
    const { stderr } = await run('curl', [...round, '--next', ...round])
    return stderr.trim().split('\n').map(Number)
  }

const clients: Readonly<Record<string, RealClient>> = {
  'Node’s fetch': withFetch,
  'Node’s http.Agent': withHttpAgent,
  'Python’s http.client': withPython,
  'Python’s urllib': withUrllib,
  curl: curlWith(),
  'curl, without waiting for 100': curlWith('-H', 'Expect:'),
  'curl, in HTTP/1.0': curlWith('--http1.0'),
}

describe('A rejected body', () => {
  allowProcesses()

  for (const [name, client] of Object.entries(clients)) {
    for (const isChunked of [false, true]) {
      if (isChunked && name.includes('1.0')) continue
      it(`lets ${name} read the response and continue (${isChunked ? 'in chunks' : 'with its length'})`, async () => {
        const service = new Service({ DATABASE_URL: 'memory:' })
        const jane = await Client.signUp(await service.url())
        for (const kind of KINDS) {
          const refused = refusals(jane)[kind] as Refused
          const { status } = refused
          expect(await client(jane.url, refused, isChunked), kind).to.deep.equal([1, 2].flatMap(() => [status, 200]))
        }
      })
    }
  }
})
