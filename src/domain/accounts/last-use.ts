const MINUTE = 60_000

/**
 * Whether the use of a credential is to be written: at most once a minute, so that reads rarely cause a write.
 *
 * @param lastUsedAt null before the first use
 */
export const isUseDue = (lastUsedAt: Date | null, now: Date): boolean =>
  lastUsedAt === null || now.getTime() - lastUsedAt.getTime() >= MINUTE
