/** SQL on the lists that TaskListRecord describes. */
import { randomBytes } from 'node:crypto'
import { type Kysely, sql } from 'kysely'
import { bigint, preparedQuery } from './prepared-query.ts'
import type { Tables } from './records.ts'
import type { ListState } from './store.ts'

export const newEpoch = (): string => randomBytes(4).toString('hex')

type OwnedList = ListState & { readonly owner: number }

/** Queries for a store with one writer, whose transactions need no other lock. */
export const singleListQueries = (kysely: Kysely<Tables>) => ({
  read: preparedQuery(({ owner }: { owner: number }) =>
    kysely.selectFrom('task_lists').select(['revision', 'size']).where('owner_id', '=', bigint(owner)),
  ),
  set: preparedQuery(({ owner, revision, size }: OwnedList) =>
    kysely.updateTable('task_lists').set({ revision, size }).where('owner_id', '=', bigint(owner)),
  ),
})

interface Owners {
  readonly owners: readonly number[]
}

interface OwnedLists extends Owners {
  readonly revisions: readonly number[]
  readonly sizes: readonly number[]
}

/** Queries for a store that locks several lists at once. Every writer locks them in the same order to avoid deadlocks. */
export function listGroupQueries(kysely: Kysely<Tables>) {
  const array = (values: readonly number[]) => sql`cast(${values} as bigint[])`
  const locked = ({ owners }: Owners) =>
    kysely
      .selectFrom('task_lists')
      .select(['owner_id', 'revision', 'size'])
      .where('owner_id', '=', sql<number>`any(${array(owners)})`)
      .orderBy('owner_id')
      .forUpdate()
  return {
    lock: preparedQuery(locked),
    lockUnlocked: preparedQuery((owners: Owners) => locked(owners).skipLocked()),
    set: preparedQuery(({ owners, revisions, sizes }: OwnedLists) =>
      kysely
        .updateTable('task_lists')
        .from(
          sql<OwnedList>`unnest(${array(owners)}, ${array(revisions)}, ${array(sizes)})`.as<'raised'>(
            sql`raised (owner, revision, size)`,
          ),
        )
        .set(({ ref }) => ({ revision: ref('raised.revision'), size: ref('raised.size') }))
        .whereRef('owner_id', '=', 'raised.owner'),
    ),
  }
}
