import { bigint, preparedQuery } from './prepared-query.ts'
import { type Store, writing } from './store.ts'

/** Maximum number of rows that one transaction deletes. */
const PORTION = 500

interface Before {
  readonly before: Date
}

interface Deletions {
  readonly ownerId: number
  readonly revisions: readonly number[]
}

interface Forgotten {
  readonly ownerId: number
  readonly revision: number
}

function purgeQueries({ kysely, isAnyOf }: Store) {
  return {
    oldest: preparedQuery(({ before }: Before) =>
      kysely
        .selectFrom('tombstones')
        .select(['owner_id', 'revision'])
        .where('deleted_at', '<', before as never)
        .orderBy('deleted_at')
        .limit(PORTION),
    ),
    raise: preparedQuery(({ ownerId, revision }: Forgotten) =>
      kysely
        .updateTable('task_lists')
        .set({ forgotten: revision })
        .where('owner_id', '=', bigint(ownerId))
        .where('forgotten', '<', bigint(revision)),
    ),
    purge: preparedQuery(({ ownerId, revisions }: Deletions) =>
      kysely.deleteFrom('tombstones').where('owner_id', '=', bigint(ownerId)).where(isAnyOf('revision', revisions)),
    ),
  }
}

/**
 * Purges tombstones in portions, so that other transactions write in between. A replica that has not read them must start again.
 */
export async function purgeDeletions(store: Store, before: Date): Promise<void> {
  const { oldest, raise, purge } = purgeQueries(store)
  for (;;) {
    const found = await store.read(oldest({ before }))
    // In the order of owners, in which all writers lock their lists.
    const lists = [...Map.groupBy(found, ({ owner_id }) => owner_id)].sort(([one], [other]) => one - other)
    const purges = lists.map(([ownerId, rows]) => {
      const revisions = rows.map(({ revision }) => revision)
      const writes = writing(raise({ ownerId, revision: Math.max(...revisions) }), purge({ ownerId, revisions }))
      return store.transact({ ...writes, owner: ownerId })
    })
    await Promise.all(purges)
    if (found.length < PORTION) return
  }
}
