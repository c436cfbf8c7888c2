import type { Context } from 'koa'
import type { Requester } from '../../../domain/accounts/ports.ts'
import { clientNetworkOf } from './client-network.ts'

/** The client closed the connection before the response, so no response is sent. The access log has the request. */
export class ClientLeft extends Error {}

export function requesterOf(ctx: Context): Requester {
  const controller = new AbortController()
  const { req, res } = ctx
  const abort = () => {
    if (!res.writableFinished) controller.abort(new ClientLeft())
  }
  if (res.closed) abort()
  else res.once('close', abort)
  return { clientNetwork: clientNetworkOf(ctx), userAgent: req.headers['user-agent'], signal: controller.signal }
}
