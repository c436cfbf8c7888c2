import { expect } from 'chai'
import fc from 'fast-check'
import { DAY } from '#src/domain/tasks/calendar.ts'
import { MAX_TAGS, type TaskSnapshot } from '#src/domain/tasks/task.ts'
import { conditionsOf, fold, matches, searchText, type TaskFilter } from '#src/domain/tasks/task-filter.ts'
import { aTask } from '#test/builders.ts'
import { filters, SCENES, taskDrafts } from './random-tasks.ts'
import { anyText } from './texts.ts'
import { violations } from './violations.ts'

/** 01:00 on 1 February in Berlin. */
const NOW = new Date('2026-02-01T00:00:00.000Z')
const BERLIN = 'Europe/Berlin'

const meets = (task: TaskSnapshot, filter: unknown, now = NOW) =>
  conditionsOf(filter as TaskFilter, now).every((condition) => matches(task, condition))

type Row = readonly [
  filter: TaskFilter,
  matching: readonly Partial<TaskSnapshot>[],
  other: readonly Partial<TaskSnapshot>[],
]

const due = (...texts: readonly string[]) => texts.map((text) => ({ due: text }))

const table: Readonly<Record<string, Row>> = {
  'anything without a member': [{}, [{}, { completed: true }, { due: '2026-01-01' }], []],
  'completed tasks': [{ completed: true }, [{ completed: true }], [{ completed: false }]],
  'open tasks': [{ completed: false }, [{ completed: false }], [{ completed: true }]],
  'one priority': [{ priority: 'high' }, [{ priority: 'high' }], [{ priority: 'none' }, { priority: 'urgent' }]],
  'a tag, in its case': [
    { tags: ['home'] },
    [{ tags: ['a', 'home'] }],
    [{ tags: [] }, { tags: ['Home'] }, { tags: ['homes'] }],
  ],
  'all of several tags': [{ tags: ['b', 'a'] }, [{ tags: ['a', 'x', 'b'] }], [{ tags: ['a'] }, { tags: ['b', 'x'] }]],
  'tags trimmed and each once': [{ tags: [' a ', 'a'] }, [{ tags: ['a'] }], [{ tags: ['b'] }]],
  'any tags for none': [{ tags: [] }, [{ tags: [] }, { tags: ['a'] }], []],
  'due before a moment': [
    { dueBefore: '2026-02-01T12:00:00Z' },
    due('2026-02-01T11:59:59.999Z', '2026-01-31', '2026-02-01T12:30:00+01:00'),
    [...due('2026-02-01T12:00:00Z', '2026-02-01', '2026-02-02'), {}],
  ],
  'due after a moment, which is included': [
    { dueAfter: '2026-02-01T12:00:00Z' },
    due('2026-02-01T12:00:00Z', '2026-02-01', '2026-02-02', '2026-02-01T11:30:00-01:00'),
    [...due('2026-02-01T11:59:59.999Z', '2026-01-31'), {}],
  ],
  'due before a day': [
    { dueBefore: '2026-02-01' },
    due('2026-01-31', '2026-01-31T23:59:59.999Z'),
    [...due('2026-02-01', '2026-02-01T00:00:00Z'), {}],
  ],
  'due before a day of a zone': [
    { dueBefore: '2026-02-01', timeZone: BERLIN },
    due('2026-01-31', '2026-01-31T22:59:59.999Z'),
    due('2026-02-01', '2026-01-31T23:00:00Z'),
  ],
  'due after the beginning of a day of a zone': [
    { dueAfter: '2026-02-01', timeZone: BERLIN },
    due('2026-02-01', '2026-01-31T23:00:00Z'),
    [...due('2026-01-31', '2026-01-31T22:59:59.999Z'), {}],
  ],
  'due before the very end of an all-day task in a zone': [
    { dueBefore: '2026-01-31T23:00:00Z', timeZone: BERLIN },
    due('2026-01-31'),
    due('2026-02-01'),
  ],
  'not due before the last moment of an all-day task': [
    { dueBefore: '2026-01-31T22:59:59.999Z', timeZone: BERLIN },
    due('2026-01-30'),
    due('2026-01-31'),
  ],
  'overdue tasks': [
    { overdue: true },
    due('2026-01-31', '2026-01-31T23:59:59.999Z'),
    [...due('2026-02-01', '2026-02-01T00:00:00Z'), {}, { due: '2026-01-31', completed: true }],
  ],
  'tasks that are not overdue': [
    { overdue: false },
    [...due('2026-02-01', '2026-02-01T00:00:00Z'), {}, { due: '2026-01-31', completed: true }],
    due('2026-01-31', '2026-01-31T23:59:59.999Z'),
  ],
  'overdue tasks of a zone': [{ overdue: true, timeZone: 'America/New_York' }, due('2026-01-30'), due('2026-01-31')],
  'today, with what is overdue': [
    { view: 'today', timeZone: BERLIN },
    due('2020-01-01', '2026-02-01', '2026-02-01T22:59:59.999Z'),
    [...due('2026-02-01T23:00:00Z', '2026-02-02'), {}, { due: '2026-02-01', completed: true }],
  ],
  'the seven days after today': [
    { view: 'upcoming', timeZone: BERLIN },
    due('2026-02-02', '2026-02-01T23:00:00Z', '2026-02-08', '2026-02-08T22:59:59.999Z'),
    [...due('2026-02-01', '2026-02-01T22:59:59.999Z', '2026-02-09', '2026-02-08T23:00:00Z'), {}],
  ],
  'today of a zone that is behind': [
    { view: 'today', timeZone: 'America/New_York' },
    due('2026-01-31'),
    due('2026-02-01'),
  ],
  'a part of the title': [{ containing: 'hi' }, [{ title: 'Ship' }], [{ title: 'H i' }]],
  'a part of the description': [{ containing: 'soon' }, [{ description: 'Very soon.' }], [{ description: null }]],
  'no part that begins in the title and ends in the description': [
    { containing: 'pan' },
    [{ title: 'pan', description: '' }],
    [
      { title: 'p', description: 'an' },
      { title: 'pa', description: 'xn' },
    ],
  ],
  'blanks as they are': [{ containing: '  ' }, [{ title: 'a  b' }], [{ title: 'a b' }]],
  'wildcards of SQL as they are': [{ containing: '%_\\' }, [{ title: '100%_\\' }], [{ title: '100' }]],
  'Greek in any case': [{ containing: 'ΟΔΟΣ' }, [{ title: 'Οδος' }, { title: 'οδοσ' }], [{ title: 'οδό' }]],
  'a final sigma like every other': [{ containing: 'ς' }, [{ title: 'Σ' }, { title: 'σ' }], [{ title: 's' }]],
  'Cyrillic in any case': [{ containing: 'дом' }, [{ title: 'ДОМ' }], [{ title: 'DOM' }]],
  'ß as SS': [{ containing: 'STRASSE' }, [{ title: 'Straße' }], [{ title: 'Strase' }]],
  'a letter composed or decomposed': [
    { containing: 'e\u0301' },
    [{ title: 'É' }, { title: 'e\u0301' }],
    [{ title: 'e' }],
  ],
  'letters of astral planes in any case': [
    { containing: '\u{10428}' },
    [{ title: '\u{10400}' }],
    [{ title: '\u{10401}' }],
  ],
  'anything for an empty text': [{ containing: '' }, [{}, { description: '' }], []],
  'all of several members': [
    { completed: false, priority: 'low', containing: 'ship', dueAfter: '2026-01-01' },
    [{ priority: 'low', due: '2026-01-01' }],
    [{ due: '2026-01-01' }, { priority: 'low' }, { priority: 'low', due: '2026-01-01', completed: true }],
  ],
  'nothing for members that exclude each other': [
    { view: 'today', completed: true },
    [],
    due('2026-02-01', '2026-01-01'),
  ],
}

