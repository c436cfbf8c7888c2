import { expect } from 'chai'
import fc from 'fast-check'
import { describeApi, LOGIN, ME, REFRESH, REGISTER, TASKS, TOKENS, type User } from './api.ts'

/** A string that occurs in no message of the service or of a library. */
const MARK = 'Qx7zKw'

describeApi('An error response', (api) => {
  let jane: User
  before(async () => {
    jane = await api.signUp()
  })

  const json = { 'content-type': 'application/json' }
  const form = { 'content-type': 'application/x-www-form-urlencoded' }

  type Place = (value: string) => { method: string; path: string; headers?: Record<string, string>; body?: string }
  const bodyOf = (member: string, value: string) => JSON.stringify({ [member]: value })
  const places: Readonly<Record<string, Place>> = {
    'an e-mail address': (value) => ({ method: 'POST', path: REGISTER, headers: json, body: bodyOf('email', value) }),
    'a password': (value) => ({
      method: 'POST',
      path: REGISTER,
      headers: json,
      body: bodyOf('password', `${value}\0`),
    }),
    'login credentials': (value) => ({
      method: 'POST',
      path: LOGIN,
      headers: json,
      body: JSON.stringify({ username: value, password: value }),
    }),
    'a form': (value) => ({
      method: 'POST',
      path: LOGIN,
      headers: form,
      body: `username=${encodeURIComponent(value)}`,
    }),
    'a refresh token': (value) => ({
      method: 'POST',
      path: REFRESH,
      headers: form,
      body: `refresh_token=${encodeURIComponent(value)}`,
    }),
    'a current password': (value) => ({
      method: 'DELETE',
      path: ME,
      headers: json,
      body: bodyOf('current_password', value),
    }),
    'a time zone': (value) => ({ method: 'PATCH', path: ME, headers: json, body: bodyOf('time_zone', value) }),
    'the name of an API token': (value) => ({
      method: 'POST',
      path: TOKENS,
      headers: json,
      body: JSON.stringify({ name: value, scopes: [value], expires_at: value }),
    }),
    'a title': (value) => ({ method: 'POST', path: TASKS, headers: json, body: bodyOf('title', value.repeat(256)) }),
    'a boolean': (value) => ({ method: 'PATCH', path: `${TASKS}/1`, headers: json, body: bodyOf('completed', value) }),
    'an unknown member': (value) => ({ method: 'POST', path: TASKS, headers: json, body: bodyOf('unknown', value) }),
    'malformed JSON': (value) => ({ method: 'POST', path: TASKS, headers: json, body: `{${value}` }),
    'JSON that is not an object': (value) => ({
      method: 'POST',
      path: TASKS,
      headers: json,
      body: JSON.stringify([value]),
    }),
    'a media type': (value) => ({
      method: 'POST',
      path: TASKS,
      headers: { 'content-type': `text/${encodeURIComponent(value)}` },
    }),
    'a content coding': (value) => ({
      method: 'POST',
      path: TASKS,
      headers: { ...json, 'content-encoding': encodeURIComponent(value) },
      body: '{}',
    }),
    'a skip': (value) => ({ method: 'GET', path: `${TASKS}?skip=${encodeURIComponent(value)}` }),
    'a cursor': (value) => ({ method: 'GET', path: `${TASKS}?cursor=${encodeURIComponent(value)}` }),
    'an unknown parameter': (value) => ({ method: 'GET', path: `${TASKS}?unknown=${encodeURIComponent(value)}` }),
    'a query of an unknown path': (value) => ({
      method: 'GET',
      path: `/nowhere?x=${encodeURIComponent(value)}`,
    }),
    'a token': (value) => ({
      method: 'GET',
      path: ME,
      headers: { authorization: `Bearer ${encodeURIComponent(value)}` },
    }),
    'another authentication scheme': (value) => ({
      method: 'GET',
      path: ME,
      headers: { authorization: encodeURIComponent(value) },
    }),
    'an origin': (value) => ({ method: 'GET', path: '/nowhere', headers: { origin: encodeURIComponent(value) } }),
  }

  for (const [what, place] of Object.entries(places)) {
    it(`does not repeat ${what} (property-based)`, async () => {
      const values = fc.string().map((rest) => `${MARK}${rest}${MARK}`)
      await fc.assert(
        fc.asyncProperty(values, async (value) => {
          const answer = await jane.raw(place(value))
          expect(answer.status).to.be.within(400, 499)
          expect(answer.text + JSON.stringify(answer.headers)).to.not.include(MARK)
        }),
        { numRuns: 5 },
      )
    })
  }
})
