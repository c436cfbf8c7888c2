import { AssertionError } from 'chai'
import { InvalidInput } from '#src/domain/errors.ts'

/** The violations that the call throws, as `member: code` in their order; none if it succeeds. */
export function violations(call: () => unknown): string[] {
  try {
    call()
  } catch (error) {
    if (error instanceof InvalidInput) return namesOf(error)
    throw error
  }
  return []
}

/** @throws AssertionError when the promise resolves; otherwise any reason but InvalidInput */
export async function violationsOf(promise: Promise<unknown>): Promise<string[]> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof InvalidInput) return namesOf(error)
  throw error ?? new AssertionError('expected the input to be refused')
}

const namesOf = ({ violations }: InvalidInput) => violations.map(({ member, code }) => `${member}: ${code}`)
