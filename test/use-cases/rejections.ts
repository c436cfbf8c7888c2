import { AssertionError } from 'chai'

/** What the promise is broken with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new AssertionError('expected the promise to be rejected')
}
