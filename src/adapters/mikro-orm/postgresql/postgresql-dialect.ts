import { type DatabaseConnection, PostgresDialect, type PostgresDialectConfig, PostgresDriver } from 'kysely'

/** For MikroORM, whose migrations are transactions. */
export class ReleasingDialect extends PostgresDialect {
  readonly #config: PostgresDialectConfig

  constructor(config: PostgresDialectConfig) {
    super(config)
    this.#config = config
  }

  override createDriver(): PostgresDriver {
    return new ReleasingDriver(this.#config)
  }
}

class ReleasingDriver extends PostgresDriver {
  /** The server rolls back what it has cut; an error here would keep the connection from the pool, which waits for it. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await super.rollbackTransaction(connection).catch(() => undefined)
  }
}
