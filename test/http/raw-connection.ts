import { connect, type Socket } from 'node:net'
import type { Answer } from './documented.ts'

/** A connection that sends the test's bytes and reads responses one by one. */
export class RawConnection {
  readonly socket: Socket
  #received = Buffer.alloc(0)
  #ended = false
  #changed: () => void = () => undefined

  constructor(url: string) {
    this.socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true })
    this.socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#changed()
    })
    for (const end of ['end', 'error', 'close']) {
      this.socket.on(end, () => {
        this.#ended = true
        this.#changed()
      })
    }
  }

  /** Resolves once the operating system has the bytes or the connection is closed. */
  send(bytes: string | Buffer): Promise<void> {
    return new Promise((resolve) => {
      if (this.socket.destroyed) resolve()
      else this.socket.write(bytes, () => resolve())
    })
  }

  /** Reads the next response, final or interim. @returns undefined when the connection ends first */
  async answer(method = 'GET'): Promise<Answer | undefined> {
    for (;;) {
      const headEnd = this.#received.indexOf('\r\n\r\n')
      const head = headEnd < 0 ? undefined : parseHead(this.#received.subarray(0, headEnd).toString('latin1'))
      const bodyLength =
        head === undefined || method === 'HEAD' || head.status < 200 ? 0 : Number(head.headers['content-length'] ?? 0)
      const end = headEnd + 4 + bodyLength
      if (head !== undefined && this.#received.length >= end) {
        const text = this.#received.subarray(headEnd + 4, end).toString()
        this.#received = this.#received.subarray(end)
        return { ...head, text }
      }
      if (this.#ended) return undefined
      await this.#change()
    }
  }

  /** Resolves once the server has closed its side. @returns the bytes after the last response */
  async end(): Promise<string> {
    while (!this.#ended) await this.#change()
    return this.#received.toString()
  }

  close(): void {
    this.socket.destroy()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve
    })
  }
}

function parseHead(head: string): Pick<Answer, 'status' | 'headers'> {
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers = lines.map((line) => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  })
  return { status: Number(statusLine.split(' ')[1]), headers: Object.fromEntries(headers) }
}
