import Router from '@koa/router'
import Koa from 'koa'
import type { HttpConfig } from '../../config.ts'
import type { ManageAccounts } from '../../domain/accounts/manage-accounts.ts'
import type { ManageTasks } from '../../domain/tasks/manage-tasks.ts'
import type { SyncTasks } from '../../domain/tasks/sync-tasks.ts'
import type { Log } from '../../log.ts'
import { openApiEndpoint } from './docs/openapi.ts'
import { mountDocs } from './docs/pages.ts'
import type { Limits } from './endpoint/limits.ts'
import { mount, refuseShadowed } from './endpoint/mount.ts'
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
import { accountEndpoints } from './routes/accounts.ts'
import { probeEndpoints } from './routes/probes.ts'
import { taskBatchEndpoint } from './routes/task-batch.ts'
import { taskChangesEndpoint } from './routes/task-changes.ts'
import { taskEventsEndpoint } from './routes/task-events.ts'
import { taskEndpoints } from './routes/tasks.ts'

export interface AppOptions extends HttpConfig {
  readonly version: string
}

export interface AppDependencies {
  readonly accounts: ManageAccounts
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
  const app = new Koa({ proxy: trustedProxies > 0, maxIpsCount: trustedProxies })
  app.on('error', logSendErrors(log))
  if (observers.length > 0) app.use(observe(observers))
  app.use(setCommonHeaders())
  if (trustedProxies === 0) app.use(warnOfUntrustedProxy(log))
  app.use(allowOrigins(corsOrigins))
  app.use(closeConnections(readiness))
  app.use(reportProblems(log))
  app.use(createRouter(options, dependencies).routes())
  app.use(refuseUnmatched)
  return app
}

function createRouter(
  { projectName, version, apiPrefix, rootPath, environment, maxStreamsPerUser }: AppOptions,
  { accounts, tasks, sync, readiness, limits }: AppDependencies,
): Router {
  const streams = new OpenStreams(maxStreamsPerUser, readiness.shutdown)
  const endpoints = [
    ...probeEndpoints(environment, () => readiness.check()),
    ...accountEndpoints(apiPrefix, accounts),
    taskBatchEndpoint(apiPrefix, tasks),
    taskChangesEndpoint(apiPrefix, sync, streams),
    taskEventsEndpoint(apiPrefix, sync, streams),
    ...taskEndpoints(apiPrefix, tasks, rootPath),
  ]
  const about = { title: projectName, version, loginPath: `${apiPrefix}/auth/login` }
  const router = new Router({ strict: true, sensitive: true })
  refuseShadowed(router, endpoints)
  for (const each of [...endpoints, openApiEndpoint(about, endpoints)]) mount(router, each, accounts, limits)
  mountDocs(router, projectName)
  return router
}
