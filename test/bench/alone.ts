/** Measures the overhead of group commit for a group of one write, in this process and without HTTP. */
import { join } from 'node:path'
import { Batcher } from '#src/adapters/mikro-orm/group-commit.ts'
import { statement } from '#src/adapters/mikro-orm/prepared-query.ts'
import { openSqliteWriter, runInOneTransaction } from '#src/adapters/mikro-orm/sqlite/sqlite-store.ts'
import { median } from './load.ts'
import { folder } from './servers.ts'

const WRITES = 500
const TEXT = 'Tag it, publish it, write the notes, tell the people who asked for it.'
const INSERT = 'insert into notes (text) values (?) returning id'

/** @returns writes per second through group commit, relative to plain commits: the median of the rounds */
export async function singleWriteRatio(rounds: number): Promise<number> {
  const database = openSqliteWriter(join(folder, 'alone.db'))
  database.exec('create table notes (id integer primary key, text text)')
  const writes = new Batcher(runInOneTransaction(database))
  const insert = database.prepare(INSERT)
  const writers = {
    group: () => writes.add((run) => run(statement(INSERT, [TEXT]))),
    commit: async () => insert.all(TEXT),
  }
  const milliseconds = async (write: () => Promise<unknown>) => {
    const start = performance.now()
    for (let written = 0; written < WRITES; written++) await write()
    return performance.now() - start
  }
  const ratios: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const inGroup = await milliseconds(writers.group)
    ratios.push((await milliseconds(writers.commit)) / inGroup)
  }
  database.close()
  return median(ratios.slice(1)) // the first round warms up
}
