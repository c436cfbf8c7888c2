import { expect } from 'chai'
import fc from 'fast-check'
import { PRIORITIES, type TaskSnapshot } from '#src/domain/tasks/task.ts'
import {
  comparePlaces,
  isPlace,
  NEWEST_FIRST,
  placeOf,
  type Sort,
  type SortField,
  sortRule,
  totalOrder,
} from '#src/domain/tasks/task-order.ts'
import { aTask } from '#test/builders.ts'
import { SCENES, sorts, taskDrafts } from './random-tasks.ts'
import { anyText } from './texts.ts'

const by = (field: SortField, descending = false): Sort => [{ field, descending }]
const snapshots = (given: readonly Partial<TaskSnapshot>[]) =>
  given.map((fields, index) => aTask({ id: index + 1, ...fields }).snapshot())
const sorted = (tasks: readonly TaskSnapshot[], sort: Sort) =>
  tasks.toSorted((one, other) => comparePlaces(placeOf(one, sort), placeOf(other, sort), sort))
const idsOf = (tasks: readonly TaskSnapshot[]) => tasks.map(({ id }) => id)

describe('The order of tasks', () => {
  const CODE_POINTS = [
    '',
    '\0',
    'A',
    'B',
    'a',
    'aA',
    'aa',
    'é',
    '\ud7ff',
    '\ue000',
    '\uffff',
    '\u{10000}',
    '\u{10ffff}',
  ]

  it('compares texts by code point, in which astral characters come last', () => {
    const tasks = snapshots(CODE_POINTS.map((title) => ({ title })))
    expect(sorted(tasks.toReversed(), by('title')).map(({ title }) => title)).to.deep.equal(CODE_POINTS)
    expect(sorted(tasks, by('title', true)).map(({ title }) => title)).to.deep.equal(CODE_POINTS.toReversed())
  })

  it('compares texts as their UTF-8 bytes compare (property-based)', () => {
    fc.assert(
      fc.property(anyText({ maxLength: 4 }), anyText({ maxLength: 3 }), anyText({ maxLength: 3 }), (start, a, b) => {
        const [one, other] = [start + a, start + b]
        const order = comparePlaces([one, 1], [other, 1], by('title'))
        expect(Math.sign(order)).to.equal(Buffer.compare(Buffer.from(one), Buffer.from(other)))
      }),
    )
  })

  const dues = ['2026-01-31T23:59:59.998Z', '2026-01-31', '2026-02-01T00:00:00Z', '2026-02-01T01:30:00+01:00', null]
  const ascending: Readonly<Record<Exclude<SortField, 'title'>, readonly Partial<TaskSnapshot>[]>> = {
    createdAt: [{ createdAt: new Date(9) }, { createdAt: new Date(0) }],
    updatedAt: [{ updatedAt: new Date(0) }, { updatedAt: new Date(1) }],
    due: dues.map((due) => ({ due })),
    priority: PRIORITIES.map((priority) => ({ priority })),
    completedAt: [{ completedAt: new Date(0) }, { completedAt: new Date(1) }, { completedAt: null }],
  }
  for (const [field, given] of Object.entries(ascending)) {
    it(`sorts by ${field}, with null last in both directions`, () => {
      const tasks = snapshots(given)
      const nulls = tasks.filter((task) => task[field as SortField] === null)
      const rest = tasks.filter((task) => task[field as SortField] !== null)
      expect(idsOf(sorted(tasks, by(field as SortField)))).to.deep.equal(idsOf(tasks))
      expect(idsOf(sorted(tasks, by(field as SortField, true)))).to.deep.equal(idsOf([...rest.reverse(), ...nulls]))
    })
  }

  it('breaks ties by id, in the direction of the last key', () => {
    expect(totalOrder(by('due'))).to.deep.equal([...by('due'), ...by('createdAt')])
    expect(totalOrder(by('due', true))).to.deep.equal([...by('due', true), ...by('createdAt', true)])
    const tasks = snapshots([{}, { priority: 'high' }, {}, { due: '2026-01-31' }, {}])
    expect(idsOf(sorted(tasks, by('priority')))).to.deep.equal([1, 3, 4, 5, 2])
    expect(idsOf(sorted(tasks, by('priority', true)))).to.deep.equal([2, 5, 4, 3, 1])
    expect(idsOf(sorted(tasks, [...by('due'), ...by('priority', true)]))).to.deep.equal([4, 2, 5, 3, 1])
  })

  it('compares by no key after createdAt, because ids are unique', () => {
    const sort = [...by('priority'), ...by('createdAt', true), ...by('title')]
    expect(totalOrder(sort)).to.deep.equal(sort.slice(0, 2))
    expect(totalOrder(NEWEST_FIRST)).to.deep.equal(NEWEST_FIRST)
  })

  it('is total, whatever the keys (property-based)', () => {
    fc.assert(
      fc.property(fc.array(taskDrafts(SCENES[0]?.now as number), { maxLength: 8 }), sorts, (drafts, sort) => {
        const tasks = snapshots(drafts)
        const expected = tasks.toSorted((one, other) => naiveOrder(one, other, sort))
        expect(idsOf(sorted(tasks.toReversed(), sort))).to.deep.equal(idsOf(expected))
      }),
    )
  })
})

