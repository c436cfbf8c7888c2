import * as v from 'valibot'
import { type Endpoint, endpoint } from './endpoint.ts'

const healthSchema = v.pipe(
  v.strictObject({ status: v.literal('ok'), environment: v.string() }),
  v.metadata({ title: 'Health', examples: [{ status: 'ok', environment: 'development' }] }),
)

export function probeEndpoints(environment: string): readonly Endpoint[] {
  return [
    endpoint({
      method: 'GET',
      path: '/health',
      operationId: 'getHealth',
      tag: 'Service',
      summary: 'See whether the service answers',
      access: 'public',
      response: { status: 200, description: 'It does.', schema: healthSchema },
      errors: [],
      async handle() {
        return { body: { status: 'ok', environment } }
      },
    }),
  ]
}
