/** A short contract of the repositories, for specs that run it under changed PostgreSQL settings. */
import { expect } from 'chai'
import type pg from 'pg'
import type { UserRepository } from '#src/domain/accounts/ports.ts'
import type { TaskRepository } from '#src/domain/tasks/ports.ts'
import { placeOf, SORT_FIELDS } from '#src/domain/tasks/task-order.ts'
import { anAddress, aTaskDraft, aUserDraft } from '#test/builders.ts'
import { editTask, listTasks, removeTask, storeTask } from '#test/contracts/repositories.ts'

type Settings = Readonly<Record<string, string>>

/** Session settings that change values, durability or plans, with values that an operator may choose. */
export const DANGEROUS: Settings = {
  datestyle: 'SQL, DMY',
  timezone: 'Asia/Kathmandu',
  intervalstyle: 'sql_standard',
  default_transaction_isolation: 'repeatable read',
  default_transaction_deferrable: 'on',
  synchronous_commit: 'off',
  standard_conforming_strings: 'off',
  backslash_quote: 'off',
  extra_float_digits: '-15',
  bytea_output: 'escape',
  client_encoding: 'LATIN1',
  search_path: 'nowhere, public, pg_catalog',
  row_security: 'off',
  array_nulls: 'off',
  transform_null_equals: 'on',
  client_min_messages: 'debug5',
  idle_session_timeout: '1min',
  enable_indexscan: 'off',
  plan_cache_mode: 'force_generic_plan',
  quote_all_identifiers: 'on',
}

/** Other values for some of these settings. */
export const ALTERNATIVES: readonly Settings[] = [
  { datestyle: 'German', default_transaction_isolation: 'serializable', client_encoding: 'SQL_ASCII' },
  { datestyle: 'Postgres, MDY', synchronous_commit: 'local' },
]

/**
 * Changes the settings with which later sessions of the database begin.
 *
 * @param operator a connection that may alter the database
 */
export async function alterDatabase(operator: pg.Client, name: string, settings: Settings): Promise<void> {
  for (const [setting, value] of Object.entries(settings)) {
    const sqlValue = setting === 'search_path' ? value : `'${value}'`
    await operator.query(`alter database ${name} set ${setting} = ${sqlValue}`)
  }
}

const EARLY = new Date('2026-03-05T06:07:08.009Z')
const LATE = new Date('2026-11-12T23:59:59.999Z')

interface Repositories {
  readonly tasks: TaskRepository
  readonly users: UserRepository
}

let userCount = 0

/** Expects that values are stored unchanged and that concurrent edits survive. */
export async function expectContract({ tasks, users }: Repositories): Promise<void> {
  const email = `o'neil\\${userCount++}@例え.jp`
  const draft = aUserDraft({ email, createdAt: EARLY })
  const user = (await users.add(draft)).snapshot()
  expect(user).to.deep.equal({ ...draft, id: user.id })
  expect((await users.findByEmail(anAddress(email)))?.snapshot()).to.deep.equal(user)

  const ownerId = user.id
  const taskDraft = aTaskDraft({
    ownerId,
    title: "\\n' ü 😀",
    description: null,
    due: '2026-02-01',
    tags: ['\\', '"'],
    createdAt: EARLY,
    updatedAt: LATE,
  })
  const task = (await storeTask(tasks, taskDraft)).snapshot()
  expect(task).to.deep.equal({ ...taskDraft, id: task.id, revision: 1 })
  expect((await tasks.get(task)).snapshot()).to.deep.equal(task)
  expect((await listTasks(tasks, ownerId)).map((each) => each.snapshot())).to.deep.equal([task])

  const times = Array.from({ length: 12 }, (_, index) => new Date(LATE.getTime() + 1_000 * index))
  await Promise.all(
    times.map((time) => editTask(tasks, task, (each) => each.edit({ description: String(time) }, time))),
  )
  expect((await tasks.get(task)).snapshot().updatedAt.getTime()).to.be.at.least(LATE.getTime() + times.length)
  for (const field of SORT_FIELDS) {
    for (const descending of [false, true]) {
      const place = placeOf((await tasks.get(task)).snapshot(), [{ field, descending }])
      const query = { sort: [{ field, descending }], position: { after: place } }
      expect(await listTasks(tasks, ownerId, query)).to.deep.equal([])
    }
  }
  const since = await tasks.head(ownerId)
  await removeTask(tasks, task, EARLY)
  const { deleted } = await tasks.changes(ownerId, since, 9)
  expect(deleted).to.deep.equal([{ id: task.id, revision: since.revision + 1, deletedAt: EARLY }])
}

/** Expects that concurrent edits of one task through several instances succeed. */
export async function expectConcurrentEdits(instances: readonly Repositories[]): Promise<void> {
  const [{ tasks, users }] = instances as [Repositories]
  const ownerId = (await users.add(aUserDraft({ email: `person-${userCount++}@example.com` }))).snapshot().id
  const task = (await storeTask(tasks, aTaskDraft({ ownerId }))).snapshot()
  const edits = Array.from({ length: 32 }, (_, index) => {
    const { tasks } = instances[index % instances.length] as Repositories
    return editTask(tasks, task, (each) => each.edit({ title: `${index}` }, LATE))
  })
  await Promise.all(edits)
}
