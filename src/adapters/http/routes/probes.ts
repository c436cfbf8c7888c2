import * as v from 'valibot'
import { anyone } from '../endpoint/access.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'

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
      summary: 'See whether the service responds',
      description: 'Returns the environment that the service runs in. Does not ask the database.',
      access: anyone,
      ignoresQuery: true,
      responses: { 200: { description: 'The service responds.', schema: healthSchema } },
      errors: [],
      async handle() {
        return { status: 200, body: { status: 'ok', environment } }
      },
    }),
    endpoint({
      method: 'GET',
      path: '/livez',
      operationId: 'getLiveness',
      tag: 'Service',
      summary: 'See whether the process is alive',
      description: 'Restart the process when this fails. Does not ask the database.',
      access: anyone,
      ignoresQuery: true,
      responses: { 200: { description: 'The process is alive.', schema: probeSchema } },
      errors: [],
      async handle() {
        return { status: 200, body: { status: 'ok' } }
      },
    }),
    endpoint({
      method: 'GET',
      path: '/readyz',
      operationId: 'getReadiness',
      tag: 'Service',
      summary: 'See whether requests can be served',
      description:
        'Asks the database, which must accept writes. Send requests elsewhere while this fails; `code` says why.',
      access: anyone,
      ignoresQuery: true,
      responses: { 200: { description: 'Ready.', schema: probeSchema } },
      errors: ['store_unavailable', 'store_too_slow', 'shutting_down'],
      async handle() {
        await ready()
        return { status: 200, body: { status: 'ok' } }
      },
    }),
  ]
}
