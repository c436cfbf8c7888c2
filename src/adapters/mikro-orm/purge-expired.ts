import { bigint, preparedQuery } from './prepared-query.ts'
import type { Store } from './store.ts'

/** Maximum number of rows that one statement finds. An owner has few expired rows, so one transaction deletes all of them. */
const PORTION = 500

interface Before {
  readonly before: Date
}

interface OwnedBefore extends Before {
  readonly ownerId: number
}

interface Owned {
  readonly ownerId: number
  readonly ids: readonly number[]
}

/** A column with an index. */
type Expiry = readonly ['sessions', 'created_at' | 'last_used_at'] | readonly ['api_tokens', 'expires_at']

function expiryQueries({ kysely, isAnyOf }: Store, [name, column]: Expiry) {
  // Both tables have these columns; with a union of tables, the types are too complex for the compiler.
  const table = name as 'api_tokens'
  const expired = ({ before }: Before) => kysely.selectFrom(table).where(column as 'expires_at', '<', before as never)
  return {
    /** Without `distinct`, for which SQLite would read the whole index of owners. */
    owners: preparedQuery((before: Before) =>
      expired(before)
        .select('owner_id')
        .orderBy(column as 'expires_at')
        .limit(PORTION),
    ),
    expired: preparedQuery(({ ownerId, before }: OwnedBefore) =>
      expired({ before }).select('id').where('owner_id', '=', bigint(ownerId)),
    ),
    remove: preparedQuery(({ ownerId, ids }: Owned) =>
      kysely.deleteFrom(table).where('owner_id', '=', bigint(ownerId)).where(isAnyOf('id', ids)),
    ),
  }
}

/** Purges the rows of one owner after the other, under the lock of the owner's list, like every write of these rows. */
export async function purgeExpired(store: Store, expiry: Expiry, before: Date): Promise<void> {
  const { owners, expired, remove } = expiryQueries(store, expiry)
  for (;;) {
    const found = await store.read(owners({ before }))
    for (const ownerId of new Set(found.map(({ owner_id }) => owner_id))) {
      await store.transact({
        owner: ownerId,
        reads: { expired: expired({ ownerId, before }) },
        decide: ({ expired }) => ({
          writes: expired.length > 0 ? [remove({ ownerId, ids: expired.map(({ id }) => id) })] : [],
          result: () => undefined,
        }),
      })
    }
    if (found.length < PORTION) return
  }
}
