/**
 * `node src/adapters/cli/admin.ts grant EMAIL` makes a user an admin; `… set-password EMAIL` sets the password of a user who
 * forgot it. The service may be running. Audit lines go to stderr.
 */
import { existsSync } from 'node:fs'
import { openAdministration } from '../../composition-root.ts'
import { readCommandConfig, readEnvironment } from '../../config.ts'
import { describeTarget } from '../../database-target.ts'
import type { AdministerUsers } from '../../domain/accounts/administer-users.ts'
import { DomainError, InvalidInput } from '../../domain/errors.ts'
import { createLog } from '../../log.ts'
import { exitWith, OperatorError } from '../../operator-error.ts'
import { readNewPassword } from './read-new-password.ts'

/** The operator has no id and no network. */
const OPERATOR = {}

/** Each returns the message for the operator. */
const COMMANDS = new Map<string, (users: AdministerUsers, email: string) => Promise<string>>([
  [
    'grant',
    async (users, email) => {
      const user = await users.grant(OPERATOR, email)
      const { email: address, disabled } = user.snapshot()
      return `${address} is an admin${disabled ? ', but is disabled; another admin must enable the user first' : ''}.`
    },
  ],
  [
    'set-password',
    async (users, email) => {
      const requester = { clientNetwork: '', signal: new AbortController().signal }
      await users.setPassword(OPERATOR, email, await readNewPassword(), requester)
      return `The password of ${email} was changed, and all sessions of the user have ended.`
    },
  ],
])

const USAGE = `Usage:
npm run admin -- grant EMAIL         makes a user an admin
npm run admin -- set-password EMAIL  sets a user's password, read from the terminal or from stdin`

try {
  const [name = '', email = '', ...others] = process.argv.slice(2)
  const command = COMMANDS.get(name)
  if (!command || email === '' || email.startsWith('-') || others.length > 0) {
    throw new OperatorError(USAGE)
  }
  const config = readCommandConfig(readEnvironment())
  const { target } = config.database
  if (target.kind === 'memory') throw new OperatorError('DATABASE_URL is memory:, which keeps nothing.')
  // Opening a missing file would create it.
  if (target.kind === 'sqlite' && !existsSync(target.path)) {
    throw new OperatorError(`${target.path} does not exist; DATABASE_URL must name the database of the service.`)
  }
  const log = createLog(config, 2)
  try {
    await using administration = await openAdministration(config, log)
    // The role of the service may lack the permission to read the table of migrations.
    if (!(await administration.schemaIsUpToDate().catch(() => true))) {
      throw new OperatorError(
        `The schema of the ${describeTarget(target)} is not up to date. Start the service or run \`npm run migrate\` first.`,
      )
    }
    console.log(await command(administration.users, email))
  } finally {
    log.flush()
  }
} catch (error) {
  exitWith(error instanceof DomainError ? new OperatorError(messageOf(error)) : error)
}

function messageOf(error: DomainError): string {
  if (!(error instanceof InvalidInput)) return error.message
  return error.violations.map(({ member, detail }) => `The ${member} ${detail}.`).join('\n')
}