/** Compares key by key, as the API documents. */
function naiveOrder(one: TaskSnapshot, other: TaskSnapshot, sort: Sort): number {
  for (const { field, descending } of [...sort, ...by('createdAt', sort.at(-1)?.descending)]) {
    const [a, b] = [naiveValue(one, field), naiveValue(other, field)]
    if (a === undefined || b === undefined) {
      if (a !== b) return a === undefined ? 1 : -1
    } else if (a < b) {
      return descending ? 1 : -1
    } else if (a > b) {
      return descending ? -1 : 1
    }
  }
  return 0
}

/** A value that `<` compares. */
function naiveValue(task: TaskSnapshot, field: SortField): number | string | undefined {
  if (field === 'createdAt') return task.id
  if (field === 'title') return Buffer.from(task.title).toString('hex')
  if (field === 'priority') return ['none', 'low', 'medium', 'high', 'urgent'].indexOf(task.priority)
  if (field === 'due')
    return task.due?.length === 10 ? Date.parse(`${task.due}T23:59:59.999Z`) : Date.parse(task.due ?? '') || undefined
  return task[field]?.getTime()
}

describe('The keys of a sort', () => {
  const refused: Readonly<Record<string, readonly [readonly unknown[], string]>> = {
    none: [[], 'out_of_range'],
    four: [['due', 'title', 'priority', 'updatedAt'].map((field) => ({ field, descending: false })), 'out_of_range'],
    'an unknown one': [[{ field: 'id', descending: false }], 'unknown_value'],
    'a member of every object': [[{ field: 'constructor', descending: false }], 'unknown_value'],
    'one twice': [[...by('due'), ...by('title'), ...by('due')], 'repeated'],
    'one in both directions': [[...by('due'), ...by('due', true)], 'repeated'],
  }
  for (const [what, [keys, code]] of Object.entries(refused)) {
    it(`are refused for ${what}`, () => expect(sortRule(keys)?.code).to.equal(code))
  }

  it('are any one to three that are different (property-based)', () => {
    fc.assert(fc.property(sorts, (sort) => sortRule(sort) === undefined))
  })
})

describe('A place in a sorted list', () => {
  it('is that of any task (property-based)', () => {
    fc.assert(
      fc.property(taskDrafts(SCENES[0]?.now as number), sorts, (draft, sort) => {
        expect(isPlace(placeOf(aTask(draft).snapshot(), sort), sort)).to.equal(true)
      }),
    )
  })

  const refused: readonly (readonly [string, unknown, Sort])[] = [
    ['no list', 'text', by('title')],
    ['null', null, by('title')],
    ['too short', ['a'], by('title')],
    ['too long', [1, 1], NEWEST_FIRST],
    ['a text for a number', ['1'], NEWEST_FIRST],
    ['a fraction', [1.5], NEWEST_FIRST],
    ['a negative id', [-1], NEWEST_FIRST],
    ['an id of 2^53', [2 ** 53], NEWEST_FIRST],
    ['NaN', [Number.NaN], NEWEST_FIRST],
    ['an absent id', [0, undefined], by('priority')],
    ['a null where none can be', [null], NEWEST_FIRST],
    ['a number for a text', [1, 1], by('title')],
    ['a text with NUL', ['\0', 1], by('title')],
    ['a text with a lone surrogate', ['\ud800', 1], by('title')],
    ['a text of 256 characters', ['a'.repeat(256), 1], by('title')],
    ['an unknown priority', [PRIORITIES.length, 1], by('priority')],
    ['a time that no store has', [Number.MAX_SAFE_INTEGER, 1], by('updatedAt')],
    ['a list in a list', [[1], 1], by('due')],
  ]
  for (const [what, value, sort] of refused) {
    it(`is not ${what}`, () => expect(isPlace(value, sort)).to.equal(false))
  }
})
