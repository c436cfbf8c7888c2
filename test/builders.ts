import { ApiToken, type ApiTokenDraft, type ApiTokenSnapshot } from '#src/domain/accounts/api-token.ts'
import type { Idna, Requester } from '#src/domain/accounts/ports.ts'
import { Session, type SessionDraft, type SessionSnapshot } from '#src/domain/accounts/session.ts'
import { type EmailAddress, User, type UserDraft, type UserSnapshot } from '#src/domain/accounts/user.ts'
import { Task, type TaskDraft, type TaskSnapshot } from '#src/domain/tasks/task.ts'

export const aTaskDraft = (given: Partial<TaskDraft> = {}): TaskDraft => ({
  title: 'Ship',
  description: null,
  completed: false,
  due: null,
  priority: 'none',
  tags: [],
  ownerId: 1,
  completedAt: null,
  createdAt: new Date('2026-01-31T09:30:00.000Z'),
  updatedAt: new Date('2026-01-31T09:30:00.000Z'),
  ...given,
})

export const aTask = ({ id = 1, revision = 1, ...given }: Partial<TaskSnapshot> = {}): Task =>
  Task.restore({ ...aTaskDraft(given), id, revision })

export const aUserDraft = ({ email = 'jane@example.com', ...given }: Partial<UserDraft> = {}): UserDraft => ({
  ...anAddress(email),
  hashedPassword: '$2b$04$stands.for.a.hash.and.matches.no.password.at.all.......',
  role: 'user',
  disabled: false,
  timeZone: 'UTC',
  createdAt: new Date('2026-01-31T09:30:00.000Z'),
  ...given,
})

/** An address with the same key as in `aUserDraft`. */
export const anAddress = (email: string): EmailAddress => ({ email, emailKey: email.toLowerCase() })

export const aUser = ({ id = 1, ...given }: Partial<UserSnapshot> = {}): User =>
  User.restore({ ...aUserDraft(given), id })

export const aSessionDraft = (given: Partial<SessionDraft> = {}): SessionDraft => ({
  ownerId: 1,
  createdAt: new Date('2026-01-31T09:30:00.000Z'),
  lastUsedAt: new Date('2026-01-31T09:30:00.000Z'),
  userAgent: null,
  counter: 0,
  tokenHash: 'hash of the first token',
  rotatedAt: new Date('2026-01-31T09:30:00.000Z'),
  ...given,
})

export const aSession = ({ id = 1, ...given }: Partial<SessionSnapshot> = {}): Session =>
  Session.restore({ ...aSessionDraft(given), id })

export const anApiTokenDraft = (given: Partial<ApiTokenDraft> = {}): ApiTokenDraft => ({
  ownerId: 1,
  name: 'backup script',
  scopes: ['tasks:read'],
  tokenHash: 'hash of the token',
  createdAt: new Date('2026-01-31T09:30:00.000Z'),
  expiresAt: null,
  lastUsedAt: null,
  ...given,
})

export const anApiToken = ({ id = 1, ...given }: Partial<ApiTokenSnapshot> = {}): ApiToken =>
  ApiToken.restore({ ...anApiTokenDraft(given), id })

/** Leaves every domain as it is. */
export const noIdna: Idna = { toAscii: () => undefined }

/** A client that stays connected. */
export const aRequester = (given: Partial<Requester> = {}): Requester => ({
  clientNetwork: '192.0.2.1',
  userAgent: 'spec',
  signal: new AbortController().signal,
  ...given,
})
