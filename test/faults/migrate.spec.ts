import { MikroORM } from '@mikro-orm/core'
import { expect } from 'chai'
import { mikroOrmOptions } from '#src/adapters/mikro-orm/options.ts'
import { describeTarget, type PersistentTarget } from '#src/database-target.ts'
import { postgresql, sqlite } from '#test/adapter-sets.ts'
import { MIGRATIONS, postgresqlTarget, targetOf } from '#test/contracts/repositories.ts'
import { allowProcesses, Process, Service } from '#test/process.ts'
import { waitUntil } from '#test/wait-until.ts'

describe('A service with MIGRATE_ON_START=false', () => {
  allowProcesses()

  for (const { name, databaseUrl } of [sqlite, postgresql]) {
    it(`is ready once the schema is migrated (${name})`, async () => {
      const url = await databaseUrl()
      const orm = await MikroORM.init(mikroOrmOptions(targetOf(url) as PersistentTarget))
      await orm.migrator.up({ to: MIGRATIONS.at(-2) as string })
      await orm.close()
      const service = new Service({ DATABASE_URL: url, MIGRATE_ON_START: 'false', WEB_CONCURRENCY: '2' })
      const probe = async () => fetch(`${await service.url()}/readyz`)
      const outdated = await probe()
      expect([outdated.status, outdated.headers.get('retry-after')]).to.deep.equal([503, '5'])
      expect(await outdated.json()).to.include({ code: 'schema_outdated' })
      const command = new Process('src/adapters/cli/migrate.ts', { ENVIRONMENT: 'test', DATABASE_URL: url })
      expect(await command.exitCode(), command.output).to.equal(0)
      await waitUntil(async () => (await probe()).status === 200)
      await service.stop()
    })
  }
})

describe('The migrate command', () => {
  allowProcesses()

  const applied = MIGRATIONS.map((migration) => `Applied ${migration}.\n`).join('')
  const summary = (url: string, state: string) => `The schema of the ${describeTarget(targetOf(url))} is ${state}.\n`

  const migrate = async (databaseUrl: string) => {
    const command = new Process('src/adapters/cli/migrate.ts', { ENVIRONMENT: 'test', DATABASE_URL: databaseUrl })
    const status = await command.exitCode()
    return { status, stdout: command.stdout, stderr: command.stderr }
  }

  for (const { name, databaseUrl } of [sqlite, postgresql]) {
    it(`brings the schema up to date once, and prints what it did (${name})`, async () => {
      const url = await databaseUrl()
      expect(await migrate(url)).to.deep.equal({
        status: 0,
        stdout: applied + summary(url, 'up to date'),
        stderr: '',
      })
      expect(await migrate(url)).to.deep.equal({
        status: 0,
        stdout: summary(url, 'already up to date'),
        stderr: '',
      })
    })
  }

  it('applies the migrations once if three of it start concurrently', async () => {
    const url = await sqlite.databaseUrl()
    const outputs = (await Promise.all([migrate(url), migrate(url), migrate(url)])).map(
      ({ stdout, stderr }) => stdout + stderr,
    )
    expect(outputs.sort()).to.deep.equal([
      applied + summary(url, 'up to date'),
      summary(url, 'already up to date'),
      summary(url, 'already up to date'),
    ])
  })

  it('does nothing for memory:', async () => {
    expect(await migrate('memory:')).to.include({ status: 0, stderr: '' })
  })

  it('prints one line about a database that it cannot open, without the password', async () => {
    expect(await migrate('postgresql://me:secret@127.0.0.1:1/tasks')).to.deep.equal({
      status: 1,
      stdout: '',
      stderr: 'The PostgreSQL database at 127.0.0.1:1 cannot be opened: connection refused\n',
    })
  })

  it('prints one line about a database that it cannot migrate', async () => {
    const url = await postgresql.databaseUrl()
    const orm = await MikroORM.init(mikroOrmOptions(postgresqlTarget(url)))
    await orm.em.fork().execute('create table tasks (id integer)')
    await orm.close()
    const { status, stderr } = await migrate(url)
    expect(status).to.equal(1)
    expect(stderr).to.match(/^The PostgreSQL database at .+ cannot be migrated: .*relation "tasks" already exists\n$/)
  })

  it('of MikroORM prints one line for memory:, which has no schema', async () => {
    const config = new Process('mikro-orm.config.ts', { DATABASE_URL: 'memory:' })
    expect(await config.failureMessage()).to.equal('DATABASE_URL is memory:, which has no schema.')
  })

  it('names an invalid variable', async () => {
    const { status, stderr } = await migrate('mysql://127.0.0.1/tasks')
    expect(status).to.equal(1)
    expect(stderr).to.match(/^DATABASE_URL must be .*\n$/)
  })
})
