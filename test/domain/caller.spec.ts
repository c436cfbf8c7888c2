import { expect } from 'chai'
import { type Access, authorize, type Caller, type Scope } from '#src/domain/accounts/caller.ts'
import { InsufficientScope, SessionRequired, UserNotFound } from '#src/domain/errors.ts'
import { aUser } from '#test/builders.ts'

const user = aUser().snapshot()
const admin = aUser({ role: 'admin' }).snapshot()
const session = (of = user): Caller => ({ user: of, credential: { kind: 'session', sessionId: 1 } })
const apiToken = (scopes: Scope[], of = user): Caller => ({
  user: of,
  credential: { kind: 'api-token', tokenId: 1, scopes },
})
const to = (scope: Scope): Access => ({ scope })

describe('Access', () => {
  const allowed: Readonly<Record<string, [Caller, Access]>> = {
    'a session to what needs a session': [session(), 'session'],
    'a session to what needs a scope': [session(), to('tasks:write')],
    'a session of an admin to administration': [session(admin), 'admin'],
    'an API token to its scope': [apiToken(['account']), to('account')],
    'an API token that may write tasks to reading them': [apiToken(['tasks:write']), to('tasks:read')],
  }
  for (const [title, [caller, access]] of Object.entries(allowed)) {
    it(`is given to ${title}`, () => expect(() => authorize(caller, access)).to.not.throw())
  }

  const refused: Readonly<Record<string, [Caller, Access, abstract new (...args: never) => Error]>> = {
    'a session of a user to administration': [session(), 'admin', UserNotFound],
    'an API token of a user to administration': [apiToken(['account']), 'admin', UserNotFound],
    'an API token of an admin to administration': [apiToken(['account'], admin), 'admin', SessionRequired],
    'an API token to what needs a session': [apiToken(['tasks:write', 'account']), 'session', SessionRequired],
    'an API token that may read tasks to writing them': [
      apiToken(['tasks:read']),
      to('tasks:write'),
      InsufficientScope,
    ],
    'an API token that may write tasks to the account': [apiToken(['tasks:write']), to('account'), InsufficientScope],
  }
  for (const [title, [caller, access, error]] of Object.entries(refused)) {
    it(`is refused to ${title}`, () => expect(() => authorize(caller, access)).to.throw(error as never))
  }
})
