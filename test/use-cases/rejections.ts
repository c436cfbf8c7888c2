import { AssertionError } from 'chai'

/** The reason of the rejection. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new AssertionError('expected the promise to be rejected')
}
