/**
 * Queries on the lists that TaskListRecord describes. A user who registered with the previous release has no list until the
 * first write creates one.
 */
import { type Kysely, sql } from 'kysely'
import { preparedQuery } from './prepared-query.ts'
import type { Tables } from './records.ts'

/** Raises the counter of a list by one. */
export const raiseList = (kysely: Kysely<Tables>, ownerId: number) =>
  kysely
    .insertInto('task_lists')
    .values({ owner_id: ownerId, revision: 1 })
    .onConflict((list) =>
      list.column('owner_id').doUpdateSet(({ ref }) => ({ revision: sql`${ref('task_lists.revision')} + 1` })),
    )

/** Queries for a store with one writer, whose transactions need no other lock. */
export const singleListQueries = (kysely: Kysely<Tables>) => ({
  revision: preparedQuery(({ owner }: { owner: number }) =>
    kysely.selectFrom('task_lists').select('revision').where('owner_id', '=', owner),
  ),
  setRevision: preparedQuery(({ owner, revision }: { owner: number; revision: number }) =>
    kysely
      .insertInto('task_lists')
      .values({ owner_id: owner, revision })
      .onConflict((list) => list.column('owner_id').doUpdateSet({ revision })),
  ),
})

interface Owners {
  readonly owners: readonly number[]
}

/** Queries for a store that locks several lists at once, always in the same order, so that writers cannot deadlock. */
export function listGroupQueries(kysely: Kysely<Tables>) {
  const anyOf = (owners: readonly number[]) => sql<number>`any(cast(${owners} as bigint[]))`
  const locked = ({ owners }: Owners) =>
    kysely
      .selectFrom('task_lists')
      .select(['owner_id', 'revision'])
      .where('owner_id', '=', anyOf(owners))
      .orderBy('owner_id')
      .forUpdate()
  return {
    lock: preparedQuery(locked),
    lockUnlocked: preparedQuery((owners: Owners) => locked(owners).skipLocked()),
    create: preparedQuery(({ owners }: Owners) =>
      kysely
        .insertInto('task_lists')
        .columns(['owner_id'])
        .expression(
          kysely
            .selectFrom('users')
            .select('id')
            .where('id', '=', anyOf(owners))
            .where(({ not, exists, selectFrom }) =>
              not(exists(selectFrom('task_lists').select('owner_id').whereRef('owner_id', '=', 'users.id'))),
            ),
        )
        .onConflict((list) => list.doNothing()),
    ),
    setRevisions: preparedQuery(({ owners, revisions }: Owners & { revisions: readonly number[] }) =>
      kysely
        .updateTable('task_lists')
        .from(
          sql<{
            owner: number
            revision: number
          }>`unnest(cast(${owners} as bigint[]), cast(${revisions} as bigint[]))`.as<'raised'>(
            sql`raised (owner, revision)`,
          ),
        )
        .set(({ ref }) => ({ revision: ref('raised.revision') }))
        .whereRef('owner_id', '=', 'raised.owner'),
    ),
  }
}
