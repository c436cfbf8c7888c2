import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type ListeningServer, urlOf } from './adapters/http/server.ts'
import type { Config, ServerConfig } from './config.ts'
import type { Log } from './log.ts'

/** Milliseconds before a worker is replaced, so that workers that crash at start-up do not keep a core busy. */
const RESTART_DELAY = 500

/** A worker exited before it listened, and printed the reason. */
export class WorkerFailed extends Error {}

let closing = false

/**
 * Starts `config.process.concurrency` processes that serve one port, and replaces each one that exits. All of them receive the
 * same SECRET_KEY, which may be random.
 *
 * @throws WorkerFailed
 */
export async function startWorkers(config: Config, log: Log): Promise<ListeningServer> {
  // Workers accept for themselves: connections that the primary process hands to a dying worker would hang.
  cluster.schedulingPolicy = cluster.SCHED_NONE

  const start = async (): Promise<AddressInfo> => {
    if (closing) throw new WorkerFailed('The service is stopping.')
    const worker = cluster.fork({ SECRET_KEY: config.tokens.secretKey })
    const address = await listening(worker)
    worker.once('exit', (code, signal) => {
      if (closing) return
      log.error({ code, signal }, 'Worker exited; replacing it')
      void replace()
    })
    return address
  }
  const replace = async (): Promise<void> => {
    await delay(RESTART_DELAY)
    if (!closing) await start().catch(replace)
  }

  try {
    // Start the first worker alone, so that an error common to all is printed once.
    const address = await start()
    await Promise.all(Array.from({ length: config.process.concurrency - 1 }, start))
    return { url: urlOf(address), close: () => stopWorkers(config.server) }
  } catch (error) {
    await stopWorkers(config.server)
    throw error
  }
}

/** Stops all workers, including those that are starting, and kills those that take too long. */
export async function stopWorkers({ shutdownDelay, shutdownTimeout }: ServerConfig): Promise<void> {
  closing = true
  const timeout = (shutdownDelay + shutdownTimeout) * 1_000
  await Promise.all(Object.values(cluster.workers ?? {}).map((worker) => worker && stop(worker, timeout)))
}

async function listening(worker: Worker): Promise<AddressInfo> {
  const exited = new AbortController()
  worker.once('exit', () => exited.abort())
  try {
    const [address] = await once(worker, 'listening', { signal: exited.signal })
    return address
  } catch {
    throw new WorkerFailed('A worker exited before it listened.')
  }
}

async function stop(worker: Worker, timeout: number): Promise<void> {
  if (worker.isDead()) return
  const exit = once(worker, 'exit')
  worker.process.kill('SIGTERM')
  const kill = setTimeout(() => worker.process.kill('SIGKILL'), timeout)
  await exit
  clearTimeout(kill)
}
