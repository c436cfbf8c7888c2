import * as v from 'valibot'
import type { ChangePage, SyncPosition, Tombstone } from '../../../domain/tasks/change-feed.ts'
import { CHANGES_LIMIT, type SyncTasks } from '../../../domain/tasks/sync-tasks.ts'
import { scope } from '../endpoint/access.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import type { OpenStreams } from '../endpoint/open-streams.ts'
import { timestamp, toTimestamp } from '../endpoint/timestamp.ts'
import { numeral, ruleSchema } from '../endpoint/validation.ts'
import { present, TASK_EXAMPLE, taskSchema } from './tasks.ts'

/** Maximum duration of a long poll in seconds, below the usual timeouts of proxies. */
const MAX_WAIT = 30

const REVISION = '(0|[1-9]\\d{0,15})'
const POSITION = new RegExp(`^([\\da-z]{8})-${REVISION}(?:-${REVISION})?$`, 'i')

export const EXAMPLE_POSITION: SyncPosition = { epoch: 'k3v9x2qa', revision: 42 }

/** A position as a text that is opaque to clients. */
export const formatPosition = ({ epoch, revision, began }: SyncPosition): string =>
  `${epoch}-${revision}${began === undefined ? '' : `-${began}`}`

function parsePosition(text: string): SyncPosition | undefined {
  const [, epoch = '', ...digits] = POSITION.exec(text) ?? []
  const [revision = Number.NaN, began] = digits.filter(Boolean).map(Number)
  if (![revision, began ?? 0].every(Number.isSafeInteger)) return undefined
  return { epoch, revision, ...(began !== undefined && { began }) }
}

export const positionSchema = (description: string) =>
  ruleSchema<SyncPosition>(
    (position) =>
      position === undefined ? { code: 'not_a_position', detail: 'must be a position that this API gave' } : undefined,
    { type: 'string', description, examples: [formatPosition(EXAMPLE_POSITION)] },
    (text) => parsePosition(String(text)),
  )

const parameters = v.strictObject({
  since: v.exactOptional(
    positionSchema('Position to continue from: `next_since` of an earlier response. If absent, starts with all tasks.'),
  ),
  limit: v.exactOptional(
    numeral(CHANGES_LIMIT.min, CHANGES_LIMIT.max, {
      default: CHANGES_LIMIT.default,
      description:
        'Maximum number of tasks and deletions together. A response ends earlier, with `has_more`, once the texts of its tasks take 1 MiB.',
      examples: [500],
    }),
  ),
  wait: v.exactOptional(
    numeral(0, MAX_WAIT, {
      default: 0,
      description: 'Seconds to wait for a change if there is none after `since`.',
      examples: [20],
    }),
  ),
})

const deletion = v.object({
  id: v.pipe(v.number(), v.integer()),
  revision: v.pipe(v.number(), v.integer()),
  deleted_at: timestamp,
})

const changes = v.pipe(
  v.object({
    items: v.array(taskSchema),
    deleted: v.array(deletion),
    next_since: v.string(),
    has_more: v.boolean(),
  }),
  v.metadata({
    title: 'Changes',
    examples: [
      {
        items: [TASK_EXAMPLE],
        deleted: [{ id: 2, revision: 42, deleted_at: '2026-01-31T09:30:00.000Z' }],
        next_since: formatPosition(EXAMPLE_POSITION),
        has_more: false,
      },
    ],
  }),
)

export const presentDeletion = ({ id, revision, deletedAt }: Tombstone) => ({
  id,
  revision,
  deleted_at: toTimestamp(deletedAt),
})

const presentChanges = ({ items, deleted, next, hasMore }: ChangePage) => ({
  items: items.map(present),
  deleted: deleted.map(presentDeletion),
  next_since: formatPosition(next),
  has_more: hasMore,
})

export function taskChangesEndpoint(prefix: string, sync: SyncTasks, streams: OpenStreams): Endpoint {
  return endpoint({
    method: 'GET',
    path: `${prefix}/tasks/changes`,
    operationId: 'syncTasks',
    tag: 'Tasks',
    summary: 'Get the changes since a position',
    description:
      'Returns tasks in their current state, and deletions, by ascending revision. Start without `since`, then repeat with `next_since`: at once while `has_more` is true, otherwise later or with `wait`. After 410 `sync_expired`, empty the replica and start again without `since`.',
    access: scope('tasks:read'),
    query: parameters,
    responses: { 200: { description: 'The changes, and the position after them.', schema: changes } },
    errors: ['sync_expired'],
    async handle({ caller, query: { since, limit, wait = 0 } }) {
      const ownerId = caller.user.id
      if (since === undefined || wait === 0)
        return { status: 200, body: presentChanges(await sync.changes(ownerId, since, limit)) }
      using stream = streams.open(ownerId, caller.requester.signal)
      const signal = AbortSignal.any([AbortSignal.timeout(wait * 1_000), stream.signal])
      const page = await sync.nextChanges(ownerId, since, { signal, recheck: caller.reauthorize }, limit)
      return { status: 200, body: presentChanges(page) }
    },
  })
}
