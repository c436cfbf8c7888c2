import { expect } from 'chai'
import { HttpError, toProblem } from '#src/adapters/http/endpoint/problems.ts'
import { Overloaded, StoreUnavailable, TooManyRequests } from '#src/domain/errors.ts'

const retryAfter = (error: Error) => toProblem(error, '/').headers['Retry-After']

describe('Retry-After', () => {
  it('is five seconds if the service cannot know when it recovers', () => {
    const temporary = [
      new StoreUnavailable(new Error('unreachable')),
      new Overloaded(),
      new HttpError('store_too_slow'),
      new HttpError('shutting_down'),
    ]
    for (const error of temporary) expect(retryAfter(error), error.constructor.name).to.equal('5')
  })

  it('is the end of the rate-limit window for too many requests', () => {
    expect(retryAfter(new TooManyRequests(42))).to.equal('42')
  })

  it('is absent if a retry would fail as well', () => {
    expect(retryAfter(new HttpError('route_not_found'))).to.equal(undefined)
    expect(retryAfter(new Error('unexpected'))).to.equal(undefined)
  })
})
