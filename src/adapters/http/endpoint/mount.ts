import type Router from '@koa/router'
import type { Authenticator } from './access.ts'
import { type Endpoint, limitOf } from './endpoint.ts'
import { type RoutedContext, requestParser } from './input.ts'
import { type Limits, limitBy } from './limits.ts'
import { HttpError } from './problems.ts'
import { send } from './reply.ts'

/** Serves an endpoint. Everything that does not depend on the request is computed here, at start-up. */
export function mount(router: Router, endpoint: Endpoint, signIn: Authenticator, limits: Limits): void {
  const { access, path, responses } = endpoint
  const bucket = limitOf(endpoint)
  const limiter = bucket && limits[bucket]
  const limit = limiter && limitBy(limiter)
  const parseRequest = requestParser(endpoint)

  const serve = async (ctx: RoutedContext) => {
    ctx.state.route = path
    let caller = await access.authenticate(ctx, signIn)
    if (limit) await limit(ctx, access.limitKey(caller), 1)
    access.authorize(caller)
    const isWhole = ctx.req.complete
    const request = await parseRequest(ctx)
    // The credential may have ended while a slow body arrived. A short body arrives with the head.
    if (!isWhole && endpoint.body && access.needs !== 'nothing') {
      caller = await access.authenticate(ctx, signIn)
      access.authorize(caller)
    }
    const others = (endpoint.countOf?.(request.body) ?? 1) - 1
    if (limit && others > 0) await limit(ctx, access.limitKey(caller), others)
    send(ctx, responses, await endpoint.handle({ caller, ...request }))
  }
  router.register(koaPath(path), [endpoint.method], serve)
}

/**
 * Refuses the methods that a path such as `/tasks/batch` lacks but a matching template, `/tasks/{id}`, has. Call this before
 * mounting the endpoints.
 */
export function refuseShadowed(router: Router, endpoints: readonly Endpoint[]): void {
  for (const [path, own] of Map.groupBy(endpoints, (endpoint) => endpoint.path)) {
    const methods: readonly string[] = own.map(({ method }) => method)
    const others = endpoints.filter((endpoint) => isTemplateOf(endpoint.path, path)).map(({ method }) => method)
    const Allow = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : method)).join(', ')
    const refused = others.filter((method) => !methods.includes(method))
    if (refused.length === 0) continue
    router.register(path, refused, () => {
      throw new HttpError('method_not_allowed', { Allow })
    })
  }
}

/** The router takes the first path that matches: `/tasks/batch` before `/tasks/{id}`. */
export const fixedPathsFirst = (endpoints: readonly Endpoint[]): readonly Endpoint[] =>
  endpoints.toSorted((one, other) => Number(one.path.includes('{')) - Number(other.path.includes('{')))

const isTemplateOf = (template: string, path: string) =>
  template !== path && new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path)

const koaPath = (path: string) => path.replaceAll(/\{(\w+)\}/g, ':$1')
