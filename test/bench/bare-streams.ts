/** Event streams on bare `node:http`: the minimum cost of a stream. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const server = createServer((_request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  response.write('retry: 3000\n\n')
})
server.listen(0, '127.0.0.1', () => {
  console.log(`streams on http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1, nothing else`)
})
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => process.exit())
