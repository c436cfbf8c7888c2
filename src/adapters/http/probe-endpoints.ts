import * as v from 'valibot'
import { type Endpoint, endpoint } from './endpoint.ts'

const healthSchema = v.pipe(
  v.object({ status: v.literal('ok'), environment: v.string() }),
  v.metadata({ title: 'Health', examples: [{ status: 'ok', environment: 'development' }] }),
)

const probeSchema = v.pipe(
  v.object({ status: v.literal('ok') }),
  v.metadata({ title: 'Probe', examples: [{ status: 'ok' }] }),
)

/** @param ready throws what keeps the service from serving requests */
export function probeEndpoints(environment: string, ready: () => Promise<void>): readonly Endpoint[] {
  return [
    endpoint({
      method: 'GET',
      path: '/health',
      operationId: 'getHealth',
      tag: 'Service',
      summary: 'See whether the service answers',
      access: 'public',
      ignoresQuery: true,
      response: { status: 200, description: 'It does.', schema: healthSchema },
      errors: [],
      async handle() {
        return { body: { status: 'ok', environment } }
      },
    }),
    endpoint({
      method: 'GET',
      path: '/livez',
      operationId: 'getLiveness',
      tag: 'Service',
      summary: 'See whether the process lives',
      description: 'When this fails the process is to be restarted; it does not ask the database.',
      access: 'public',
      ignoresQuery: true,
      response: { status: 200, description: 'It lives.', schema: probeSchema },
      errors: [],
      async handle() {
        return { body: { status: 'ok' } }
      },
    }),
    endpoint({
      method: 'GET',
      path: '/readyz',
      operationId: 'getReadiness',
      tag: 'Service',
      summary: 'See whether requests can be served',
      description:
        'Asks the database, which must accept writes. While this fails, requests are to be sent elsewhere; `code` says why.',
      access: 'public',
      ignoresQuery: true,
      response: { status: 200, description: 'They can.', schema: probeSchema },
      errors: ['store_unavailable', 'store_too_slow', 'shutting_down'],
      async handle() {
        await ready()
        return { body: { status: 'ok' } }
      },
    }),
  ]
}
