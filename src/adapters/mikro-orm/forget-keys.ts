import { bigint, preparedQuery } from './prepared-query.ts'
import { type Store, writing } from './store.ts'

interface Before {
  readonly before: Date
}

/** Rows that one transaction deletes. */
const PORTION = 500

function forgetQueries({ kysely }: Store) {
  const earlier = ({ before }: Before) =>
    kysely.selectFrom('idempotency_keys').where('created_at', '<', before as never)
  return {
    owners: preparedQuery((before: Before) => earlier(before).select('owner_id').distinct().limit(PORTION)),
    purge: preparedQuery(({ ownerId, before }: Before & { readonly ownerId: number }) =>
      kysely
        .deleteFrom('idempotency_keys')
        .where('owner_id', '=', bigint(ownerId))
        .where(({ eb, refTuple }) =>
          eb(
            refTuple('scope', 'key'),
            'in',
            earlier({ before })
              .select(['scope', 'key'])
              .where('owner_id', '=', bigint(ownerId))
              .limit(PORTION)
              .$asTuple('scope', 'key'),
          ),
        ),
    ),
  }
}

/** Purges the results of requests with an idempotency key, in portions between which others write. */
export async function forgetKeys(store: Store, before: Date): Promise<void> {
  const { owners, purge } = forgetQueries(store)
  for (;;) {
    const found = await store.read(owners({ before }))
    if (found.length === 0) return
    for (const { owner_id: ownerId } of found) {
      await store.transact({ ...writing(purge({ ownerId, before })), owner: ownerId })
    }
  }
}
