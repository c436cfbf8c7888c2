import { expect } from 'chai'
import {
  type DomainError,
  EmailAlreadyTaken,
  IdempotencyKeyInUse,
  IdempotencyKeyReused,
  InvalidCredentials,
  InvalidInput,
  InvalidToken,
  OutcomeUnknown,
  Overloaded,
  StoreUnavailable,
  TaskNotFound,
  TooManyRequests,
} from '#src/domain/errors.ts'

const errors: readonly (readonly [DomainError, string, string])[] = [
  [new InvalidInput([]), 'invalid', 'invalid_input'],
  [new TaskNotFound(), 'not-found', 'task_not_found'],
  [new IdempotencyKeyReused(), 'invalid', 'idempotency_key_reused'],
  [new IdempotencyKeyInUse(), 'conflict', 'idempotency_key_in_use'],
  [new EmailAlreadyTaken(), 'conflict', 'email_taken'],
  [new InvalidCredentials(), 'unauthenticated', 'invalid_credentials'],
  [new InvalidToken(), 'unauthenticated', 'invalid_token'],
  [new StoreUnavailable(new Error('10.0.0.7 refused')), 'unavailable', 'store_unavailable'],
  [new OutcomeUnknown(new Error('10.0.0.7 refused')), 'unavailable', 'outcome_unknown'],
  [new Overloaded(), 'unavailable', 'overloaded'],
  [new TooManyRequests(1), 'too-many', 'too_many_requests'],
]

describe('A domain error', () => {
  for (const [error, kind, code] of errors) {
    it(`${code} has a kind, the name of its class and a sentence as message`, () => {
      expect(error).to.include({ kind, code, name: error.constructor.name })
      expect(error.message).to.match(/^[A-Z].*\.$/)
    })
  }

  it('keeps the cause of a store failure out of its message', () => {
    const cause = new Error('10.0.0.7 refused')
    for (const error of [new StoreUnavailable(cause), new OutcomeUnknown(cause)]) {
      expect(error.cause).to.equal(cause)
      expect(error.message).to.not.include('10.0.0.7')
    }
  })
})
