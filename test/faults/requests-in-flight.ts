import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { json } from 'node:stream/consumers'
import { expect } from 'chai'
import type { Client, Task } from './client.ts'

/** Requests whose handling has begun: each has been told to go on with its body, and keeps it back. */
export async function requestsInFlight({ url, token }: Client, count: number): Promise<ClientRequest[]> {
  const requests = Array.from({ length: count }, (_, index) => {
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': bodyOf(index).length,
      expect: '100-continue',
    }
    return request(`${url}/api/v1/tasks`, { method: 'POST', headers, agent: false })
  })
  const begun = requests.map((each) => once(each, 'continue'))
  for (const each of requests) {
    each.on('error', () => undefined) // for who awaits its answer to say
    each.flushHeaders()
  }
  await Promise.all(begun)
  return requests
}

const bodyOf = (index: number) => JSON.stringify({ title: `Task ${String(index).padStart(3, '0')}` })

/** The task that one of them makes after all. */
export async function finished(begun: ClientRequest, index: number): Promise<Task> {
  begun.end(bodyOf(index))
  const [answer] = (await once(begun, 'response')) as [IncomingMessage]
  expect(answer.statusCode).to.equal(201)
  expect(answer.headers.connection).to.equal('close')
  return (await json(answer)) as Task
}
