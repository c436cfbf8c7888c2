import { setTimeout as delay } from 'node:timers/promises'

const TIMEOUT_MS = 40_000

export async function waitUntil(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + TIMEOUT_MS
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Timed out waiting for ${condition}`)
    await delay(10)
  }
}
