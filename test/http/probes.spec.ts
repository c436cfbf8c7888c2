import { mock } from 'node:test'
import { expect } from 'chai'
import { toProblem } from '#src/adapters/http/endpoint/problems.ts'
import { type HealthCheck, Readiness } from '#src/adapters/http/readiness.ts'
import { StoreUnavailable } from '#src/domain/errors.ts'
import { Api, codeOf, describeApi } from './api.ts'

describeApi('The probe', (api) => {
  for (const path of ['/livez', '/readyz']) {
    it(`${path} returns ok for GET and HEAD, with any token and any query`, async () => {
      const answer = await api.get(path).expect(200)
      expect(answer.text).to.equal('{"status":"ok"}')
      await api.head(path).expect(200)
      await api.get(path).set('Authorization', 'Bearer nonsense').expect(200)
      await api.post(path).expect(405)
      await api.get(`${path}?verbose=1`).expect(200)
    })

    it(`${path} is documented as a public route`, () => {
      const operation = api.document.paths[path]?.get
      expect(operation?.security).to.deep.equal([])
      expect(operation?.responses).to.include.keys('200')
    })
  }

  it('/readyz is documented with 503 and Retry-After, /livez without', () => {
    expect(api.documented.response('/readyz', 'GET', 503)?.headers).to.include.keys('Retry-After')
    expect(api.document.paths['/livez']?.get?.responses).to.not.include.keys('503')
  })
})

describe('A service that is not ready', () => {
  let api: Api
  let ping: () => Promise<void>
  before(async () => {
    api = new Api()
    await api.start({ DATABASE_URL: 'memory:' }, { health: () => ({ ping: () => ping() }) })
  })
  after(() => api.stop())

  it('returns 503 store_unavailable without the cause', async () => {
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

  it('is ready again once the store is', async () => {
    ping = async () => undefined
    await api.get('/readyz').expect(200)
  })
})

describe('Readiness', () => {
  /** The problem code of the 503; undefined if the check passes. */
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
  const reachable: HealthCheck = { ping: async () => undefined }
  const hanging: HealthCheck = { ping: () => new Promise(() => undefined) }
  const failing: HealthCheck = { ping: () => Promise.reject(new StoreUnavailable(new Error('unreachable'))) }

  it('requires a response from the store', async () => {
    expect(await codeOfFailure(new Readiness(reachable))).to.equal(undefined)
    expect(await codeOfFailure(new Readiness(failing))).to.equal('store_unavailable')
  })

  it('fails with store_too_slow after its timeout', async () => {
    expect(await codeOfFailure(new Readiness(hanging, 1))).to.equal('store_too_slow')
  })

  describe('with MIGRATE_ON_START=false', () => {
    beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
    afterEach(() => mock.timers.reset())

    it('fails with schema_outdated until the schema is current, which it checks every five seconds at most', async () => {
      const answers = [false, true]
      let checks = 0
      const readiness = new Readiness({ ...reachable, upToDate: async () => answers[checks++] as boolean })
      for (let probe = 0; probe < 3; probe++) expect(await codeOfFailure(readiness)).to.equal('schema_outdated')
      mock.timers.tick(4_999)
      expect(await codeOfFailure(readiness)).to.equal('schema_outdated')
      expect(checks).to.equal(1)
      mock.timers.tick(1)
      for (let probe = 0; probe < 3; probe++) {
        expect(await codeOfFailure(readiness)).to.equal(undefined)
        mock.timers.tick(60_000)
      }
      expect(checks).to.equal(2)
    })

    it('passes while the schema cannot be checked, and checks it again', async () => {
      let checks = 0
      const upToDate = async () => {
        if (checks++ === 0) throw new Error('permission denied')
        return false
      }
      const readiness = new Readiness({ ...reachable, upToDate })
      expect(await codeOfFailure(readiness)).to.equal(undefined)
      mock.timers.tick(5_000)
      expect(await codeOfFailure(readiness)).to.equal('schema_outdated')
      expect(await codeOfFailure(new Readiness({ ...failing, upToDate }))).to.equal('schema_outdated')
    })
  })

  it('fails with shutting_down without asking the store once it is stopped', async () => {
    let pings = 0
    const readiness = new Readiness({ ping: async () => void pings++ })
    readiness.stop()
    expect(await codeOfFailure(readiness)).to.equal('shutting_down')
    expect(pings).to.equal(0)
  })
})
