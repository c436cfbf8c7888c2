import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { mock } from 'node:test'
import { expect } from 'chai'
import { Metrics } from '#src/adapters/metrics/prometheus.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { expectRejection } from '#test/contracts/repositories.ts'
import { freePort } from '#test/free-port.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { Api, LOGIN, TASKS, type User } from './api.ts'

describe('The metrics', () => {
  const api = new Api()
  let url: string
  let jane: User
  before(async () => {
    const METRICS_PORT = String(await freePort())
    url = `http://127.0.0.1:${METRICS_PORT}`
    await api.start({
      DATABASE_URL: await postgresql.databaseUrl(),
      METRICS_PORT,
      RATE_LIMIT_ENABLED: 'true',
      RATE_LIMIT_LOGIN: '2',
      RATE_LIMIT_USER: '1000',
    })
    jane = await api.signUp()
  })
  after(() => api.stop())

  const exposition = async () => (await fetch(`${url}/metrics`)).text()

  /** The samples by name and labels, sorted by label name. */
  async function samples(): Promise<Record<string, number>> {
    const lines = (await exposition()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    const read = lines.map((line) => {
      const [, name = '', labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      return [
        name +
          (labels &&
            `{${labels
              .split(/,(?=\w+=)/)
              .sort()
              .join()}}`),
        Number(value),
      ] as const
    })
    return Object.fromEntries(read)
  }

  /** A request is counted once its last byte is sent, which may be after the client has read the response. */
  async function untilCounted(sample: string, count: number): Promise<void> {
    while (((await samples())[sample] ?? 0) < count);
  }

  const counted = (method: string, route: string, status: number) =>
    `http_server_request_duration_seconds_count{method="${method}",route="${route}",status="${status}"}`

  it('are the only thing on their port', async () => {
    const answer = await fetch(`${url}/metrics`)
    expect(answer.status).to.equal(200)
    expect(answer.headers.get('content-type')).to.match(/^text\/plain; version=0\.0\.4/)
    expect((await fetch(`${url}/metrics?x=1`)).status).to.equal(200)
    for (const path of ['/', '/health', '/livez', '/openapi.json', '/metrics/', '/Metrics', '/api/v1/tasks']) {
      const other = await fetch(url + path)
      expect(other.status, path).to.equal(404)
      expect(await other.text(), path).to.equal('')
    }
    for (const method of ['POST', 'HEAD', 'DELETE', 'OPTIONS'])
      expect((await fetch(`${url}/metrics`, { method })).status, method).to.equal(404)
  })

  it('are not served on the API port', async () => {
    await api.get('/metrics').expect(404)
  })

  it('count requests and their durations by method, route template and status', async () => {
    const { id } = await jane.createTask()
    const count = counted('GET', `${TASKS}/{id}`, 200)
    const before = (await samples())[count] ?? 0
    await jane.get(`${TASKS}/${id}`).expect(200)
    await jane.get(`${TASKS}/${id}`).expect(200)
    await jane.head(`${TASKS}/${id}`).expect(200)
    await untilCounted(count, before + 2)
    await untilCounted(counted('HEAD', `${TASKS}/{id}`, 200), 1)
    await jane.post(TASKS).send({ title: '' }).expect(422)
    await untilCounted(counted('POST', TASKS, 422), 1)

    const all = await samples()
    expect(all[count]).to.equal(before + 2)
    const labels = `method="GET",route="${TASKS}/{id}",status="200"`
    expect(all[`http_server_request_duration_seconds_sum{${labels}}`]).to.be.above(0).and.below(60)
    expect(all[`http_server_request_duration_seconds_bucket{le="+Inf",${labels}}`]).to.equal(before + 2)
    expect(all[`http_server_request_duration_seconds_bucket{le="0.005",${labels}}`]).to.be.a('number')
  })

  it('use one label for all unknown paths, and never a path itself', async () => {
    for (const path of ['/one', '/two', '/etc/passwd', '/api/v1/tasks/1/x', `/${jane.token}`]) {
      await api.raw({ method: 'GET', path })
    }
    await api.delete(TASKS).expect(405)
    await untilCounted(counted('GET', 'none', 404), 5)
    const text = await exposition()
    expect(text).to.not.match(/passwd|\/one|\/two|tasks\/\d/)
    expect(text).to.not.include(jane.token)
  })

  it('count active requests', async () => {
    expect(await samples()).to.include({ http_server_active_requests: 0 })
    const headers = { authorization: `Bearer ${jane.token}`, 'content-type': 'application/json' }
    const request = httpRequest(api.url + TASKS, {
      method: 'POST',
      headers: { ...headers, 'content-length': 15, expect: '100-continue' },
      agent: false,
    })
    request.flushHeaders()
    await once(request, 'continue')
    expect(await samples()).to.include({ http_server_active_requests: 1 })
    request.end('{"title":"Now"}')
    const [response] = await once(request, 'response')
    response.resume()
    await once(response, 'close')
    while ((await samples()).http_server_active_requests !== 0);
  })

  it('count rate-limited requests by route', async () => {
    const wrong = { username: 'unknown@example.com', password: 'wrong' }
    for (let attempt = 0; attempt < 4; attempt++) await api.post(LOGIN).send(wrong)
    const refusals = `rate_limit_refusals_total{route="${LOGIN}"}`
    await untilCounted(refusals, 3)
    expect(await samples()).to.include({ [refusals]: 3 })
  })

  it('include connections, the password queue, event-loop lag and the build', async () => {
    const all = await samples()
    expect(all).to.include.keys(
      ...['total', 'idle', 'waiting'].map((state) => `db_client_connections{state="${state}"}`),
      ...['nodejs_eventloop_lag_seconds', 'nodejs_eventloop_lag_p99_seconds', 'process_cpu_seconds_total'],
      ...['process_resident_memory_bytes', 'nodejs_heap_size_used_bytes'],
    )
    expect(all).to.include({
      'password_queue{state="waiting"}': 0,
      'password_queue{state="running"}': 0,
      'db_client_pending_statements{kind="reads"}': 0,
      'db_client_pending_statements{kind="writes"}': 0,
      [`build_info{node="${process.version}",version="${packageJson.version}"}`]: 1,
    })
  })

  it('have a unique name, a type and a help text', async () => {
    const lines = (await exposition()).split('\n')
    const named = (what: string) => lines.flatMap((line) => (line.startsWith(`# ${what} `) ? [line.split(' ')[2]] : []))
    expect(named('HELP')).to.deep.equal(named('TYPE'))
    expect(new Set(named('TYPE'))).to.have.property('size', named('TYPE').length)
  })
})

describe('The metrics port', () => {
  it('is closed with the service', async () => {
    const api = new Api()
    const METRICS_PORT = String(await freePort())
    await api.start({ DATABASE_URL: 'memory:', METRICS_PORT })
    const url = `http://127.0.0.1:${METRICS_PORT}/metrics`
    expect((await fetch(url)).status).to.equal(200)
    await api.stop()
    await expectRejection(fetch(url), TypeError)
  })
})

describe('Without METRICS_PORT', () => {
  afterEach(() => mock.restoreAll())

  it('no request is counted', async () => {
    const observers = [mock.method(Metrics.prototype, 'started'), mock.method(Metrics.prototype, 'finished')]
    const api = new Api()
    await api.start({ DATABASE_URL: 'memory:' })
    await api.get('/health').expect(200)
    await api.get('/metrics').expect(404)
    await api.stop()
    for (const method of observers) expect(method.mock.callCount()).to.equal(0)
  })
})
