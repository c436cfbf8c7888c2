import Router from '@koa/router'
import Koa from 'koa'
import type { HttpConfig } from '../../config.ts'
import type { AccountPolicy } from '../../domain/accounts/account-policy.ts'
import type { AdministerUsers } from '../../domain/accounts/administer-users.ts'
import type { ExportAccount } from '../../domain/accounts/export-account.ts'
import type { ManageAccount } from '../../domain/accounts/manage-account.ts'
import type { ManageApiTokens } from '../../domain/accounts/manage-api-tokens.ts'
import type { SignIn } from '../../domain/accounts/sign-in.ts'
import type { ManageTasks } from '../../domain/tasks/manage-tasks.ts'
import type { SyncTasks } from '../../domain/tasks/sync-tasks.ts'
import type { Log } from '../../log.ts'
import { openApiEndpoint } from './docs/openapi.ts'
import { mountDocs } from './docs/pages.ts'
import type { Endpoint } from './endpoint/endpoint.ts'
import type { Limits } from './endpoint/limits.ts'
import { fixedPathsFirst, mount, refuseShadowed } from './endpoint/mount.ts'
import { OpenStreams } from './endpoint/open-streams.ts'
import {
  allowOrigins,
  closeConnections,
  logSendErrors,
  refuseUnmatched,
  reportProblems,
  setCommonHeaders,
  warnOfUntrustedProxy,
} from './middleware.ts'
import { observe, type RequestObserver } from './observe.ts'
import type { Readiness } from './readiness.ts'
import { accountEndpoints } from './routes/account.ts'
import { accountExportEndpoint } from './routes/account-export.ts'
import { adminUserEndpoints } from './routes/admin-users.ts'
import { apiTokenEndpoints } from './routes/api-tokens.ts'
import { probeEndpoints } from './routes/probes.ts'
import { sessionEndpoints } from './routes/sessions.ts'
import { signInEndpoints } from './routes/sign-in.ts'
import { taskBatchEndpoint } from './routes/task-batch.ts'
import { taskChangesEndpoint } from './routes/task-changes.ts'
import { taskEventsEndpoint } from './routes/task-events.ts'
import { taskEndpoints } from './routes/tasks.ts'

export interface AppOptions extends HttpConfig, Pick<AccountPolicy, 'passwordMinLength'> {
  readonly version: string
}

export interface AppDependencies {
  readonly signIn: SignIn
  readonly account: ManageAccount
  readonly accountExport: ExportAccount
  readonly apiTokens: ManageApiTokens
  readonly users: AdministerUsers
  readonly tasks: ManageTasks
  readonly sync: SyncTasks
  readonly readiness: Readiness
  readonly limits: Limits
  readonly observers: readonly RequestObserver[]
  readonly log: Log
}

/** Registers the middleware in the order in which it handles a request. */
export function createApp(options: AppOptions, dependencies: AppDependencies): Koa {
  const { corsOrigins, trustedProxies } = options
  const { readiness, observers, log } = dependencies
  const endpoints = endpointsOf(options, dependencies)
  const app = new Koa({ proxy: trustedProxies > 0, maxIpsCount: trustedProxies })
  app.on('error', logSendErrors(log))
  if (observers.length > 0) app.use(observe(observers))
  app.use(setCommonHeaders())
  if (trustedProxies === 0) app.use(warnOfUntrustedProxy(log))
  app.use(allowOrigins(corsOrigins))
  app.use(closeConnections(readiness))
  app.use(reportProblems(log, endpoints))
  app.use(createRouter(options, dependencies, endpoints).routes())
  app.use(refuseUnmatched)
  return app
}

/** In the order of the documentation. */
function endpointsOf(
  { apiPrefix, rootPath, environment, maxStreamsPerUser, passwordMinLength }: AppOptions,
  { signIn, account, accountExport, apiTokens, users, tasks, sync, readiness }: AppDependencies,
): readonly Endpoint[] {
  const streams = new OpenStreams(maxStreamsPerUser, readiness.shutdown)
  return [
    ...probeEndpoints(environment, () => readiness.check()),
    ...signInEndpoints(apiPrefix, signIn, passwordMinLength),
    ...accountEndpoints(apiPrefix, account, passwordMinLength),
    accountExportEndpoint(apiPrefix, accountExport, streams),
    ...sessionEndpoints(apiPrefix, account),
    ...apiTokenEndpoints(apiPrefix, apiTokens),
    ...taskEndpoints(apiPrefix, tasks, rootPath),
    taskBatchEndpoint(apiPrefix, tasks),
    taskChangesEndpoint(apiPrefix, sync, streams),
    taskEventsEndpoint(apiPrefix, sync, streams),
    ...adminUserEndpoints(apiPrefix, users, rootPath),
  ]
}

function createRouter(
  { projectName, version, apiPrefix }: AppOptions,
  { signIn, limits }: AppDependencies,
  endpoints: readonly Endpoint[],
): Router {
  const about = { title: projectName, version, authPath: `${apiPrefix}/auth` }
  const router = new Router({ strict: true, sensitive: true })
  refuseShadowed(router, endpoints)
  for (const each of fixedPathsFirst([...endpoints, openApiEndpoint(about, endpoints)]))
    mount(router, each, signIn, limits)
  mountDocs(router, projectName)
  return router
}
