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

/** Paths of the probes. */
export const PROBES = { health: '/health', liveness: '/livez', readiness: '/readyz' }

/** @param checkReadiness throws while the instance cannot serve requests */
export function probeEndpoints(environment: string, checkReadiness: () => Promise<void>): readonly Endpoint[] {
  return [
    endpoint({
      method: 'GET',
      path: PROBES.health,
      operationId: 'getHealth',
      tag: 'Service',
      summary: 'Check that the service responds',
      description: 'Returns the name of the environment. Does not query the database.',
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
      path: PROBES.liveness,
      operationId: 'getLiveness',
      tag: 'Service',
      summary: 'Check that the process is alive',
      description: 'Restart the process when this fails. Does not query the database.',
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
      path: PROBES.readiness,
      operationId: 'getReadiness',
      tag: 'Service',
      summary: 'Check that the instance is ready',
      description:
        'Checks that the database accepts writes. While this fails, send requests to another instance; `code` gives the reason.',
      access: anyone,
      ignoresQuery: true,
      responses: { 200: { description: 'Ready.', schema: probeSchema } },
      errors: ['store_unavailable', 'store_too_slow', 'schema_outdated', 'shutting_down'],
      async handle() {
        await checkReadiness()
        return { status: 200, body: { status: 'ok' } }
      },
    }),
  ]
}
