import * as v from 'valibot'
import { PASSWORD_LIMITS, passwordRule } from '../../../domain/accounts/password.ts'
import { EMAIL_LIMITS, emailRule, type UserSnapshot } from '../../../domain/accounts/user.ts'
import { wellFormed } from '../../../domain/rules.ts'
import { timeZoneRule } from '../../../domain/tasks/task-filter.ts'
import { timestamp, toTimestamp } from '../endpoint/timestamp.ts'
import { ruleSchema } from '../endpoint/validation.ts'

export const USER_EXAMPLE = {
  id: 1,
  email: 'jane@example.com',
  created_at: '2026-01-31T09:30:00.000Z',
  time_zone: 'Europe/Berlin',
} as const

export const userSchema = v.pipe(
  v.object({ id: v.pipe(v.number(), v.integer()), email: v.string(), created_at: timestamp, time_zone: v.string() }),
  v.metadata({ title: 'User', examples: [USER_EXAMPLE] }),
)

export function presentUser({ id, email, createdAt, timeZone }: UserSnapshot): v.InferOutput<typeof userSchema> {
  return { id, email, created_at: toTimestamp(createdAt), time_zone: timeZone }
}

/** Accepted in a body and ignored, so that a client can send back the user it read. */
export const readOnlyMembers = ['id', 'owner_id', 'created_at', 'updated_at']

export const emailMember = ruleSchema<string>(emailRule, {
  type: 'string',
  maxLength: EMAIL_LIMITS.max,
  description: 'E-mail address; letters of any script are allowed.',
  examples: ['jane@example.com'],
})

/** @param minLength in characters */
export const newPasswordMember = (minLength: number) =>
  ruleSchema<string>(passwordRule(minLength), {
    type: 'string',
    format: 'password',
    minLength,
    maxLength: PASSWORD_LIMITS.max,
    description: 'Neither the e-mail address nor, where the operator refuses them, one of the commonest passwords.',
    examples: ['correct horse battery staple'],
  })

/** Optional here: the use case reports a missing one where the change needs it. */
export const currentPasswordMember = v.exactOptional(
  ruleSchema<string>(wellFormed, {
    type: 'string',
    format: 'password',
    description: 'The current password of the account.',
    examples: ['your current password'],
  }),
)

export const timeZoneMember = ruleSchema<string>(timeZoneRule, {
  type: 'string',
  description: 'IANA name of the time zone in which your days begin and end, unless a request names another.',
  examples: ['Europe/Berlin'],
})
