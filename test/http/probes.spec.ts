import { expect } from 'chai'
import { toProblem } from '#src/adapters/http/endpoint/problems.ts'
import type { HealthCheck } from '#src/adapters/http/readiness.ts'
import { Readiness } from '#src/adapters/http/readiness.ts'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { Api, codeOf, describeApi } from './api.ts'

describeApi('Probes', (api) => {
  for (const path of ['/livez', '/readyz']) {
    it(`${path} answers ok, with and without a body, and to whoever asks`, async () => {
      const answer = await api.get(path).expect(200)
      expect(answer.text).to.equal('{"status":"ok"}')
      await api.head(path).expect(200)
      await api.get(path).set('Authorization', 'Bearer nonsense').expect(200)
      await api.post(path).expect(405)
      await api.get(`${path}?verbose=1`).expect(200)
    })

    it(`${path} is in the document, beside /health, as a route that needs no token`, () => {
      const operation = api.document.paths[path]?.get
      expect(operation?.security).to.deep.equal([])
      expect(operation?.responses).to.include.keys('200')
    })
  }

  it('of readiness may fail with 503, and then say when to ask again', () => {
    expect(api.documented.response('/readyz', 'GET', 503)?.headers).to.include.keys('Retry-After')
    expect(api.document.paths['/livez']?.get?.responses).to.not.include.keys('503')
  })
})

describe('A service that isn’t ready', () => {
  let api: Api
  let ping: () => Promise<void>
  before(async () => {
    api = new Api()
    await api.start({ DATABASE_URL: 'memory:' }, { health: () => ({ ping: () => ping() }) })
  })
  after(() => api.stop())

  it('says that the store can’t be reached, and keeps why to itself', async () => {
    const cause = new Error('connect ECONNREFUSED 10.0.0.7:5432 as jane:hunter2')
    ping = () => Promise.reject(new StoreUnavailable(cause))
    const answer = await api.get('/readyz').expect(503)
    expect(codeOf(answer)).to.equal('store_unavailable')
    expect(answer.headers['retry-after']).to.match(/^[1-9]\d*$/)
    expect(answer.text).to.not.match(/hunter2|10\.0\.0\.7|ECONN/)
    await api.head('/readyz').expect(503)
    await api.get('/livez').expect(200)
    await api.get('/health').expect(200)
  })

  it('is ready again as soon as the store is', async () => {
    ping = async () => undefined
    await api.get('/readyz').expect(200)
  })
})

describe('Readiness', () => {
  /** The code, of what is answered with 503 and with when to ask again. */
  const codeOfFailure = async (readiness: Readiness) =>
    readiness.check().then(
      () => undefined,
      (error: unknown) => {
        const { problem, headers } = toProblem(error, '/readyz')
        expect(problem.status).to.equal(503)
        expect(headers['Retry-After']).to.match(/^[1-9]\d*$/)
        return problem.code
      },
    )
  const answering: HealthCheck = { ping: async () => undefined }
  const silent: HealthCheck = { ping: () => new Promise(() => undefined) }
  const failing: HealthCheck = { ping: () => Promise.reject(new StoreUnavailable(new Error('away'))) }

  it('needs an answer of the store', async () => {
    expect(await codeOfFailure(new Readiness(answering))).to.equal(undefined)
    expect(await codeOfFailure(new Readiness(failing))).to.equal('store_unavailable')
  })

  it('waits so long and no longer', async () => {
    expect(await codeOfFailure(new Readiness(silent, 1))).to.equal('store_too_slow')
  })

  it('ends when the service stops, whatever the store answers', async () => {
    let asked = 0
    const readiness = new Readiness({ ping: async () => void asked++ })
    readiness.stop()
    expect(await codeOfFailure(readiness)).to.equal('shutting_down')
    expect(asked).to.equal(0)
  })
})
