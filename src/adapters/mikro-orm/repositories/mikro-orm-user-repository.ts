import { sql } from 'kysely'
import type { UserRepository } from '../../../domain/accounts/ports.ts'
import type { User, UserDraft, UserSnapshot } from '../../../domain/accounts/user.ts'
import { EmailAlreadyTaken } from '../../../domain/errors.ts'
import { bigint, preparedQuery } from '../prepared-query.ts'
import { toUser, toUserColumns, USERS_EMAIL_UNIQUE, userColumns } from '../records.ts'
import { type Store, writing } from '../store.ts'
import { violates } from '../store-errors.ts'
import { newEpoch } from '../task-lists.ts'

type HashReplacement = Pick<UserSnapshot, 'id' | 'hashedPassword'> & { readonly hash: string }

function userQueries({ kysely, milliseconds }: Store) {
  const columns = userColumns(milliseconds)
  const users = kysely.selectFrom('users').select(columns)
  return {
    add: preparedQuery((draft: UserDraft) =>
      kysely.insertInto('users').values(toUserColumns(draft)).returning(columns),
    ),
    makeList: preparedQuery(({ email, epoch }: { email: string; epoch: string }) =>
      kysely
        .insertInto('task_lists')
        .columns(['owner_id', 'epoch'])
        .expression(
          kysely
            .selectFrom('users')
            .select(['id', sql`cast(${epoch} as text)`.as('epoch')])
            .where('email', '=', email),
        ),
    ),
    replaceHash: preparedQuery(({ id, hashedPassword, hash }: HashReplacement) =>
      kysely
        .updateTable('users')
        .set({ hashed_password: hash })
        .where('id', '=', bigint(id))
        .where('hashed_password', '=', hashedPassword),
    ),
    byId: preparedQuery(({ id }: { id: number }) => users.where('id', '=', bigint(id))),
    byEmail: preparedQuery(({ email }: { email: string }) => users.where('email', '=', email)),
  }
}

export class MikroOrmUserRepository implements UserRepository {
  readonly #store: Store
  readonly #queries: ReturnType<typeof userQueries>

  constructor(store: Store) {
    this.#store = store
    this.#queries = userQueries(store)
  }

  async add(draft: UserDraft): Promise<User> {
    try {
      const { add, makeList } = this.#queries
      const [user] = (await this.#store.transact(writing(add(draft), makeList({ ...draft, epoch: newEpoch() })))).map(
        toUser,
      )
      return user as User
    } catch (error) {
      throw violates(error, USERS_EMAIL_UNIQUE) ? new EmailAlreadyTaken() : error
    }
  }

  async replaceHash({ id, hashedPassword }: Pick<UserSnapshot, 'id' | 'hashedPassword'>, hash: string): Promise<void> {
    await this.#store.transact(writing(this.#queries.replaceHash({ id, hashedPassword, hash })))
  }

  async findById(id: number): Promise<User | undefined> {
    const [user] = (await this.#store.read(this.#queries.byId({ id }))).map(toUser)
    return user
  }

  async findByEmail(email: string): Promise<User | undefined> {
    const [user] = (await this.#store.read(this.#queries.byEmail({ email }))).map(toUser)
    return user
  }
}
