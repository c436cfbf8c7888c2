/** Milliseconds by which the clocks of two instances may differ. */
export const MAX_CLOCK_SKEW = 10_000

export interface Clock {
  now(): Date
}
