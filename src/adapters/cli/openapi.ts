/** `node src/adapters/cli/openapi.ts` prints the OpenAPI document, as a service on an empty memory answers it. */
import { startService } from '../../composition-root.ts'
import { readConfig } from '../../config.ts'

const config = readConfig({ DATABASE_URL: 'memory:', PORT: '0' })
// The output is the document and nothing else, so no line for the request that asks for it.
const service = await startService(config, { ...console, debug: () => {}, info: () => {} })
const answer = await fetch(`${service.url}/openapi.json`)
console.log(JSON.stringify(await answer.json(), null, 2))
await service.close()
