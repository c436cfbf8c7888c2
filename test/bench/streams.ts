/** Opens event streams, and measures the memory that a server keeps for them. */
import { once } from 'node:events'
import { get, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import type { BackgroundLoad } from './load.ts'
import { memoryOf, type Server } from './servers.ts'

/** Streams that are opened at once; below the backlog of a listening socket. */
const AT_ONCE = 100

/** Opens a stream for each of the headers, and keeps reading from all until stopped. */
export function openStreams(server: Server, headers: readonly OutgoingHttpHeaders[]): BackgroundLoad {
  const streams: IncomingMessage[] = []
  const openAll = async () => {
    for (let from = 0; from < headers.length; from += AT_ONCE) {
      const group = headers.slice(from, from + AT_ONCE)
      streams.push(...(await Promise.all(group.map((each) => openStream(server, each)))))
    }
  }
  return {
    started: openAll(),
    async stop() {
      const ended = streams.filter(({ destroyed, readableEnded }) => destroyed || readableEnded).length
      if (ended > 0) throw new Error(`${ended} of ${streams.length} streams ended early.`)
      for (const stream of streams) stream.destroy()
      // Served after the server has seen the streams end.
      await fetch(new URL('/health', server.url))
    },
  }
}

/** Resolves with the first event. */
async function openStream({ url }: Server, headers: OutgoingHttpHeaders): Promise<IncomingMessage> {
  const request = get(`${url}/tasks/events`, { headers, agent: false })
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  if (response.statusCode !== 200) throw new Error(`A stream was answered with ${response.statusCode}.`)
  await once(response, 'data')
  return response.resume()
}

/** Bytes of resident memory that a server takes for each of these streams, once it has warmed up with a tenth of them. */
export async function memoryOfStreams(server: Server, headers: readonly OutgoingHttpHeaders[]): Promise<number> {
  const warmUp = openStreams(server, headers.slice(0, headers.length / 10))
  await warmUp.started
  const before = memoryOf(server).now
  const streams = openStreams(server, headers)
  await streams.started
  const after = memoryOf(server).now
  await streams.stop()
  await warmUp.stop()
  return (after - before) / headers.length
}
