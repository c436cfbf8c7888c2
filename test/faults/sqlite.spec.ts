import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { allowProcesses, folder, Service } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'
import { Client, type Task, WriteLoad } from './client.ts'
import { EditHistory, EditLoad } from './edit-load.ts'

const DATABASE_URL = 'sqlite:///tasks.db'
const CONNECTIONS = 32

function integrityOf(path: string): unknown {
  const database = new BetterSqlite3(path, { fileMustExist: true })
  try {
    return database.pragma('integrity_check', { simple: true })
  } finally {
    database.close()
  }
}

describe('SIGKILL during writes to SQLite', () => {
  allowProcesses()

  it('loses no acknowledged task or edit and leaves a sound database', async () => {
    let service = new Service({ DATABASE_URL })
    const client = await Client.signUp(await service.url())
    const acknowledged: Task[] = []
    const history = new EditHistory()
    const edited = await EditLoad.createTasks(client, history)
    for (const round of [1, 2]) {
      const current = client.at(await service.url())
      const load = new WriteLoad(current, CONNECTIONS)
      const edits = new EditLoad(history, [current, current, current, current], edited)
      await Promise.all([load.waitForAcknowledged(300 * round), edits.waitForAcknowledged(20)])
      service.signal('SIGKILL')
      expect(await service.exitCode()).to.equal(null)
      await Promise.all([load.disconnected(), edits.stop()])
      acknowledged.push(...load.acknowledged)
      expect(load.refusals).to.deep.equal([])
      expect(integrityOf(join(folder, 'tasks.db'))).to.equal('ok')
      service = new Service({ DATABASE_URL })
      expect(await client.at(await service.url()).findLost(acknowledged)).to.deep.equal([])
    }
    expect(history.violations(await client.at(await service.url()).listTasks())).to.deep.equal([])
  })
})

/** A disk with room for about a megabyte. */
interface SmallDisk {
  readonly name: string
  /** Runs a command with the disk as its working directory. */
  readonly launcher: () => readonly string[]
  /** The path of the working directory for this process. */
  folderOf(service: Service): string
  makeRoom(service: Service): void
}

/** A limit on the file size, which needs no privilege. */
const limitedFiles: SmallDisk = {
  name: 'a file size limit',
  launcher: () => ['prlimit', '--fsize=1000000:unlimited'],
  folderOf: () => folder,
  makeRoom({ pid }) {
    run('prlimit', `--pid=${pid}`, '--fsize=unlimited:unlimited')
  },
}

/** A file system in a mount namespace of the service, mostly filled by another file. */
const PRIVATE_MOUNT = ['unshare', '--map-root-user', '--mount', 'sh', '-ec']
const tmpfs: SmallDisk = {
  name: 'a full tmpfs',
  launcher: () => [
    ...PRIVATE_MOUNT,
    `mount -t tmpfs -o size=16m none "$0"; cd "$0"; head -c 15000000 /dev/zero > ballast; exec "$@"`,
    folder,
  ],
  folderOf: ({ pid }) => join(`/proc/${pid}/root`, folder),
  makeRoom(service) {
    rmSync(join(this.folderOf(service), 'ballast'))
  },
}

/** Whether this process may mount a file system. Most containers forbid it. */
const canMount =
  spawnSync(PRIVATE_MOUNT[0] as string, [...PRIVATE_MOUNT.slice(1), 'mount -t tmpfs none /mnt']).status === 0

function run(command: string, ...words: string[]): void {
  const { status, stderr, error } = spawnSync(command, words, { encoding: 'utf8' })
  expect(status, `${command} (of Debian's util-linux): ${error?.message ?? stderr}`).to.equal(0)
}

describe('A full disk', () => {
  allowProcesses()

  for (const disk of canMount ? [limitedFiles, tmpfs] : [limitedFiles]) {
    it(`causes 503 for writes but not for reads until there is room, and loses no acknowledged task (${disk.name})`, async () => {
      const service = new Service({ DATABASE_URL }, disk.launcher())
      const client = await Client.signUp(await service.url())
      const kept = await client.createTask('before')
      const load = new WriteLoad(client, CONNECTIONS)
      await waitUntil(() => load.refusals.length >= CONNECTIONS)
      await load.stop()
      for (const refusal of load.refusals) {
        expect(refusal).to.include({ status: 503, code: 'store_unavailable' })
        expect(refusal.retryAfter).to.match(/^\d+$/)
      }

      // An edit takes less room than the refused tasks, so some may still fit.
      const edit = () => client.send('PATCH', `/api/v1/tasks/${kept.id}`, { completed: true })
      await waitUntil(async () => (await edit()).status === 503)
      expect(await client.findLost([kept, ...load.acknowledged])).to.deep.equal([])
      expect((await client.send('GET', '/readyz')).status).to.equal(200)
      expect((await client.send('GET', '/api/v1/auth/me')).status).to.equal(200)
      // A login writes a session, and some may still fit.
      await waitUntil(async () => (await Client.postLogin(client.url)).status === 503)

      disk.makeRoom(service)
      const after = new WriteLoad(client, CONNECTIONS)
      await after.waitForAcknowledged(1_000)
      await after.stop()
      expect(after.refusals).to.deep.equal([])
      expect(await client.findLost([kept, ...load.acknowledged, ...after.acknowledged])).to.deep.equal([])
      // SQLite resolves the path of the log in this process's file system, so copy both files.
      for (const file of ['tasks.db', 'tasks.db-wal']) {
        copyFileSync(join(disk.folderOf(service), file), join(folder, `copy-of-${file}`))
      }
      expect(integrityOf(join(folder, 'copy-of-tasks.db'))).to.equal('ok')
    })
  }
})

