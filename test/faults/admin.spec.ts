import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { postgresql, sqlite } from '#test/adapter-sets.ts'
import { allowProcesses, type Environment, folder, Process, Service } from '#test/process.ts'
import { Client } from './client.ts'

const EMAIL = 'jane@example.com'
const PASSWORD = 'another correct horse'
const USAGE = /^Usage:\nnpm run admin -- grant EMAIL .*\nnpm run admin -- set-password EMAIL .*$/

const admin = (words: readonly string[], environment: Environment, input?: string) =>
  new Process(
    'src/adapters/cli/admin.ts',
    { ENVIRONMENT: 'test', BCRYPT_ROUNDS: '4', ...environment },
    { words, ...(input !== undefined && { input }) },
  )

/** Expects success. @returns the message and the audit events */
async function resultOf(command: Process): Promise<{ message: string; audit: unknown[] }> {
  expect(await command.exitCode(), command.output).to.equal(0)
  return {
    message: command.stdout.trimEnd(),
    audit: command.stderr
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
  }
}

const logIn = (url: string, password: string) =>
  fetch(`${url}/api/v1/auth/login`, { method: 'POST', body: new URLSearchParams({ username: EMAIL, password }) })

for (const { name, databaseUrl } of [sqlite, postgresql]) {
  describe(`The admin command beside a service (${name})`, () => {
    allowProcesses()

    let environment: Environment
    let url: string
    let jane: Client
    beforeEach(async () => {
      environment = { DATABASE_URL: await databaseUrl() }
      url = await new Service(environment).url()
      jane = await Client.signUp(url, EMAIL)
    })

    it('makes a user an admin, in any spelling of the address', async () => {
      expect((await jane.send('GET', '/api/v1/admin/users')).status).to.equal(404)
      const { message, audit } = await resultOf(admin(['grant', 'Jane@EXAMPLE.com'], environment))
      expect(message).to.equal('jane@example.com is an admin.')
      expect(audit).to.have.lengthOf(1)
      expect(audit[0]).to.include({ event: 'role_changed', role: 'admin', msg: 'audit' })
      expect((await jane.send('GET', '/api/v1/admin/users')).status).to.equal(200)
      expect((await resultOf(admin(['grant', EMAIL], environment))).message).to.equal('jane@example.com is an admin.')
    })

    it('sets the password of a user and ends all sessions', async () => {
      const { message, audit } = await resultOf(admin(['set-password', EMAIL], environment, `${PASSWORD}\nmore`))
      expect(message).to.equal('The password of jane@example.com was changed, and all sessions of the user have ended.')
      // The log hides the database password, which is `password` in the specs on PostgreSQL, wherever it occurs.
      expect(audit[0])
        .to.include({ userId: 1, msg: 'audit' })
        .and.property('event')
        .match(/_changed$/)
      expect(JSON.stringify(audit)).to.not.include(PASSWORD)
      expect((await jane.send('GET', '/api/v1/auth/me')).status).to.equal(401)
      expect((await logIn(url, 'correct horse')).status).to.equal(401)
      expect((await logIn(url, PASSWORD)).status).to.equal(200)
    })
  })
}

