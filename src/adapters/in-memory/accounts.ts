import type { ApiTokenSnapshot } from '../../domain/accounts/api-token.ts'
import type { SessionSnapshot } from '../../domain/accounts/session.ts'
import type { UserSnapshot } from '../../domain/accounts/user.ts'

/** Rows by id, in ascending order. */
class Table<Row extends { readonly id: number }> extends Map<number, Row> {
  #lastId = 0

  add(draft: Omit<Row, 'id'>): Row {
    const row = { ...draft, id: ++this.#lastId } as Row
    this.set(row.id, row)
    return row
  }
}

interface Owned {
  readonly id: number
  readonly ownerId: number
}

class OwnedTable<Row extends Owned> extends Table<Row> {
  of(ownerId: number): Row[] {
    return Array.from(this.values()).filter((row) => row.ownerId === ownerId)
  }

  find({ id, ownerId }: Owned): Row | undefined {
    const row = this.get(id)
    return row?.ownerId === ownerId ? row : undefined
  }
}

/** The tables that the repositories of accounts share. */
export class Accounts {
  readonly users = new Table<UserSnapshot>()
  readonly sessions = new OwnedTable<SessionSnapshot>()
  readonly apiTokens = new OwnedTable<ApiTokenSnapshot>()
}
