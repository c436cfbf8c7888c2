/** `node src/adapters/cli/openapi.ts` prints the OpenAPI document of a service with default settings. */
import { startService } from '../../composition-root.ts'
import { readConfig } from '../../config.ts'

const config = readConfig({ DATABASE_URL: 'memory:', PORT: '0' })
// Silence the log, so that only the document is printed.
const service = await startService(config, { ...console, debug: () => {}, info: () => {} })
const response = await fetch(`${service.url}/openapi.json`)
console.log(JSON.stringify(await response.json(), null, 2))
await service.close()