describe('The SQLite file of a running service', () => {
  allowProcesses()

  const path = (suffix: string) => join(folder, `tasks.db${suffix}`)
  const files = () => readdirSync(folder).filter((name) => name.startsWith('tasks.db'))

  async function expectUnavailable(client: Client): Promise<void> {
    const requests = [
      client.postTask('lost'),
      client.send('GET', '/api/v1/tasks'),
      client.send('GET', '/api/v1/auth/me'),
      Client.register(client.url, 'john@example.com'),
      client.send('GET', '/readyz'),
    ]
    for (const answer of await Promise.all(requests)) {
      expect(answer.status).to.equal(503)
      expect(await answer.json()).to.include({ code: 'store_unavailable' })
    }
    for (const probe of ['/livez', '/health']) expect((await client.send('GET', probe)).status).to.equal(200)
  }

  const ready = async (client: Client) => (await client.send('GET', '/readyz')).status === 200

  const lines = (service: Service) =>
    service.output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { readonly level: string; readonly msg: string; readonly err?: object })

  const problems = (service: Service) =>
    lines(service).filter(({ level, msg }) => level !== 'info' && msg !== 'request')

  const damages: Readonly<Record<string, () => void>> = {
    'is removed': () => {
      for (const name of files()) rmSync(join(folder, name))
    },
    'is replaced': () => {
      copyFileSync(path(''), path('.new'))
      renameSync(path('.new'), path(''))
    },
    'is removed without its write-ahead log': () => rmSync(path('')),
    'loses its write-ahead log': () => rmSync(path('-wal')),
    'loses its shared-memory file': () => rmSync(path('-shm')),
  }
  for (const [what, damage] of Object.entries(damages)) {
    it(`causes 503 and one log line if it ${what}`, async () => {
      const service = new Service({ DATABASE_URL })
      const client = await Client.signUp(await service.url())
      await client.createTask('kept')
      damage()
      // Every group commit checks the file, so the first write already fails.
      expect((await client.postTask('lost')).status).to.equal(503)
      await waitUntil(async () => !(await ready(client)))
      await expectUnavailable(client)
      await expectUnavailable(client)
      expect(
        problems(service).map(({ level, msg }) => [level, /tasks\.db(?:-wal|-shm)? was removed or replaced/.test(msg)]),
      ).to.deep.equal([['error', true]])
      await service.stop()
    })
  }

  it('is used again once it is back, with one log line', async () => {
    const service = new Service({ DATABASE_URL })
    const client = await Client.signUp(await service.url())
    const kept = await client.createTask('kept')
    mkdirSync(join(folder, 'elsewhere'))
    const names = files()
    for (const name of names) renameSync(join(folder, name), join(folder, 'elsewhere', name))
    expect((await client.postTask('refused')).status).to.equal(503)
    await waitUntil(async () => !(await ready(client)))
    for (const name of names) renameSync(join(folder, 'elsewhere', name), join(folder, name))
    await waitUntil(() => ready(client))
    const later = await client.createTask('later')
    expect((await client.listTasks()).map(({ id }) => id)).to.deep.equal([later.id, kept.id])
    await service.stop()
    expect(lines(service).filter(({ msg }) => / is back$/.test(msg))).to.have.lengthOf(1)
    expect(
      problems(service)
        .map(({ msg }) => msg)
        .join('\n'),
    ).to.match(/^.* was removed or replaced .*$/)
    expect(integrityOf(path(''))).to.equal('ok')
  })

  it('keeps acknowledged tasks if the service stops after the write-ahead log was removed', async () => {
    const service = new Service({ DATABASE_URL })
    const client = await Client.signUp(await service.url())
    const kept = await client.createTask('kept')
    rmSync(path('-wal'))
    expect((await client.postTask('refused')).status).to.equal(503)
    await service.stop()
    const next = new Service({ DATABASE_URL })
    expect(await client.at(await next.url()).findLost([kept])).to.deep.equal([])
  })

  it('causes 503 in every worker if it is removed', async () => {
    const service = new Service({ DATABASE_URL, WEB_CONCURRENCY: '2' })
    const client = await Client.signUp(await service.url())
    for (const name of files()) rmSync(join(folder, name))
    const answers = await Promise.all(Array.from({ length: 20 }, () => client.postTask('lost')))
    expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([503]))
    await waitUntil(() => problems(service).length === 2)
    await expectUnavailable(client)
    await service.stop()
    expect(problems(service)).to.have.lengthOf(2)
  })
})
