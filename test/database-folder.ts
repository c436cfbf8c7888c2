import { mkdtempSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MEMORY = '/dev/shm'
/** Bytes. Containers often have only 64 MiB. */
const ENOUGH = 1 << 30

/**
 * Makes a folder for databases of specs, in memory if there is room: they need not survive, and a disk's file system took a
 * quarter of the CPU time of a run.
 */
export const databaseFolder = (prefix: string): string => mkdtempSync(join(parent(), prefix))

function parent(): string {
  if (process.env.TMPDIR) return tmpdir()
  try {
    const { bavail, bsize } = statfsSync(MEMORY)
    return bavail * bsize >= ENOUGH ? MEMORY : tmpdir()
  } catch {
    return tmpdir()
  }
}