describe('A filter', () => {
  for (const [what, [filter, matching, other]] of Object.entries(table)) {
    it(`finds ${what}`, () => {
      for (const task of matching) expect(meets(aTask(task).snapshot(), filter), JSON.stringify(task)).to.equal(true)
      for (const task of other) expect(meets(aTask(task).snapshot(), filter), JSON.stringify(task)).to.equal(false)
    })
  }

  const skipped = [
    ['2011-12-29', true],
    ['2011-12-30', true],
    ['2011-12-31', false],
  ] as const
  for (const [date, before] of skipped) {
    it(`takes the end of a day that the zone skipped for the end of the day before: ${date}`, () => {
      for (const dueBefore of ['2011-12-30', '2011-12-31', '2011-12-30T10:00:00Z']) {
        const filter = { dueBefore, timeZone: 'Pacific/Apia' }
        expect(meets(aTask({ due: date }).snapshot(), filter), dueBefore).to.equal(before)
      }
    })
  }

  it('ignores a stored due time that breaks a current rule', () => {
    const task = aTask({ due: 'some day' }).snapshot()
    for (const filter of [{ dueBefore: '9999-12-31' }, { dueAfter: '0001-01-01' }, { overdue: true }]) {
      expect(meets(task, filter)).to.equal(false)
    }
    expect(meets(task, { overdue: false })).to.equal(true)
  })

  it('gives the same conditions all day long unless it asks for overdue tasks', () => {
    const at = (time: string, filter: TaskFilter) => conditionsOf({ timeZone: BERLIN, ...filter }, new Date(time))
    const [midnight, evening, tomorrow] = [
      '2026-01-31T23:00:00Z',
      '2026-02-01T22:59:59.999Z',
      '2026-02-01T23:00:00Z',
    ] as const
    for (const filter of [{ view: 'today' }, { view: 'upcoming' }] as const) {
      expect(at(midnight, filter)).to.deep.equal(at(evening, filter)).and.to.not.deep.equal(at(tomorrow, filter))
    }
    expect(at(midnight, { overdue: true })).to.not.deep.equal(at(evening, { overdue: true }))
    expect(at(midnight, { dueBefore: '2026-02-01' })).to.deep.equal(at(tomorrow, { dueBefore: '2026-02-01' }))
  })

  it('finds what a plain search of the calendar finds, on any day in any zone (property-based)', () => {
    const cases = fc
      .constantFrom(...SCENES)
      .chain((scene) => fc.record({ scene: fc.constant(scene), task: taskDrafts(scene.now), filter: filters(scene) }))
    fc.assert(
      fc.property(cases, ({ scene, task: draft, filter }) => {
        const task = aTask(draft).snapshot()
        expect(meets(task, filter, new Date(scene.now))).to.equal(naivelyMeets(task, filter, scene.now))
      }),
      { numRuns: 200 },
    )
  })
})

