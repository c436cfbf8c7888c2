import { createHash, createHmac } from 'node:crypto'

/**
 * The longest input of a single call: UTF-16 code units for `normalize` and regular expressions, bytes for hashes, and
 * parameters for `URLSearchParams`, whose time is quadratic in Node 24.
 */
export interface Reads {
  normalize: number
  regularExpression: number
  hash: number
  parameters: number
}

/** The longest inputs, during `work`, of functions whose time may grow faster than their input. */
export async function readsOf(work: () => unknown): Promise<Reads> {
  const longest: Reads = { normalize: 0, regularExpression: 0, hash: 0, parameters: 0 }
  const note = (reader: keyof Reads, units: number) => {
    longest[reader] = Math.max(longest[reader], units)
  }
  const { URLSearchParams } = globalThis
  const restore = [
    replace(String.prototype, 'normalize', (text) => note('normalize', String(text).length)),
    replace(RegExp.prototype, 'exec', (_, text) => note('regularExpression', String(text).length)),
    ...[createHash('sha256'), createHmac('sha256', 'key')].map((hash) =>
      replace(Object.getPrototypeOf(hash), 'update', (_, data) => note('hash', (data as string | Buffer).length)),
    ),
  ]
  globalThis.URLSearchParams = class extends URLSearchParams {
    constructor(...values: ConstructorParameters<typeof URLSearchParams>) {
      super(...values)
      note('parameters', this.size)
    }
  }
  try {
    await work()
  } finally {
    globalThis.URLSearchParams = URLSearchParams
    for (const each of restore) each()
  }
  return longest
}

/** Observes each call of a method before it runs. @returns a function that restores the method */
function replace<Name extends string>(
  owner: { [name in Name]: unknown },
  name: Name,
  observe: (self: unknown, value: unknown) => void,
): () => void {
  const methods = owner as Record<Name, (...values: unknown[]) => unknown>
  const original = methods[name]
  methods[name] = function (this: unknown, ...values: unknown[]) {
    observe(this, values[0])
    return original.apply(this, values)
  }
  return () => {
    methods[name] = original
  }
}
