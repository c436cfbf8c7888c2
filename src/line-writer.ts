/** Milliseconds before writing to a full pipe again. */
const RETRY_DELAY = 10
const RETRIED = new Set(['EAGAIN', 'EBUSY', 'EINTR'])

const LINE_FEED = 0x0a
const EMPTY = Buffer.alloc(0)

/**
 * Writes whole lines and never throws. While the disk is full or the reader is gone, it drops and counts lines; the next
 * successful write starts with a line that says how many are missing.
 */
export class LineWriter {
  readonly #write: (bytes: Buffer) => number
  readonly #notice: (lost: number) => string
  /** Remainder of a line that was cut off when the disk became full. */
  #rest: Buffer = EMPTY
  #lost = 0

  /**
   * @param write returns how many bytes it wrote, as `fs.writeSync` does, or throws its errors
   * @param notice formats the line that reports lost ones
   */
  constructor(write: (bytes: Buffer) => number, notice: (lost: number) => string) {
    this.#write = write
    this.#notice = notice
  }

  write(lines: string): void {
    const notice = this.#lost > 0 ? this.#notice(this.#lost) : ''
    const text = Buffer.from(notice + lines)
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, text]) : text
    const written = this.#writeWhilePossible(bytes)
    if (written === bytes.length) {
      this.#lost = 0
      this.#rest = EMPTY
      return
    }
    const inLine = written > 0 ? bytes[written - 1] !== LINE_FEED : this.#rest.length > 0
    const end = inLine ? bytes.indexOf(LINE_FEED, written) + 1 : written
    const noticed = notice === '' || end > this.#rest.length
    const dropped = countLines(bytes, end)
    this.#lost = noticed ? dropped : this.#lost + dropped - 1
    this.#rest = Buffer.from(bytes.subarray(written, end))
  }

  /** @returns how many bytes were written before the first error */
  #writeWhilePossible(bytes: Buffer): number {
    let written = 0
    while (written < bytes.length) {
      try {
        written += this.#write(written === 0 ? bytes : bytes.subarray(written))
      } catch (error) {
        if (!RETRIED.has((error as NodeJS.ErrnoException).code ?? '')) return written
        // The pipe is full: block until its reader continues, so that no line is lost.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_DELAY)
      }
    }
    return written
  }
}

function countLines(bytes: Buffer, from: number): number {
  let count = 0
  for (let at = bytes.indexOf(LINE_FEED, from); at !== -1; at = bytes.indexOf(LINE_FEED, at + 1)) count++
  return count
}
