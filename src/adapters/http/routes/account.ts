import * as v from 'valibot'
import type { ManageAccount } from '../../../domain/accounts/manage-account.ts'
import { type SignedInCaller, scope, session } from '../endpoint/access.ts'
import { JSON_TYPE, MERGE_PATCH_TYPE } from '../endpoint/body.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import type { ProblemCode } from '../endpoint/problems.ts'
import { bodyOf } from '../endpoint/validation.ts'
import {
  currentPasswordMember,
  emailMember,
  newPasswordMember,
  presentUser,
  readOnlyMembers,
  timeZoneMember,
  userSchema,
} from './user-members.ts'

const leave = bodyOf('Leave', [], { current_password: currentPasswordMember }, { required: ['current_password'] })

/** @param passwordMinLength in characters */
export function accountEndpoints(
  prefix: string,
  account: ManageAccount,
  passwordMinLength: number,
): readonly Endpoint[] {
  const me = `${prefix}/auth/me`
  const leaving = {
    tag: 'Accounts',
    access: session,
    body: { types: [JSON_TYPE], schema: leave },
    responses: { 204: { description: 'Deleted.' } },
    errors: ['wrong_password', 'last_admin', 'outcome_unknown', 'overloaded'] satisfies ProblemCode[],
    async handle({ caller, body }: { caller: SignedInCaller; body: v.InferOutput<typeof leave> }) {
      await account.leave(caller, body.current_password, caller.requester)
      return { status: 204 as const }
    },
  } as const
  return [
    endpoint({
      method: 'GET',
      path: me,
      operationId: 'whoAmI',
      tag: 'Accounts',
      summary: 'Get your account',
      description: 'Returns the authenticated user.',
      access: scope('account'),
      responses: { 200: { description: 'The user.', schema: userSchema } },
      errors: [],
      async handle({ caller }) {
        return { status: 200, body: presentUser(caller.user) }
      },
    }),
    endpoint({
      method: 'PATCH',
      path: me,
      operationId: 'editAccount',
      tag: 'Accounts',
      summary: 'Update your account',
      description:
        'JSON Merge Patch (RFC 7396): absent members keep their values. A new `email` or `password` needs `current_password`, and an access token rather than an API token. A new password ends all other sessions.',
      access: scope('account'),
      body: {
        types: [JSON_TYPE, MERGE_PATCH_TYPE],
        schema: bodyOf(
          'AccountChanges',
          // The export returns the role.
          [...readOnlyMembers, 'role'],
          {
            email: v.exactOptional(emailMember),
            password: v.exactOptional(newPasswordMember(passwordMinLength)),
            time_zone: v.exactOptional(timeZoneMember),
            current_password: currentPasswordMember,
          },
          { examples: [{ time_zone: 'Europe/Berlin' }] },
        ),
      },
      responses: { 200: { description: 'The changed account.', schema: userSchema } },
      errors: ['session_required', 'wrong_password', 'email_taken', 'outcome_unknown', 'overloaded'],
      async handle({ caller, body: { email, password, time_zone: timeZone, current_password: currentPassword } }) {
        // An unchanged address needs no password, so that a client can send back the account it read.
        const newEmail = email === caller.user.email ? undefined : email
        const changes = { email: newEmail, password, timeZone, currentPassword }
        const user = await account.change(caller, changes, caller.requester)
        return { status: 200, body: presentUser(user.snapshot()) }
      },
    }),
    endpoint({
      ...leaving,
      method: 'DELETE',
      path: me,
      operationId: 'leave',
      summary: 'Delete your account',
      description: 'Permanently deletes the account with its tasks, sessions and API tokens.',
    }),
    endpoint({
      ...leaving,
      method: 'POST',
      path: `${me}/delete`,
      operationId: 'leaveByPost',
      summary: 'Delete your account with POST',
      description: 'Does what `DELETE /auth/me` does, for clients that cannot send a body with DELETE.',
    }),
  ]
}
