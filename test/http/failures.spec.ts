import { expect } from 'chai'
import { OutcomeUnknown, StoreUnavailable } from '#src/domain/errors.ts'
import type { TaskRepository } from '#src/domain/tasks/ports.ts'
import { postgresql } from '#test/adapter-sets.ts'
import { query } from '#test/query.ts'
import {
  Api,
  codeOf,
  LOGIN,
  ME,
  ORIGIN,
  PASSWORD,
  REFRESH,
  REGISTER,
  REVOKE,
  SECRET_KEY,
  SESSIONS,
  TASKS,
  TOKENS,
  USERS,
  type User,
} from './api.ts'
import { failing, failingUsers } from './failing.ts'
import { signed } from './tokens.ts'

const CAUSE = 'connect ECONNREFUSED 10.0.0.7:5432 at /srv/app/tasks.ts, password hunter2'

const failingTasks = (error: () => unknown) =>
  failing<TaskRepository>(['get', 'list', 'head', 'changes', 'write', 'writeOnce'], () => Promise.reject(error()))

/** The log lines with the cause of a failed request. */
function logged(api: Api, requestId: string): readonly { readonly err: unknown }[] {
  return api.log.map((line) => JSON.parse(line)).filter((line) => line.requestId === requestId && 'err' in line)
}

/** A request to each task route. */
const requests: Readonly<Record<string, (jane: User) => ReturnType<User['get']>>> = {
  'creating a task': (jane) => jane.post(TASKS).send({ title: 'Ship' }),
  'listing tasks': (jane) => jane.get(TASKS),
  'reading a task': (jane) => jane.get(`${TASKS}/1`),
  'changing a task': (jane) => jane.patch(`${TASKS}/1`).send({ title: 'Ship' }),
  'deleting a task': (jane) => jane.delete(`${TASKS}/1`),
  'carrying out a batch': (jane) => jane.post(`${TASKS}/batch`).send({ operations: [{ op: 'delete', id: 1 }] }),
  'reading changes': (jane) => jane.get(`${TASKS}/changes`),
  'waiting for changes': (jane) => jane.get(`${TASKS}/changes?since=aaaaaaaa-1&wait=30`),
  'opening an event stream': (jane) => jane.get(`${TASKS}/events`),
}

describe('An unexpected error', () => {
  const api = new Api()
  let jane: User
  before(async () => {
    await api.start({ DATABASE_URL: 'memory:' }, { tasks: () => failingTasks(() => new TypeError(CAUSE)) })
    jane = await api.signUp()
  })
  after(() => api.stop())

  for (const [what, request] of Object.entries(requests)) {
    it(`while ${what} is an opaque 500, with the cause in the log under the request id`, async () => {
      const requestId = `failure-while-${what.replaceAll(' ', '-')}`
      const answer = await request(jane).set({ 'X-Request-Id': requestId, Origin: ORIGIN }).expect(500)
      expect(codeOf(answer)).to.equal('internal_error')
      expect(answer.body).to.have.all.keys('type', 'title', 'status', 'detail', 'instance', 'code')
      for (const secret of CAUSE.split(/[\s,]+/).filter((word) => word.length > 4))
        expect(answer.text).to.not.include(secret)
      expect(answer.text).to.not.match(/TypeError|\.ts|\bat\b.*:\d/)
      expect(answer.headers).to.include({ 'x-request-id': requestId, 'access-control-allow-origin': ORIGIN })

      const lines = api.log.filter((line) => line.includes(requestId))
      expect(lines.join('\n')).to.include('ECONNREFUSED 10.0.0.7:5432')
      expect(lines.join('\n')).to.not.include(jane.token)
    })
  }

  it('is a 500 even if the thrown value is not an Error', async () => {
    for (const thrown of [
      'text',
      null,
      undefined,
      { status: 200 },
      { status: 404, expose: true, message: 'hunter2' },
    ]) {
      const other = new Api()
      await other.start({ DATABASE_URL: 'memory:' }, { tasks: () => failingTasks(() => thrown) })
      try {
        const john = await other.signUp()
        const answer = await john.get(TASKS).expect(500)
        expect(codeOf(answer)).to.equal('internal_error')
        expect(answer.text).to.not.include('hunter2')
      } finally {
        await other.stop()
      }
    }
  })

  const unusual: Readonly<Record<string, () => unknown>> = {
    'has a name of its own': () => Object.assign(new Error(CAUSE), { name: 'error' }),
    'cannot be read': () =>
      Object.defineProperty(new Error(CAUSE), 'detail', {
        enumerable: true,
        get() {
          throw new Error('unreadable')
        },
      }),
  }
  for (const [what, error] of Object.entries(unusual)) {
    it(`is a problem document with all headers, and logged, even if it ${what}`, async () => {
      const other = new Api()
      await other.start({ DATABASE_URL: 'memory:' }, { tasks: () => failingTasks(error) })
      try {
        const john = await other.signUp()
        const answer = await john.get(TASKS).set('X-Request-Id', 'unusual-error').expect(500)
        expect(codeOf(answer)).to.equal('internal_error')
        expect(answer.headers).to.include({ 'x-request-id': 'unusual-error', 'x-content-type-options': 'nosniff' })
        expect(JSON.stringify(logged(other, 'unusual-error'))).to.include('ECONNREFUSED 10.0.0.7:5432')
      } finally {
        await other.stop()
      }
    })
  }

  it('is a problem document with all headers even if the log fails', async () => {
    const other = new Api()
    const ignore = () => {}
    const log = {
      debug: ignore,
      info: ignore,
      warn: ignore,
      error(_: object, message: string) {
        if (message === 'Request failed') throw new Error('no log')
      },
    }
    await other.start({ DATABASE_URL: 'memory:' }, { tasks: () => failingTasks(() => new Error(CAUSE)) }, log)
    try {
      const john = await other.signUp()
      const answer = await john.get(TASKS).set('X-Request-Id', 'log-fails').expect(500)
      expect(codeOf(answer)).to.equal('internal_error')
      expect(answer.headers).to.include({ 'x-request-id': 'log-fails', 'x-content-type-options': 'nosniff' })
    } finally {
      await other.stop()
    }
  })

  it('of PostgreSQL is a problem document, with its cause in the log', async () => {
    const other = new Api()
    const databaseUrl = await postgresql.databaseUrl()
    await other.start({ DATABASE_URL: databaseUrl })
    try {
      const john = await other.signUp()
      await query(databaseUrl, 'alter table tasks rename column title to heading')
      const answer = await john.get(TASKS).set('X-Request-Id', 'renamed-column').expect(500)
      expect(codeOf(answer)).to.equal('internal_error')
      expect(answer.headers).to.include({ 'x-request-id': 'renamed-column', 'x-content-type-options': 'nosniff' })
      const [line] = logged(other, 'renamed-column')
      expect(line?.err).to.include({ type: 'DatabaseError', code: '42703' })
    } finally {
      await other.stop()
    }
  })

  it('leaves the service running', async () => {
    await jane.get(TASKS).expect(500)
    await jane.get(ME).expect(200)
    await api.get('/health').expect(200)
  })
})

