import { spawnSync } from 'node:child_process'
import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { expect } from 'chai'
import { allowProcesses, folder, Service } from '#test/process.ts'
import { Client, Storm, type Task, until } from './client.ts'

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

describe('kill -9 in a storm of writes on SQLite', () => {
  allowProcesses()

  it('loses no task that was acknowledged, and leaves a sound database', async () => {
    let service = new Service({ DATABASE_URL })
    const client = await Client.registered(await service.url())
    const acknowledged: Task[] = []
    for (const round of [1, 2]) {
      const storm = new Storm(client.at(await service.url()), CONNECTIONS)
      await storm.acknowledges(300 * round)
      service.signal('SIGKILL')
      expect(await service.exit()).to.equal(null)
      await storm.end()
      acknowledged.push(...storm.acknowledged)
      expect(storm.refusals).to.deep.equal([])
      expect(integrityOf(join(folder, 'tasks.db'))).to.equal('ok')
      service = new Service({ DATABASE_URL })
      expect(await client.at(await service.url()).missing(acknowledged)).to.deep.equal([])
    }
  })
})

/** A disk of about a megabyte that fills up. */
interface SmallDisk {
  readonly name: string
  /** Runs the command after it with that disk as its working directory. */
  readonly launcher: () => readonly string[]
  /** The working directory, as it is seen from here. */
  folderOf(service: Service): string
  makeRoom(service: Service): void
}

/** Needs no privilege: no file may grow beyond the limit, until that is lifted. */
const limitedFiles: SmallDisk = {
  name: 'no file may grow',
  launcher: () => ['prlimit', '--fsize=1000000:unlimited'],
  folderOf: () => folder,
  makeRoom({ pid }) {
    run('prlimit', `--pid=${pid}`, '--fsize=unlimited:unlimited')
  },
}

/** A file system that only the service sees, and that ends with it. Part of it is taken by a file of somebody else. */
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

/** Where a process may not mount anything, as in a container with the usual rights, the other disk has to do. */
const mountable =
  spawnSync(PRIVATE_MOUNT[0] as string, [...PRIVATE_MOUNT.slice(1), 'mount -t tmpfs none /mnt']).status === 0

function run(command: string, ...words: string[]): void {
  const { status, stderr, error } = spawnSync(command, words, { encoding: 'utf8' })
  expect(status, `${command} (of Debian's util-linux): ${error?.message ?? stderr}`).to.equal(0)
}

describe('A disk that is full', () => {
  allowProcesses()

  for (const disk of mountable ? [limitedFiles, tmpfs] : [limitedFiles]) {
    it(`refuses writes, serves reads, loses nothing, and recovers when there is room (${disk.name})`, async () => {
      const service = new Service({ DATABASE_URL }, disk.launcher())
      const client = await Client.registered(await service.url())
      const kept = await client.task('before')
      const storm = new Storm(client, CONNECTIONS)
      await until(() => storm.refusals.length >= CONNECTIONS)
      await storm.stop()
      for (const refusal of storm.refusals) {
        expect(refusal).to.include({ status: 503, code: 'store_unavailable' })
        expect(refusal.retryAfter).to.match(/^\d+$/)
      }

      expect((await client.send('PATCH', `/api/v1/tasks/${kept.id}`, { title: 'x'.repeat(255) })).status).to.equal(503)
      expect(await client.missing([kept, ...storm.acknowledged])).to.deep.equal([])
      expect((await client.send('GET', '/readyz')).status).to.equal(200)
      expect((await Client.loggedIn(client.url)).token).to.be.a('string')

      disk.makeRoom(service)
      const after = new Storm(client, CONNECTIONS)
      await after.acknowledges(1_000)
      await after.stop()
      expect(after.refusals).to.deep.equal([])
      expect(await client.missing([kept, ...storm.acknowledged, ...after.acknowledged])).to.deep.equal([])
      // SQLite would look for its log where the path leads to here, not there.
      for (const file of ['tasks.db', 'tasks.db-wal']) {
        copyFileSync(join(disk.folderOf(service), file), join(folder, `copy-of-${file}`))
      }
      expect(integrityOf(join(folder, 'copy-of-tasks.db'))).to.equal('ok')
    })
  }
})
