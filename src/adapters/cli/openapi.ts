/** `node src/adapters/cli/openapi.ts` prints the OpenAPI document, as a service on an empty memory answers it. */
import { startService } from '../../composition-root.ts'
import { readConfig } from '../../config.ts'

const config = readConfig({ DATABASE_URL: 'memory:', PORT: '0' })
const service = await startService(config, console)
const answer = await fetch(`${service.url}/openapi.json`)
console.log(JSON.stringify(await answer.json(), null, 2))
await service.close()