/** The documented meaning of a filter, with days found by checking a calendar every quarter of an hour. */
function naivelyMeets(task: TaskSnapshot, filter: TaskFilter, now: number): boolean {
  const zone = filter.timeZone ?? 'UTC'
  const last = lastMoment(task.due, zone)
  const bound = (text: string) => (text.length === 10 ? beginning(text, zone) : Date.parse(text))
  const today = dateShown(now, zone)
  const daysAhead = (days: number) => beginning(plusDays(today, days), zone)
  const overdue = !task.completed && last < now
  const upper = (text: string) => text.normalize('NFC').toUpperCase().normalize('NFC')
  const contains = (text: string | null) => text !== null && upper(text).includes(upper(filter.containing ?? ''))
  return [
    filter.completed === undefined || task.completed === filter.completed,
    filter.priority === undefined || task.priority === filter.priority,
    (filter.tags ?? []).every((tag) => task.tags.includes(tag)),
    filter.dueBefore === undefined || last < bound(filter.dueBefore),
    filter.dueAfter === undefined || last >= bound(filter.dueAfter),
    filter.overdue === undefined || overdue === filter.overdue,
    contains(task.title) || contains(task.description),
    filter.view !== 'today' || (!task.completed && last < daysAhead(1)),
    filter.view !== 'upcoming' || (!task.completed && last >= daysAhead(1) && last < daysAhead(8)),
  ].every(Boolean)
}

/** NaN without a due time, because NaN is neither before nor after any number. */
function lastMoment(due: string | null, zone: string): number {
  if (due === null) return Number.NaN
  return due.length === 10 ? beginning(plusDays(due, 1), zone) - 1 : Date.parse(due)
}

const plusDays = (date: string, days: number) => new Date(Date.parse(date) + days * DAY).toISOString().slice(0, 10)

