import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type ListeningServer, urlOf } from './adapters/http/server.ts'
import type { Config, ServerConfig } from './config.ts'
import type { Log } from './log.ts'

/** Milliseconds before a worker that died is replaced, so that one which dies at once does not keep a core busy. */
const RESTART_DELAY = 500

/** A worker ended before it listened. It has said why itself. */
export class WorkerFailed extends Error {}

let closing = false

/**
 * Starts `config.process.concurrency` processes that serve one port, and replaces each that dies. All of them get
 * the same key, which may be random.
 *
 * @throws WorkerFailed
 */
export async function startWorkers(config: Config, log: Log): Promise<ListeningServer> {
  // They accept connections themselves. Those that this process would hand to one which was just killed are lost, and
  // hang for as long as their clients wait.
  cluster.schedulingPolicy = cluster.SCHED_NONE

  const start = async (): Promise<AddressInfo> => {
    if (closing) throw new WorkerFailed('The service stops.')
    const worker = cluster.fork({ SECRET_KEY: config.tokens.secretKey })
    const address = await listening(worker)
    worker.once('exit', (code, signal) => {
      if (closing) return
      log.error({ code, signal }, 'a worker ended and is replaced')
      void replace()
    })
    return address
  }
  const replace = async (): Promise<void> => {
    await delay(RESTART_DELAY)
    if (!closing) await start().catch(replace)
  }

  try {
    // The first alone, so that what is wrong with all of them is said once.
    const address = await start()
    await Promise.all(Array.from({ length: config.process.concurrency - 1 }, start))
    return { url: urlOf(address), close: () => stopWorkers(config.server) }
  } catch (error) {
    await stopWorkers(config.server)
    throw error
  }
}

/** Those that still start, too, and one that is stuck by force. Where there are none it does nothing. */
export async function stopWorkers({ shutdownDelay, shutdownTimeout }: ServerConfig): Promise<void> {
  closing = true
  const patience = (shutdownDelay + shutdownTimeout) * 1_000
  await Promise.all(Object.values(cluster.workers ?? {}).map((worker) => worker && ended(worker, patience)))
}

async function listening(worker: Worker): Promise<AddressInfo> {
  const ended = new AbortController()
  worker.once('exit', () => ended.abort())
  try {
    const [address] = await once(worker, 'listening', { signal: ended.signal })
    return address
  } catch {
    throw new WorkerFailed('A worker ended before it listened.')
  }
}

async function ended(worker: Worker, patience: number): Promise<void> {
  if (worker.isDead()) return
  const exit = once(worker, 'exit')
  worker.process.kill('SIGTERM')
  const force = setTimeout(() => worker.process.kill('SIGKILL'), patience)
  await exit
  clearTimeout(force)
}
