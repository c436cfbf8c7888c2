import { AssertionError } from 'chai'
import { InvalidInput } from '#src/domain/errors.ts'

/** What the call is refused for, as `member: code` in the order it is reported; nothing when it is not refused. */
export function violations(call: () => unknown): string[] {
  try {
    call()
  } catch (error) {
    if (error instanceof InvalidInput) return namesOf(error)
    throw error
  }
  return []
}

/** @throws AssertionError when the promise is kept, or broken for another reason than input. */
export async function violationsOf(promise: Promise<unknown>): Promise<string[]> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof InvalidInput) return namesOf(error)
  throw error ?? new AssertionError('expected the input to be refused')
}

const namesOf = ({ violations }: InvalidInput) => violations.map(({ member, code }) => `${member}: ${code}`)
