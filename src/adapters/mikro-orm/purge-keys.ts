import { bigint, preparedQuery, type Statement } from './prepared-query.ts'
import { type Store, writing } from './store.ts'

/** Maximum number of rows that one transaction deletes. */
const PORTION = 500

interface Before {
  readonly before: Date
}

interface OldKey extends Before {
  readonly ownerId: number
  readonly scope: string
  readonly key: string
}

function purgeQueries({ kysely }: Store) {
  return {
    oldest: preparedQuery(({ before }: Before) =>
      kysely
        .selectFrom('idempotency_keys')
        .select(['owner_id', 'scope', 'key'])
        .where('created_at', '<', before as never)
        .orderBy('created_at')
        .limit(PORTION),
    ),
    /** Keeps a result that has replaced the old one in the meantime. */
    purge: preparedQuery(({ ownerId, scope, key, before }: OldKey) =>
      kysely
        .deleteFrom('idempotency_keys')
        .where('owner_id', '=', bigint(ownerId))
        .where('scope', '=', scope)
        .where('key', '=', key)
        .where('created_at', '<', before as never),
    ),
  }
}

/** Purges the results of requests with an idempotency key in portions, so that other transactions write in between. */
export async function purgeKeys(store: Store, before: Date): Promise<void> {
  const { oldest, purge } = purgeQueries(store)
  for (;;) {
    const found = await store.read(oldest({ before }))
    // In the order of owners, in which all writers lock their lists.
    const lists = [...Map.groupBy(found, ({ owner_id }) => owner_id)].sort(([one], [other]) => one - other)
    const purges = lists.map(([ownerId, rows]) => {
      const [first, ...others] = rows.map(({ scope, key }) => purge({ ownerId, scope, key, before }))
      return store.transact({ ...writing(first as Statement, ...others), owner: ownerId })
    })
    await Promise.all(purges)
    if (found.length < PORTION) return
  }
}
