import type { IncomingMessage } from 'node:http'
import { HttpError } from './problems.ts'

/** `uri-host [":" port]` (RFC 9110, section 7.2). */
const HOST = /^(?:\[[\w\-.~!$&'()*+,;=:]+\]|(?:[\w\-.~!$&'()*+,;=]|%[\da-f]{2})*)(?::\d*)?$/i

/** A host name has at most 253 characters, and a port 5. */
const MAX_HOST = 300

/**
 * Rejects what Node's parser accepts: a Host header that proxies may interpret differently (RFC 9112, section 3.2), and a
 * transfer coding that Node would leave in the body (section 6.1).
 *
 * @throws HttpError
 */
export function checkHead({ headers, rawHeaders }: IncomingMessage): void {
  const { host = '' } = headers
  if (host.length > MAX_HOST || !HOST.test(host) || countHosts(rawHeaders) > 1) throw new HttpError('malformed_host')
  const coding = headers['transfer-encoding']
  if (coding !== undefined && coding.toLowerCase() !== 'chunked')
    throw new HttpError('unsupported_transfer_coding', { Connection: 'close' })
}

/** Counts in `rawHeaders`, because `headers` has only the first Host header. */
function countHosts(rawHeaders: readonly string[]): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string
    if (name.length === 4 && name.toLowerCase() === 'host') count++
  }
  return count
}
