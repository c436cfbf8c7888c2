import type Router from '@koa/router'
import type { ManageAccounts } from '../../../domain/accounts/manage-accounts.ts'
import { type Endpoint, limitOf } from './endpoint.ts'
import { type RoutedContext, requestParser } from './input.ts'
import { type Limits, limitBy } from './limits.ts'
import { send } from './reply.ts'

/** Serves an endpoint. Everything that does not depend on the request is computed here, at start-up. */
export function mount(router: Router, endpoint: Endpoint, accounts: ManageAccounts, limits: Limits): void {
  const { access, path, responses } = endpoint
  const bucket = limitOf(endpoint)
  const limiter = bucket && limits[bucket]
  const limit = limiter && limitBy(limiter)
  const parseRequest = requestParser(endpoint)

  const serve = async (ctx: RoutedContext) => {
    ctx.state.route = path
    const caller = await access.authorize(ctx, accounts)
    if (limit) await limit(ctx, access.limitKey(caller))
    send(ctx, responses, await endpoint.handle({ caller, ...(await parseRequest(ctx)) }))
  }
  router.register(koaPath(path), [endpoint.method], serve)
}

const koaPath = (path: string) => path.replaceAll(/\{(\w+)\}/g, ':$1')
