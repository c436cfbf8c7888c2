import { NUMBERED_TABLES, TaskListRecord } from '../records.ts'

type Execute = (sql: string) => Promise<unknown>

/** More ids or revisions than are assigned between a backup and its restore. */
const UNKNOWN = 1_000_000

/**
 * Raises the counters, so that ids and revisions lost in a restore or a failover are not assigned again, and ends every
 * position in a change feed.
 *
 * @param schema of the tables
 */
export async function raiseCounters(execute: Execute, schema: string): Promise<void> {
  const table = (name: string) => `"${schema.replaceAll('"', '""')}"."${name}"`
  await execute(`update ${table(TaskListRecord.tableName)} set revision = revision + ${UNKNOWN},
    epoch = substr(md5(cast(random() as text)), 1, 8)`)
  for (const name of NUMBERED_TABLES) {
    const sequence = `pg_get_serial_sequence('${table(name).replaceAll("'", "''")}', 'id')`
    await execute(`select setval(${sequence}, nextval(${sequence}) + ${UNKNOWN})`)
  }
}
