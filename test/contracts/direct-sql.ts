import BetterSqlite3 from 'better-sqlite3'
import pg from 'pg'

/** Runs SQL on a connection of its own. */
export type Sql = (text: string) => Promise<Record<string, unknown>[]>

export const directSql = (databaseUrl: string): Sql =>
  databaseUrl.startsWith('sqlite:') ? onSqlite(databaseUrl.slice('sqlite:///'.length)) : onPostgresql(databaseUrl)

const onSqlite =
  (path: string): Sql =>
  async (text) => {
    const database = new BetterSqlite3(path)
    try {
      const statement = database.prepare<unknown[], Record<string, unknown>>(text)
      return statement.reader ? statement.all() : [statement.run() as object as Record<string, unknown>]
    } finally {
      database.close()
    }
  }

const onPostgresql =
  (url: string): Sql =>
  async (text) => {
    const client = new pg.Client(url)
    await client.connect()
    try {
      return (await client.query(text)).rows
    } finally {
      await client.end()
    }
  }
