import * as v from 'valibot'
import type { AccountExport, ExportAccount } from '../../../domain/accounts/export-account.ts'
import { ROLES } from '../../../domain/accounts/user.ts'
import { type SignedInCaller, scope } from '../endpoint/access.ts'
import { type Endpoint, endpoint } from '../endpoint/endpoint.ts'
import type { OpenStreams } from '../endpoint/open-streams.ts'
import { StreamInterrupted } from '../endpoint/stream.ts'
import { API_TOKEN_EXAMPLE, apiTokenSchema, presentApiToken } from './api-tokens.ts'
import { presentSession, SESSION_EXAMPLE, sessionSchema } from './sessions.ts'
import { EXAMPLE_POSITION, formatPosition } from './task-changes.ts'
import { present, TASK_EXAMPLE, taskSchema } from './tasks.ts'
import { presentUser, USER_EXAMPLE, userSchema } from './user-members.ts'

const head = {
  user: v.object({ ...userSchema.entries, role: v.picklist(ROLES) }),
  sessions: v.array(sessionSchema),
  api_tokens: v.array(apiTokenSchema),
  next_since: v.pipe(
    v.string(),
    v.description('Position in the change feed: sync from it to get what changed during the export.'),
  ),
}
const headSchema = v.object(head)

const exportSchema = v.pipe(
  v.object({ ...head, tasks: v.array(taskSchema) }),
  v.metadata({
    title: 'AccountExport',
    examples: [
      {
        user: { ...USER_EXAMPLE, role: 'user' },
        sessions: [SESSION_EXAMPLE],
        api_tokens: [API_TOKEN_EXAMPLE],
        next_since: formatPosition(EXAMPLE_POSITION),
        tasks: [TASK_EXAMPLE],
      },
    ],
  }),
)

function presentHead(
  caller: SignedInCaller,
  { user, sessions, apiTokens, next }: AccountExport,
): v.InferOutput<typeof headSchema> {
  return {
    user: { ...presentUser(user), role: user.role },
    sessions: sessions.map(presentSession(caller)),
    api_tokens: apiTokens.map(presentApiToken),
    next_since: formatPosition(next),
  }
}

/** Minimum size of a chunk in UTF-16 code units. A chunk ends after the task that reaches it, below MAX_UNREAD. */
const CHUNK = 16_384

/** Generates the document in chunks, and checks the credential before each page of tasks. */
async function* chunksOf(caller: SignedInCaller, found: AccountExport): AsyncGenerator<string, void, void> {
  let text = `${JSON.stringify(presentHead(caller, found)).slice(0, -1)},"tasks":[`
  let separator = ''
  for await (const page of found.pages) {
    await caller.reauthorize()
    for (const task of page) {
      text += separator + JSON.stringify(present(task))
      separator = ','
      if (text.length < CHUNK) continue
      yield text
      text = ''
    }
  }
  yield `${text}]}`
}

export function accountExportEndpoint(prefix: string, account: ExportAccount, streams: OpenStreams): Endpoint {
  return endpoint({
    method: 'GET',
    path: `${prefix}/auth/me/export`,
    operationId: 'exportAccount',
    tag: 'Accounts',
    summary: 'Export your account and all your tasks',
    description:
      'One JSON document with the account, its sessions and API tokens, and every task, newest first. Tasks that change during the download may be missing or outdated; a sync from `next_since` repairs that. If the connection breaks, the document is cut off and is not valid JSON. While it runs, the download counts as one of your event streams.',
    access: scope('account'),
    responses: {
      200: {
        description: 'The document.',
        mediaType: 'application/json',
        schema: exportSchema,
        headers: {
          'Content-Disposition': {
            description: 'Makes browsers save the document as a file.',
            example: 'attachment; filename="account.json"',
          },
        },
      },
    },
    errors: [],
    async handle({ caller }) {
      const { signal } = caller.requester
      const found = await account.export(caller)
      return {
        status: 200,
        headers: { 'Content-Disposition': 'attachment; filename="account.json"' },
        async stream({ write, taken }) {
          using stream = streams.open(caller.user.id, signal)
          for await (const chunk of chunksOf(caller, found)) {
            await taken(stream.signal)
            if (stream.signal.aborted) throw new StreamInterrupted()
            write(chunk)
          }
        },
      }
    },
  })
}
