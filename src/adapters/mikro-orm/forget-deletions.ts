import { sql } from 'kysely'
import { bigint, preparedQuery } from './prepared-query.ts'
import { type Store, writing } from './store.ts'

interface Deletions {
  readonly ownerId: number
  readonly before: Date
}

function forgetQueries({ kysely }: Store) {
  const forgotten = (ownerId: number) =>
    kysely.selectFrom('task_lists').select('forgotten').where('owner_id', '=', bigint(ownerId))
  return {
    owners: preparedQuery(({ before }: Pick<Deletions, 'before'>) =>
      kysely
        .selectFrom('tombstones')
        .select('owner_id')
        .distinct()
        .where('deleted_at', '<', before as never),
    ),
    raise: preparedQuery(({ ownerId, before }: Deletions) =>
      kysely
        .updateTable('task_lists')
        .set({
          forgotten: kysely
            .selectFrom('tombstones')
            .select(sql<number>`coalesce(max(revision), forgotten)`.as('revision'))
            .where('owner_id', '=', bigint(ownerId))
            .where('deleted_at', '<', before as never),
        })
        .where('owner_id', '=', bigint(ownerId)),
    ),
    purge: preparedQuery(({ ownerId }: Deletions) =>
      kysely
        .deleteFrom('tombstones')
        .where('owner_id', '=', bigint(ownerId))
        .where('revision', '<=', forgotten(ownerId)),
    ),
  }
}

/** Purges tombstones; a replica that has not seen them has to start again. */
export async function forgetDeletions(store: Store, before: Date): Promise<void> {
  const { owners, raise, purge } = forgetQueries(store)
  for (const { owner_id: ownerId } of await store.read(owners({ before }))) {
    const deletions = { ownerId, before }
    await store.transact({ ...writing(raise(deletions), purge(deletions)), owner: ownerId })
  }
}
