import fc from 'fast-check'
import { PRIORITIES, type TaskDraft } from '#src/domain/tasks/task.ts'
import { conditionsOf, type TaskFilter, VIEWS } from '#src/domain/tasks/task-filter.ts'
import { MAX_SORT_KEYS, placeOf, SORT_FIELDS, type Sort } from '#src/domain/tasks/task-order.ts'
import { EDGE, type Position, SKIP, type TaskQuery } from '#src/domain/tasks/task-query.ts'
import { aTask, aTaskDraft } from '#test/builders.ts'

const HOUR = 3_600_000

/** A zone, and a moment near which a day is longer or shorter than 24 hours. */
export interface Scene {
  readonly zone: string
  readonly now: number
}

export const SCENES: readonly Scene[] = [
  { zone: 'Europe/Berlin', now: Date.parse('2026-03-28T20:00:00Z') },
  { zone: 'Europe/Berlin', now: Date.parse('2026-10-25T01:30:00Z') },
  { zone: 'America/Sao_Paulo', now: Date.parse('2018-11-03T23:00:00Z') },
  { zone: 'America/Havana', now: Date.parse('2020-11-01T04:30:00Z') },
  { zone: 'Pacific/Apia', now: Date.parse('2011-12-29T12:00:00Z') },
  { zone: 'UTC', now: Date.parse('2024-02-28T23:59:59.999Z') },
]

const isoDate = (moment: number) => new Date(moment).toISOString().slice(0, 10)

/** Dates and instants within days of a moment, often at a full hour, so that some equal a bound. */
export const dueTexts = (now: number): fc.Arbitrary<string> =>
  fc.oneof(
    fc.integer({ min: -3, max: 10 }).map((days) => isoDate(now + days * 24 * HOUR)),
    fc
      .record({ hours: fc.integer({ min: -60, max: 240 }), offset: fc.constantFrom('Z', '+05:45', '-08:00') })
      .map(({ hours, offset }) => {
        const moment = Math.floor(now / HOUR) * HOUR + hours * HOUR
        return new Date(moment).toISOString().replace('Z', offset)
      }),
    fc.constant(new Date(now).toISOString()),
  )

/** Texts that differ by case, by composition or by a code point, and so few that some tasks have equal titles. */
export const TITLES = [
  'a',
  'A',
  'ab',
  'b',
  'é',
  'e\u0301',
  'ß',
  'SS',
  'ς',
  'Σ',
  '\uffff',
  '\u{10000}',
  '\ue000',
  '🙂🙃',
]

export const TAGS = ['home', 'Home', 'work', '🙂']

const moments = fc.constantFrom(0, 1, 999, 1_000).map((moment) => new Date(moment))

/** A task of owner 1 as a store may hold it. Few values, so that tasks often share them. */
export const taskDrafts = (now: number): fc.Arbitrary<TaskDraft> =>
  fc
    .record({
      title: fc.constantFrom(...TITLES),
      description: fc.option(fc.constantFrom('', ...TITLES)),
      due: fc.option(dueTexts(now)),
      priority: fc.constantFrom(...PRIORITIES),
      tags: fc.subarray(TAGS),
      completedAt: fc.option(moments),
      createdAt: moments,
      updatedAt: moments,
    })
    .map((task) => aTaskDraft({ ...task, completed: task.completedAt !== null }))

export const sorts: fc.Arbitrary<Sort> = fc
  .tuple(
    fc.shuffledSubarray([...SORT_FIELDS], { minLength: 1, maxLength: MAX_SORT_KEYS }),
    fc.tuple(...Array.from({ length: MAX_SORT_KEYS }, () => fc.boolean())),
  )
  .map(([fields, directions]) => fields.map((field, index) => ({ field, descending: directions[index] === true })))

/** Filters with at most two members, because more would seldom find a task, in UTC or the zone of the scene. */
export function filters({ now, zone }: Scene): fc.Arbitrary<TaskFilter> {
  const members = fc.record({
    completed: fc.boolean(),
    priority: fc.constantFrom(...PRIORITIES),
    tags: fc.subarray(TAGS),
    dueBefore: dueTexts(now),
    dueAfter: dueTexts(now),
    overdue: fc.boolean(),
    containing: fc.constantFrom('', ...TITLES),
    view: fc.constantFrom(...VIEWS),
  })
  const names = ['completed', 'priority', 'tags', 'dueBefore', 'dueAfter', 'overdue', 'containing', 'view'] as const
  return fc
    .tuple(members, fc.subarray([...names], { maxLength: 2 }), fc.constantFrom({}, { timeZone: zone }))
    .map(([all, chosen, zoned]) => ({ ...Object.fromEntries(chosen.map((name) => [name, all[name]])), ...zoned }))
}

/** Either end of a list, or either side of a place, at which there may be a task. */
export const positions = (now: number, maxId: number): fc.Arbitrary<(sort: Sort) => Position> =>
  fc.oneof(
    fc.constantFrom<Position>({ after: EDGE }, { before: EDGE }).map((edge) => () => edge),
    fc
      .record({ draft: taskDrafts(now), id: fc.integer({ min: 0, max: maxId }), after: fc.boolean() })
      .map(({ draft, id, after }) => (sort: Sort) => {
        const place = placeOf(aTask({ ...draft, id }).snapshot(), sort)
        return after ? { after: place } : { before: place }
      }),
  )

export const skips = fc.oneof(
  { arbitrary: fc.constant(0), weight: 6 },
  { arbitrary: fc.integer({ min: 1, max: 25 }), weight: 3 },
  { arbitrary: fc.constant(SKIP.max), weight: 1 },
)
export const limits = fc.integer({ min: 1, max: 8 })

/** @param maxId the highest id of the tasks, or slightly more */
export const taskQueries = (scene: Scene, maxId: number): fc.Arbitrary<TaskQuery> =>
  fc
    .record({
      filter: filters(scene),
      sort: sorts,
      position: positions(scene.now, maxId),
      skip: skips,
      limit: limits,
      count: fc.boolean(),
    })
    .map(({ filter, position, ...query }) => ({
      ...query,
      conditions: conditionsOf(filter, new Date(scene.now)),
      position: position(query.sort),
    }))
