/** An event stream, a long poll or an export in progress. */
export interface OpenStream extends Disposable {
  /** Aborts when the client leaves, a later stream takes the place, or the service shuts down. */
  readonly signal: AbortSignal
  end(): void
}

/** The open streams of this process: limits their number per user, and ends all of them at shutdown. */
export class OpenStreams {
  readonly #maxPerUser: number
  readonly #shutdown: AbortSignal
  /** By user id; oldest first. */
  readonly #ofUser = new Map<number, Set<AbortController>>()

  constructor(maxPerUser: number, shutdown: AbortSignal) {
    this.#maxPerUser = maxPerUser
    this.#shutdown = shutdown
  }

  /** If the user has too many streams, ends the oldest one. */
  open(userId: number, clientLeft: AbortSignal): OpenStream {
    const streams = this.#ofUser.get(userId) ?? new Set()
    const stream = new AbortController()
    this.#ofUser.set(userId, streams.add(stream))
    const close = () => {
      streams.delete(stream)
      if (streams.size === 0) this.#ofUser.delete(userId)
    }
    for (const oldest of streams) {
      if (streams.size <= this.#maxPerUser) break
      streams.delete(oldest)
      oldest.abort()
    }
    return {
      signal: AbortSignal.any([stream.signal, clientLeft, this.#shutdown]),
      end: () => stream.abort(),
      [Symbol.dispose]: close,
    }
  }
}
