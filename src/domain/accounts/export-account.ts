import type { SyncPosition } from '../tasks/change-feed.ts'
import type { TaskRepository } from '../tasks/ports.ts'
import type { Task } from '../tasks/task.ts'
import { type Position, pageOf, taskQuery } from '../tasks/task-query.ts'
import type { ApiToken } from './api-token.ts'
import type { Caller } from './caller.ts'
import type { ApiTokenRepository, SessionRepository } from './ports.ts'
import type { Session } from './session.ts'
import type { UserSnapshot } from './user.ts'

interface Needs {
  readonly tasks: TaskRepository
  readonly sessions: SessionRepository
  readonly apiTokens: ApiTokenRepository
}

/** The account and the tasks of a user. */
export interface AccountExport {
  readonly user: UserSnapshot
  readonly sessions: readonly Session[]
  readonly apiTokens: readonly ApiToken[]
  /** Position in the change feed before the first page: a sync from it gets what changed during the export. */
  readonly next: SyncPosition
  /** All tasks in pages, newest first. The pages are read one after the other, without an open transaction. */
  readonly pages: AsyncIterable<readonly Task[]>
}

const PAGE = 100

/** Exports an account, for the right to data portability (GDPR, article 20). */
export class ExportAccount {
  readonly #ports: Needs

  constructor(ports: Needs) {
    this.#ports = ports
  }

  async export({ user }: Caller): Promise<AccountExport> {
    const { tasks, sessions, apiTokens } = this.#ports
    const [head, ownSessions, ownTokens] = await Promise.all([
      tasks.head(user.id),
      sessions.list(user.id),
      apiTokens.list(user.id),
    ])
    const { epoch, revision } = head
    return { user, sessions: ownSessions, apiTokens: ownTokens, next: { epoch, revision }, pages: this.#pages(user.id) }
  }

  async *#pages(ownerId: number): AsyncGenerator<readonly Task[], void, void> {
    let position: Position | undefined
    do {
      const query = taskQuery({ limit: PAGE, ...(position && { position }) })
      const { tasks, next } = pageOf(await this.#ports.tasks.list(ownerId, query), query)
      if (tasks.length > 0) yield tasks
      position = next
    } while (position)
  }
}
