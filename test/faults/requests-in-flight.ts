import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { json } from 'node:stream/consumers'
import { expect } from 'chai'
import type { Client, Task } from './client.ts'

/** Starts requests that have received 100 Continue and hold back their bodies. */
export async function startRequests({ url, token }: Client, count: number): Promise<ClientRequest[]> {
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
    each.on('error', () => undefined) // reported by `finishRequest`
    each.flushHeaders()
  }
  await Promise.all(begun)
  return requests
}

const bodyOf = (index: number) => JSON.stringify({ title: `Task ${String(index).padStart(3, '0')}` })

/** Sends the body. @returns the created task */
export async function finishRequest(begun: ClientRequest, index: number): Promise<Task> {
  begun.end(bodyOf(index))
  const [answer] = (await once(begun, 'response')) as [IncomingMessage]
  expect(answer.statusCode).to.equal(201)
  expect(answer.headers.connection).to.equal('close')
  return (await json(answer)) as Task
}