describe('An unreachable store', () => {
  const tasks = new Api()
  const users = new Api()
  let jane: User
  before(async () => {
    const unavailable = () => new StoreUnavailable(new Error(CAUSE))
    await tasks.start({ DATABASE_URL: 'memory:' }, { tasks: () => failingTasks(unavailable) })
    await users.start({ DATABASE_URL: 'memory:' }, { users: () => failingUsers(() => Promise.reject(unavailable())) })
    jane = await tasks.signUp()
  })
  after(() => Promise.all([tasks.stop(), users.stop()]))

  for (const [what, request] of Object.entries(requests)) {
    it(`while ${what} is a 503 with Retry-After, with the cause in the log only`, async () => {
      const requestId = `unavailable-while-${what.replaceAll(' ', '-')}`
      const answer = await request(jane).set('X-Request-Id', requestId).expect(503)
      expect(codeOf(answer)).to.equal('store_unavailable')
      expect(answer.headers['retry-after']).to.match(/^[1-9]\d*$/)
      expect(answer.text).to.not.match(/10\.0\.0\.7|hunter2|ECONN/)
      expect(tasks.log.filter((line) => line.includes(requestId)).join('\n')).to.include('ECONNREFUSED 10.0.0.7:5432')
    })
  }

  it('is a 503, not a 401, when looking up the user', async () => {
    const seconds = Math.floor(Date.now() / 1_000)
    const token = signed({ sub: '1', iat: seconds, exp: seconds + 600 }, SECRET_KEY)
    await users.get(ME).set('Authorization', `Bearer ${token}`).expect(503)
    await users.get(TASKS).set('Authorization', `Bearer ${token}`).expect(503)
    await users.post(LOGIN).send({ username: 'jane@example.com', password: PASSWORD }).expect(503)
    await users.post(REGISTER).send({ email: 'jane@example.com', password: PASSWORD }).expect(503)
  })
})

describe('A store that does not confirm a write', () => {
  const api = new Api()
  let jane: User
  before(async () => {
    const unknown = () => new OutcomeUnknown(new Error(CAUSE))
    await api.start({ DATABASE_URL: 'memory:' }, { tasks: () => failingTasks(unknown) })
    jane = await api.signUp()
  })
  after(() => api.stop())

  for (const what of ['creating a task', 'changing a task', 'deleting a task', 'carrying out a batch']) {
    it(`while ${what} is a 503 without Retry-After, with the cause in the log only`, async () => {
      const requestId = `unknown-while-${what.replaceAll(' ', '-')}`
      const request = requests[what] as (jane: User) => ReturnType<User['get']>
      const answer = await request(jane).set('X-Request-Id', requestId).expect(503)
      expect(codeOf(answer)).to.equal('outcome_unknown')
      expect(answer.headers).to.not.have.property('retry-after')
      expect(answer.text).to.not.match(/10\.0\.0\.7|hunter2|ECONN/)
      expect(api.log.filter((line) => line.includes(requestId)).join('\n')).to.include('ECONNREFUSED 10.0.0.7:5432')
    })
  }

  it('is documented for exactly the routes that write', () => {
    const operations = Object.entries(api.document.paths).flatMap(([path, item]) => {
      return Object.keys(item).map((method) => ({ path, method }))
    })
    const documented = operations
      .filter(({ path, method }) =>
        api.documented.response(path, method, 503)?.description.includes('`outcome_unknown`'),
      )
      .map(({ path, method }) => `${method} ${path}`)
    const writing = [
      `post ${REGISTER}`,
      `post ${LOGIN}`,
      `post ${REFRESH}`,
      `post ${REVOKE}`,
      `patch ${ME}`,
      `delete ${ME}`,
      `post ${ME}/delete`,
      `delete ${SESSIONS}`,
      `delete ${SESSIONS}/{id}`,
      `post ${TOKENS}`,
      `delete ${TOKENS}/{id}`,
      `patch ${USERS}/{id}`,
      `delete ${USERS}/{id}`,
      `delete ${USERS}/{id}/sessions`,
      `post ${TASKS}`,
      `post ${TASKS}/batch`,
      `patch ${TASKS}/{id}`,
      `delete ${TASKS}/{id}`,
    ]
    expect(documented.sort()).to.deep.equal(writing.sort())
  })
})
