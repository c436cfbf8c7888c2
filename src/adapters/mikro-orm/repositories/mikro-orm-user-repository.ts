import { sql } from 'kysely'
import type { DecideOnUser, UserQuery, UserRepository } from '../../../domain/accounts/ports.ts'
import type { EmailAddress, User, UserDraft, UserSnapshot } from '../../../domain/accounts/user.ts'
import { EmailAlreadyTaken, UserNotFound } from '../../../domain/errors.ts'
import { fold } from '../../../domain/tasks/task-filter.ts'
import { bigint, preparedQuery, type Statement } from '../prepared-query.ts'
import {
  searchable,
  toChangedUserColumns,
  toUser,
  toUserColumns,
  USERS_EMAIL_KEY_UNIQUE,
  USERS_EMAIL_UNIQUE,
  userColumns,
} from '../records.ts'
import { type Decision, type Store, writing } from '../store.ts'
import { violates } from '../store-errors.ts'
import { newEpoch } from '../task-lists.ts'

type Searchable<Given> = ReturnType<typeof searchable<Given & { readonly email: string }>>

interface Id {
  readonly id: number
}

interface HashReplacement extends Id {
  readonly hash: string
}

interface Departure extends Id {
  /** A unique text that is not an address. */
  readonly placeholder: string
  readonly now: Date
}

interface Listing {
  /** The page begins after this id. */
  readonly before: number
  /** Folded. */
  readonly containing: string
  readonly limit: number
}

function userQueries({ kysely, milliseconds, contains }: Store) {
  const columns = userColumns(milliseconds)
  const users = kysely.selectFrom('users').select(columns).where('left_at', 'is', null)
  return {
    add: preparedQuery((draft: Searchable<UserDraft>) =>
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
    replaceHash: preparedQuery(({ id, hash }: HashReplacement) =>
      kysely.updateTable('users').set({ hashed_password: hash }).where('id', '=', bigint(id)),
    ),
    byId: preparedQuery(({ id }: Id) => users.where('id', '=', bigint(id))),
    byEmail: preparedQuery(({ email, emailKey }: EmailAddress) =>
      users
        .where(({ eb, or }) => or([eb('email', '=', email), eb('email_key', '=', emailKey)]))
        .orderBy(sql`case when email = ${email} then 0 else 1 end`)
        .limit(1),
    ),
    list: preparedQuery(({ before, containing, limit }: Listing) =>
      users
        .where('id', '<', bigint(before))
        .where(contains('search', containing))
        .orderBy('id', 'desc')
        .limit(bigint(limit)),
    ),
    otherAdmins: preparedQuery(({ id }: Id) =>
      kysely
        .selectFrom('users')
        .select('id')
        .where('role', '=', sql.lit('admin'))
        .where('disabled', '=', false)
        .where('left_at', 'is', null)
        .where('id', '<>', bigint(id)),
    ),
    save: preparedQuery((user: Searchable<UserSnapshot>) =>
      kysely.updateTable('users').set(toChangedUserColumns(user)).where('id', '=', bigint(user.id)),
    ),
    endSessions: preparedQuery(({ id, except }: Id & { readonly except: number }) =>
      kysely.deleteFrom('sessions').where('owner_id', '=', bigint(id)).where('id', '<>', bigint(except)),
    ),
    leave: preparedQuery(({ id, placeholder, now }: Departure) =>
      kysely
        .updateTable('users')
        .set({ left_at: now, email: placeholder, email_key: null, search: '', hashed_password: '', role: 'user' })
        .where('id', '=', bigint(id)),
    ),
    removeApiTokens: preparedQuery(({ id }: Id) => kysely.deleteFrom('api_tokens').where('owner_id', '=', bigint(id))),
    removeList: preparedQuery(({ id }: Id) => kysely.deleteFrom('task_lists').where('owner_id', '=', bigint(id))),
  }
}

/** Stands for an absent id. */
const NONE = 0

/**
 * All data of a user is written under the lock of the user's list. Every transaction takes this lock first, so that none
 * deadlocks.
 */
export class MikroOrmUserRepository implements UserRepository {
  readonly #store: Store
  readonly #queries: ReturnType<typeof userQueries>
  readonly #onLeft: (id: number) => void

  /** @param onLeft called after the commit that removed a user, whose tasks remain to be deleted */
  constructor(store: Store, onLeft: (id: number) => void = () => {}) {
    this.#store = store
    this.#queries = userQueries(store)
    this.#onLeft = onLeft
  }

  async add(draft: UserDraft): Promise<User> {
    const { add, makeList } = this.#queries
    const row = searchable(draft)
    const adding = this.#store.transact(writing(add(row), makeList({ ...row, epoch: newEpoch() })))
    const [user] = (await adding.catch(throwIfTaken)).map(toUser)
    return user as User
  }

  async findById(id: number): Promise<User | undefined> {
    const [user] = (await this.#store.read(this.#queries.byId({ id }))).map(toUser)
    return user
  }

  async findByEmail(address: EmailAddress): Promise<User | undefined> {
    const [user] = (await this.#store.read(this.#queries.byEmail(address))).map(toUser)
    return user
  }

  async list({ before = Number.MAX_SAFE_INTEGER, containing = '', limit }: UserQuery): Promise<readonly User[]> {
    return (await this.#store.read(this.#queries.list({ before, containing: fold(containing), limit }))).map(toUser)
  }

  async replaceHash({ id, hashedPassword }: Pick<UserSnapshot, 'id' | 'hashedPassword'>, hash: string): Promise<void> {
    const { byId, replaceHash } = this.#queries
    await this.#store.transact({
      owner: id,
      reads: { user: byId({ id }) },
      decide: ({ user: [user] }) => ({
        writes: user?.hashed_password === hashedPassword ? [replaceHash({ id, hash })] : [],
        result: () => undefined,
      }),
    })
  }

  async write(id: number, decide: DecideOnUser): Promise<User | undefined> {
    const { byId, otherAdmins } = this.#queries
    const writing = this.#store.transact({
      owner: id,
      serial: true,
      reads: { user: byId({ id }), otherAdmins: otherAdmins({ id }) },
      decide: ({ user: [row], otherAdmins }) => {
        if (!row) throw new UserNotFound()
        return this.#decide(toUser(row), otherAdmins.length, decide)
      },
    })
    const saved = await writing.catch(throwIfTaken)
    if (!saved) this.#onLeft(id)
    return saved
  }

  #decide(user: User, otherAdmins: number, decide: DecideOnUser): Decision<User | undefined> {
    const { id } = user
    const write = decide(user, otherAdmins)
    if ('remove' in write) return { writes: this.#removal(id), result: () => undefined }
    const { save, endSessions } = write
    const writes: Statement[] = save === user ? [] : [this.#queries.save(searchable(save.snapshot()))]
    if (endSessions) writes.push(this.#queries.endSessions({ id, except: endSessions.except ?? NONE }))
    return { writes, result: () => save }
  }

  #removal(id: number): readonly Statement[] {
    const { leave, endSessions, removeApiTokens, removeList } = this.#queries
    const departure = { id, placeholder: `left ${id}`, now: new Date() }
    return [leave(departure), endSessions({ id, except: NONE }), removeApiTokens({ id }), removeList({ id })]
  }
}

function throwIfTaken(error: unknown): never {
  const taken = violates(error, USERS_EMAIL_UNIQUE) || violates(error, USERS_EMAIL_KEY_UNIQUE)
  throw taken ? new EmailAlreadyTaken() : error
}