describe('npm run admin', () => {
  allowProcesses()

  const environment = { DATABASE_URL: 'sqlite:///tasks.db' }
  const migrate = async () => {
    const command = new Process('src/adapters/cli/migrate.ts', environment)
    expect(await command.exitCode(), command.output).to.equal(0)
  }
  /** Leaves a database with one user and stops the service. */
  const register = async () => {
    const service = new Service(environment)
    await Client.signUp(await service.url(), EMAIL)
    await service.stop()
  }

  it('asks for the password twice in a terminal, without echo', async () => {
    await register()
    // `sh` reads no start-up files; bash reads them if its stdin is a socket.
    const terminal = ['sh', '-c', 'exec script --quiet --return --command "$*" /dev/null', 'script']
    const words = ['set-password', EMAIL]
    const ask = async (...passwords: readonly string[]) => {
      const command = new Process(
        'src/adapters/cli/admin.ts',
        { ...environment, LOG_LEVEL: 'silent' },
        {
          ...{ words, launcher: terminal, interactive: true },
        },
      )
      for (const [index, password] of passwords.entries()) {
        await command.waitForOutput(index === 0 ? /New password: / : /Repeat the new password: /)
        command.write(password)
      }
      const status = await command.exitCode()
      return { status, lines: command.output.split('\r\n').filter(Boolean) }
    }
    const prompts = ['New password: ', 'Repeat the new password: ']
    expect(await ask(`${PASSWORD}\r`, `${PASSWORD}\r`)).to.deep.equal({
      status: 0,
      lines: [...prompts, 'The password of jane@example.com was changed, and all sessions of the user have ended.'],
    })
    expect(await ask(`${PASSWORD}\r`, 'something else\r')).to.deep.equal({
      status: 1,
      lines: [...prompts, 'The two passwords differ; nothing was changed.'],
    })
    expect(await ask('\u0003')).to.deep.equal({
      status: 1,
      lines: ['New password: ', 'Cancelled; nothing was changed.'],
    })
  })

  it('prints its usage for an unknown command, without an address, and for a password among the arguments', async () => {
    const mistakes = [[], ['grant'], ['constructor', EMAIL], ['grant', '--help'], ['set-password', EMAIL, PASSWORD]]
    const messages = await Promise.all(mistakes.map((words) => admin(words, environment).failureMessage()))
    for (const message of messages) expect(message).to.match(USAGE)
  })

  it('refuses memory:, a missing file and an old schema, and creates nothing', async () => {
    expect(await admin(['grant', EMAIL], { DATABASE_URL: 'memory:' }).failureMessage()).to.equal(
      'DATABASE_URL is memory:, which keeps nothing.',
    )
    const path = join(folder, 'tasks.db')
    expect(await admin(['grant', EMAIL], environment).failureMessage()).to.match(
      /^\S*tasks\.db does not exist; DATABASE_URL must name the database of the service\.$/,
    )
    expect(existsSync(path)).to.equal(false)
    writeFileSync(path, '')
    expect(await admin(['grant', EMAIL], environment).failureMessage()).to.match(
      /^The schema of the SQLite database .+ is not up to date\. Start the service or run `npm run migrate` first\.$/,
    )
  })

  it('refuses an address without a user', async () => {
    await migrate()
    const commands = [EMAIL, 'no address', `${'x'.repeat(5_000)}@example.com`].flatMap((email) => [
      admin(['grant', email], environment),
      admin(['set-password', email], environment, PASSWORD),
    ])
    for (const message of await Promise.all(commands.map((command) => command.failureMessage()))) {
      expect(message).to.equal('There is no such user.')
    }
  })

  it('refuses a password that breaks a rule, in one line', async () => {
    await register()
    const refusals: Readonly<Record<string, string>> = {
      '': 'No password was given; nothing was changed.',
      short: 'The password must have at least 8 characters.',
      [EMAIL]: 'The password must not be the e-mail address.',
      ['x'.repeat(129)]: 'The password must have at most 128 characters.',
      ['x'.repeat(1_000_000)]: 'The password must have at most 128 characters; nothing was changed.',
    }
    const messages = await Promise.all(
      Object.keys(refusals).map((password) => admin(['set-password', EMAIL], environment, password).failureMessage()),
    )
    expect(messages).to.deep.equal(Object.values(refusals))
    const production = { ...environment, ENVIRONMENT: 'production', BCRYPT_ROUNDS: '10' }
    expect(await admin(['set-password', EMAIL], production, 'password123').failureMessage()).to.equal(
      'The password must not be one of the commonest passwords.',
    )
  })

  it('reads .env and needs no SECRET_KEY in production', async () => {
    await register()
    writeFileSync(join(folder, '.env'), 'ENVIRONMENT=production\nDATABASE_URL=sqlite:///tasks.db\n')
    const command = new Process('src/adapters/cli/admin.ts', {}, { words: ['grant', EMAIL] })
    expect((await resultOf(command)).message).to.equal('jane@example.com is an admin.')
  })

  it('prints one line about a database that it cannot open, without the password', async () => {
    const unreachable = { DATABASE_URL: 'postgresql://me:secret@127.0.0.1:1/tasks' }
    expect(await admin(['grant', EMAIL], unreachable).failureMessage()).to.equal(
      'The PostgreSQL database at 127.0.0.1:1 cannot be opened: connection refused',
    )
  })
})