const calendars = new Map(
  SCENES.map(({ zone }) => [zone, new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short' })]),
)
const dateShown = (moment: number, zone: string) => calendars.get(zone)?.format(moment) as string

const beginnings = new Map<string, number>()

function beginning(date: string, zone: string): number {
  const key = `${date} ${zone}`
  let moment = beginnings.get(key) ?? Date.parse(date) - 16 * 3_600_000
  while (dateShown(moment, zone) < date) moment += 900_000
  beginnings.set(key, moment)
  return moment
}

describe('The members of a filter', () => {
  const refused: Readonly<Record<string, readonly [unknown, string]>> = {
    'completed as text': [{ completed: 'true' }, 'completed: not_boolean'],
    'null for completed': [{ completed: null }, 'completed: not_boolean'],
    'an unknown priority': [{ priority: 'highest' }, 'priority: unknown_value'],
    'a priority in another case': [{ priority: 'High' }, 'priority: unknown_value'],
    'a blank tag': [{ tags: ['a', ' '] }, 'tags: too_short'],
    'a tag of 51 characters': [{ tags: ['a'.repeat(51)] }, 'tags: too_long'],
    'a tag with NUL': [{ tags: ['\0'] }, 'tags: malformed_text'],
    'too many tags': [{ tags: Array.from({ length: MAX_TAGS + 1 }, (_, index) => `${index}`) }, 'tags: too_many'],
    'a due time that is none': [{ dueBefore: 'tomorrow' }, 'dueBefore: not_a_due_date'],
    'a local time': [{ dueAfter: '2026-01-31T09:30:00' }, 'dueAfter: not_a_due_date'],
    'a due time of 1,000 characters': [{ dueAfter: '1'.repeat(1_000) }, 'dueAfter: too_long'],
    'overdue as a number': [{ overdue: 1 }, 'overdue: not_boolean'],
    'a text of 256 characters': [{ containing: 'a'.repeat(256) }, 'containing: too_long'],
    'a text of 256 astral characters': [{ containing: '🙂'.repeat(256) }, 'containing: too_long'],
    'a text with a lone surrogate': [{ containing: '\ud800' }, 'containing: malformed_text'],
    'an unknown view': [{ view: 'tomorrow' }, 'view: unknown_value'],
    'an unknown time zone': [{ timeZone: 'Europe/Nowhere' }, 'timeZone: unknown_time_zone'],
    'an empty time zone': [{ timeZone: '' }, 'timeZone: unknown_time_zone'],
    'an offset for a time zone': [{ timeZone: '+01:00' }, 'timeZone: unknown_time_zone'],
    'a number for a time zone': [{ timeZone: 1 }, 'timeZone: unknown_time_zone'],
  }
  for (const [what, [filter, violation]] of Object.entries(refused)) {
    it(`are refused with ${what}`, () => {
      expect(violations(() => meets(aTask().snapshot(), filter))).to.deep.equal([violation])
    })
  }

  it('are refused with one violation for each', () => {
    const filter = { view: '', priority: '', timeZone: '', tags: '' }
    expect(violations(() => meets(aTask().snapshot(), filter))).to.have.members([
      ...['view: unknown_value', 'priority: unknown_value', 'timeZone: unknown_time_zone', 'tags: not_a_list'],
    ])
  })

  it('are taken at their limits', () => {
    const tags = Array.from({ length: MAX_TAGS }, (_, index) => `${index}`.padEnd(50))
    for (const filter of [{ tags }, { tags: ['🙂'.repeat(50)] }, { containing: '🙂'.repeat(255) }]) {
      expect(violations(() => meets(aTask().snapshot(), filter))).to.deep.equal([])
    }
  })
})

describe('The searched text of a task', () => {
  it('contains what the title or the description contains, and nothing across them (property-based)', () => {
    const short = anyText({ maxLength: 4 })
    fc.assert(
      fc.property(
        short,
        fc.option(short),
        fc.oneof(anyText({ maxLength: 2 }), fc.constant('x')),
        (title, description, q) => {
          const searched = searchText({ title, description }).includes(fold(q))
          expect(searched).to.equal([title, description].some((text) => text !== null && fold(text).includes(fold(q))))
        },
      ),
    )
  })
})
