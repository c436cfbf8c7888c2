import type { Requester } from '#src/domain/accounts/ports.ts'
import { User, type UserDraft, type UserSnapshot } from '#src/domain/accounts/user.ts'
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

export const aUserDraft = (given: Partial<UserDraft> = {}): UserDraft => ({
  email: 'jane@example.com',
  hashedPassword: '$2b$04$stands.for.a.hash.and.matches.no.password.at.all.......',
  createdAt: new Date('2026-01-31T09:30:00.000Z'),
  ...given,
})

export const aUser = ({ id = 1, ...given }: Partial<UserSnapshot> = {}): User =>
  User.restore({ ...aUserDraft(given), id })

/** A client that stays connected. */
export const aRequester = (given: Partial<Requester> = {}): Requester => ({
  clientNetwork: '192.0.2.1',
  signal: new AbortController().signal,
  ...given,
})
