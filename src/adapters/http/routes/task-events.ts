import * as v from 'valibot'
import type { ChangePage, SyncPosition } from '../../../domain/tasks/change-feed.ts'
import type { SyncTasks } from '../../../domain/tasks/sync-tasks.ts'
import { scope } from '../endpoint/access.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import type { OpenStreams } from '../endpoint/open-streams.ts'
import { resumable } from '../endpoint/stream.ts'
import { EXAMPLE_POSITION, formatPosition, positionSchema, presentDeletion } from './task-changes.ts'
import { present, TASK_EXAMPLE } from './tasks.ts'

/** Milliseconds between checks of the token, and between comments, which keep proxies from closing an idle stream. */
const HEARTBEAT_INTERVAL = 15_000
const HEARTBEAT = ':\n\n'
/** Milliseconds after which a client reconnects. */
const RETRY = 3_000
/** Number of changes in a page; at their largest size, they stay below MAX_UNREAD. */
const PAGE = 10

const eventText = (event: string, position: SyncPosition, data: object) =>
  `event: ${event}\nid: ${formatPosition(position)}\ndata: ${JSON.stringify(data)}\n\n`

const opening = (position: SyncPosition) =>
  `retry: ${RETRY}\n\n${eventText('position', position, { since: formatPosition(position) })}`

/** In the order of the changes, so that a client can resume after any of them. */
function eventsOf({ items, deleted, next: { epoch } }: ChangePage): readonly string[] {
  const tasks = items.map(present).map((data) => ({ event: 'task', revision: data.revision, data }))
  const deletions = deleted.map(presentDeletion).map((data) => ({ event: 'deleted', revision: data.revision, data }))
  return [...tasks, ...deletions]
    .sort((one, other) => one.revision - other.revision)
    .map(({ event, revision, data }) => eventText(event, { epoch, revision }, data))
}

const headers = v.object({
  'last-event-id': v.exactOptional(
    positionSchema('The `id` of the last event that you received; the stream continues after it.'),
  ),
})

export function taskEventsEndpoint(prefix: string, sync: SyncTasks, streams: OpenStreams): Endpoint {
  return endpoint({
    method: 'GET',
    path: `${prefix}/tasks/events`,
    operationId: 'followTasks',
    tag: 'Tasks',
    summary: 'Follow your tasks as they change',
    description:
      'Server-sent events. The first event, `position`, has a `since` for the change feed. Then each `task` event has the state of a task that has changed, and each `deleted` event the `id`, `revision` and `deleted_at` of a task that was deleted. The `id` of each event is a position. The stream ends when the token expires or the session ends. If you open too many streams, the oldest one ends.',
    access: scope('tasks:read'),
    headers,
    responses: {
      200: {
        description: 'Events, until the client leaves.',
        mediaType: 'text/event-stream',
        example: opening(EXAMPLE_POSITION) + eventText('task', { ...EXAMPLE_POSITION, revision: 43 }, TASK_EXAMPLE),
        headers: { 'X-Accel-Buffering': { description: 'Asks proxies not to buffer the stream.', example: 'no' } },
      },
    },
    errors: ['sync_expired'],
    async handle({ caller, headers: { 'last-event-id': lastEvent } }) {
      const ownerId = caller.user.id
      const position = await sync.position(ownerId, lastEvent)
      return {
        status: 200,
        headers: { 'X-Accel-Buffering': 'no' },
        stream: resumable(async ({ write, drained }) => {
          using stream = streams.open(ownerId, caller.requester.signal)
          const heartbeat = setInterval(() => {
            write(HEARTBEAT)
            caller.reauthorize().catch(() => stream.end())
          }, HEARTBEAT_INTERVAL)
          try {
            write(opening(position))
            const wait = { signal: stream.signal, recheck: caller.reauthorize }
            for await (const page of sync.follow(ownerId, position, wait, PAGE)) {
              for (const event of eventsOf(page)) write(event)
              if (page.hasMore) await drained(stream.signal)
            }
          } finally {
            clearInterval(heartbeat)
          }
        }),
      }
    },
  })
}
