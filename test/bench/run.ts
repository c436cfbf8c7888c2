/** `npm run bench`: see `.github/BENCHMARKS.md`. */
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { singleWriteRatio } from './alone.ts'
import { type Databases, openPostgresql, sqlite } from './databases.ts'
import { compare, median } from './load.ts'
import { ROUTE_CONTENT, type Scene, type Stage, scenes } from './rows.ts'
import { commitsReachADisk, folder, memoryOf, moveLoad, pinned, startProduct } from './servers.ts'
import { type Fact, machine, meets, printed, type Report, type Result } from './table.ts'

const USAGE = `npm run bench -- [--only <row>]… [--seconds <of each measurement>] [--rounds <of A B>] [--json]

A row is for example sqlite:get; a part of such a name (postgresql, get, pages) stands for all that have it.`

const TIME_LIMIT_MS = 30 * 60_000
const STARTS = 5
const START_GOAL_S = 0.7
const ALONE_GOAL = 0.9

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    seconds: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '6' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const effort = { seconds: Number(options.seconds), rounds: Number(options.rounds) }

const [loadAverage = 0] = loadavg()
const results: Result[] = []
const facts: Fact[] = []
const progress = (text: string) => process.stderr.write(text)

const kinds = { sqlite: async () => sqlite, postgresql: openPostgresql }
const START = 'start'
const ALONE = 'sqlite:alone'
const every = Object.keys(kinds)
  .flatMap((kind) => [...scenes.flatMap((scene) => scene.rows), START].map((row) => `${kind}:${row}`))
  .concat(ALONE)
const partsOf = (name: string) => name.split(/[:-]/)
const asked = every.filter(
  (row) =>
    options.only.length === 0 ||
    options.only.some((only) => partsOf(only).every((part) => partsOf(row).includes(part))),
)

async function play(scene: Scene, databases: Databases, kind: string): Promise<void> {
  const rows = scene.rows.filter((row) => asked.includes(`${kind}:${row}`))
  if (rows.length === 0) return
  moveLoad(scene.place === 'server' ? 'load' : 'any')
  const stage = await scene.open(databases)
  const servers = Object.entries(stage.servers)
  const atRest = new Map(servers.map(([what, server]) => [what, memoryOf(server).now]))
  for (const row of rows) await measureRow(`${kind}:${row}`, await stage.row(row))
  for (const [what, server] of scene.memory ? servers : []) {
    const megabytes = [atRest.get(what), memoryOf(server).peak].map((bytes) => Math.round(Number(bytes) / 1e6))
    facts.push({ row: `${kind}:memory`, what: `${what}, at rest and at most`, value: `${megabytes.join(' and ')} MB` })
  }
  await Promise.all(servers.map(([, server]) => server.stop()))
}

async function measureRow(row: string, found: Awaited<ReturnType<Stage['row']>>) {
  if (!('sides' in found)) {
    progress(`${row}: ${found.value}\n`)
    facts.push({ row, ...found })
    return
  }
  const { sides, ...about } = found
  progress(`${row}: `)
  const comparison = await compare(...sides, effort)
  progress(`${comparison.ratio.toFixed(2)}\n`)
  results.push({ row, ...about, ...comparison, met: meets(comparison, about.goal) })
}

/** Measures from the start of the process to its first response, with the schema up to date. */
async function measureStart(databases: Databases, kind: string): Promise<void> {
  const row = `${kind}:${START}`
  if (!asked.includes(row)) return
  progress(`${row}: `)
  moveLoad('any')
  const [url = ''] = await databases.create(ROUTE_CONTENT, 1)
  const kept = { NODE_COMPILE_CACHE: join(folder, `${kind}-compiled`) }
  const times: number[] = []
  for (let start = 0; start < STARTS; start++) {
    const before = performance.now()
    const server = await startProduct(url, 'any', kept)
    const { ok } = await fetch(new URL('/health', server.url))
    if (!ok) throw new Error('/health failed')
    times.push((performance.now() - before) / 1_000)
    await server.stop()
  }
  const seconds = median(times)
  progress(`${seconds.toFixed(2)} s\n`)
  facts.push({
    row,
    what: `start-up to first answer, median of ${STARTS}`,
    value: `${seconds.toFixed(2)} s`,
    goal: `< ${START_GOAL_S} s`,
    met: seconds < START_GOAL_S,
  })
}

/** Measures `alone`; its goal leaves room for noise. */
async function measureAlone(): Promise<void> {
  if (!asked.includes(ALONE)) return
  progress(`${ALONE}: `)
  const ratio = await singleWriteRatio(effort.rounds)
  progress(`${ratio.toFixed(2)}\n`)
  facts.push({
    row: ALONE,
    what: 'one write at a time through the group, against a commit each',
    value: ratio.toFixed(2),
    goal: `≥ ${ALONE_GOAL}`,
    met: ratio >= ALONE_GOAL,
  })
}

async function run(): Promise<void> {
  if (!pinned) progress('Cannot pin two cores; servers and load share the CPU.\n')
  if (!commitsReachADisk) {
    throw new Error(`${folder} is in memory, where a commit costs nothing. Set TMPDIR to a folder on a disk.`)
  }
  for (const [kind, open] of Object.entries(kinds)) {
    if (!asked.some((row) => row.startsWith(kind))) continue
    moveLoad('any') // also for PostgreSQL, which inherits the cores
    const databases = await open()
    try {
      for (const scene of scenes) await play(scene, databases, kind)
      await measureStart(databases, kind)
    } finally {
      await databases.close()
    }
  }
  await measureAlone()
  const date = new Date().toISOString().slice(0, 10)
  const report: Report = { date, machine, loadAverage, results, facts }
  console.log(options.json ? JSON.stringify(report, null, 2) : printed(report))
}

if (options.help) {
  console.log(USAGE)
} else if (asked.length === 0 || !(effort.seconds > 0) || !(effort.rounds >= 1)) {
  console.error(`${USAGE}\n\nRows: ${every.join(', ')}`)
  process.exitCode = 1
} else {
  setTimeout(() => process.kill(process.pid, 'SIGTERM'), TIME_LIMIT_MS).unref()
  await run().catch((error) => {
    console.error(error)
    process.exitCode = 1
  })
  // Also ends the servers of a failed scene.
  process.exit()
}
