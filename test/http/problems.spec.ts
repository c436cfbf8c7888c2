import { expect } from 'chai'
import { HttpError, toProblem } from '#src/adapters/http/endpoint/problems.ts'
import { Overloaded, StoreUnavailable, TooManyRequests } from '#src/domain/errors.ts'

const retryAfter = (error: Error) => toProblem(error, '/').headers['Retry-After']

describe('The Retry-After of a problem', () => {
  it('is five seconds where the service cannot know when it can serve again', () => {
    const passing = [
      new StoreUnavailable(new Error('away')),
      new Overloaded(),
      new HttpError('store_too_slow'),
      new HttpError('shutting_down'),
    ]
    for (const error of passing) expect(retryAfter(error), error.constructor.name).to.equal('5')
  })

  it('is the end of the window where there were too many requests', () => {
    expect(retryAfter(new TooManyRequests(42))).to.equal('42')
  })

  it('is absent where another try would fail as well', () => {
    expect(retryAfter(new HttpError('route_not_found'))).to.equal(undefined)
    expect(retryAfter(new Error('a mistake of ours'))).to.equal(undefined)
  })
})
