import { inspect } from 'node:util'
import { expect } from 'chai'
import fc from 'fast-check'
import { RevisionMismatch } from '#src/domain/errors.ts'
import {
  MAX_TAGS,
  type NewTask,
  PRIORITIES,
  type Precondition,
  Task,
  type TaskChanges,
} from '#src/domain/tasks/task.ts'
import { aTask, aTaskDraft } from '#test/builders.ts'
import { violations } from './violations.ts'

const NOW = new Date('2026-02-01T00:00:00.000Z')
const ASTRAL = '🙂'

/** Values that a caller may send despite the types. */
const untyped = <Type>(value: unknown) => value as Type
const create = (fields: unknown) => Task.create(7, untyped<NewTask>(fields), NOW)
const edit = (changes: unknown, task = aTask()) => task.edit(untyped<TaskChanges>(changes), NOW)

const refused = {
  'an empty title': [{ title: '' }, 'title: too_short'],
  'a blank title': [{ title: ' \t\u3000' }, 'title: blank'],
  'a title of 256 characters': [{ title: 'a'.repeat(256) }, 'title: too_long'],
  'a title of 256 astral characters': [{ title: ASTRAL.repeat(256) }, 'title: too_long'],
  'a title with NUL': [{ title: 'a\0b' }, 'title: malformed_text'],
  'a title with a lone surrogate': [{ title: 'a\ud800' }, 'title: malformed_text'],
  'a title that is null': [{ title: null }, 'title: not_text'],
  'a title that is a number': [{ title: 1 }, 'title: not_text'],
  'a title that is a list': [{ title: ['a'] }, 'title: not_text'],
  'a description of 2,001 characters': [{ description: 'a'.repeat(2001) }, 'description: too_long'],
  'a description of 2,001 astral characters': [{ description: ASTRAL.repeat(2001) }, 'description: too_long'],
  'a description with NUL': [{ description: '\0' }, 'description: malformed_text'],
  'a description with a lone surrogate': [{ description: '\udfff' }, 'description: malformed_text'],
  'a description that is a number': [{ description: 0 }, 'description: not_text'],
  'a description that is an object': [{ description: {} }, 'description: not_text'],
  'completed as text': [{ completed: 'true' }, 'completed: not_boolean'],
  'completed as a number': [{ completed: 1 }, 'completed: not_boolean'],
  'completed as null': [{ completed: null }, 'completed: not_boolean'],
  'a due date that is none': [{ due: '2026-02-29' }, 'due: not_a_due_date'],
  'a due time without an offset': [{ due: '2026-01-31T09:30:00' }, 'due: not_a_due_date'],
  'a due time that is empty': [{ due: '' }, 'due: not_a_due_date'],
  'a due time that is a number': [{ due: 0 }, 'due: not_text'],
  'a due time of 41 characters': [{ due: `2026-01-31T09:30:00.${'0'.repeat(20)}Z` }, 'due: too_long'],
  'an unknown priority': [{ priority: 'highest' }, 'priority: unknown_value'],
  'a priority in another case': [{ priority: 'High' }, 'priority: unknown_value'],
  'a priority that is a number': [{ priority: 1 }, 'priority: unknown_value'],
  'a priority that is null': [{ priority: null }, 'priority: unknown_value'],
  'a priority named like a member of every object': [{ priority: 'constructor' }, 'priority: unknown_value'],
  'tags that are null': [{ tags: null }, 'tags: not_a_list'],
  'tags that are a text': [{ tags: 'home' }, 'tags: not_a_list'],
  'tags that are an object': [{ tags: { length: 0 } }, 'tags: not_a_list'],
  '21 tags': [{ tags: Array.from({ length: 21 }, () => 'same') }, 'tags: too_many'],
  'a tag that is a number': [{ tags: ['home', 1] }, 'tags: not_text'],
  'an empty tag': [{ tags: [''] }, 'tags: too_short'],
  'a blank tag': [{ tags: [' \t\u3000'] }, 'tags: too_short'],
  'a tag of 51 characters': [{ tags: ['a'.repeat(51)] }, 'tags: too_long'],
  'a tag of 51 astral characters': [{ tags: [ASTRAL.repeat(51)] }, 'tags: too_long'],
  'a tag between too many blanks': [{ tags: [`${' '.repeat(10_000)}a`] }, 'tags: too_long'],
  'a tag with NUL': [{ tags: ['a\0'] }, 'tags: malformed_text'],
  'a tag with a lone surrogate': [{ tags: ['\udc00'] }, 'tags: malformed_text'],
} as const

const accepted = {
  'a title of one character': { title: 'a' },
  'a title of 255 characters': { title: 'a'.repeat(255) },
  'a title of 255 astral characters': { title: ASTRAL.repeat(255) },
  'a title with blanks around it': { title: '  Ship \n' },
  'a title in decomposed form': { title: 'e\u0301' },
  'an empty description': { description: '' },
  'a blank description': { description: '   ' },
  'a description of 2,000 characters': { description: 'a'.repeat(2000) },
  'a description of 2,000 astral characters': { description: ASTRAL.repeat(2000) },
  'no description': { description: null },
  completed: { completed: true },
  'a date to be due on': { due: '2026-01-31' },
  'a due time in another zone': { due: '2026-01-31t09:30:00.000000001+05:45' },
  'no due time': { due: null },
  'the highest priority': { priority: 'urgent' },
  'no tags': { tags: [] },
  'tags in an order of its own': { tags: ['b', 'a', 'B'] },
  '20 tags': { tags: Array.from({ length: MAX_TAGS }, (_, index) => `${index}`) },
  'a tag of 50 astral characters': { tags: [ASTRAL.repeat(50)] },
} as const

describe('A new task', () => {
  it('is not completed and has no description by default', () => {
    const task = create({ title: 'Ship' })
    expect(task).to.include({ description: null, completed: false })
    expect(task).to.deep.equal(aTaskDraft({ title: 'Ship', ownerId: 7, createdAt: NOW, updatedAt: NOW }))
  })

  it('ignores an id, an owner and times from the caller', () => {
    const times = { createdAt: new Date(0), updatedAt: new Date(0), completedAt: new Date(0) }
    const sent = { title: 'Ship', id: 99, ownerId: 99, revision: 99, ...times, extra: 1 }
    expect(create(sent)).to.deep.equal(create({ title: 'Ship' }))
  })

  it('is refused without a title', () => {
    expect(violations(() => create({}))).to.deep.equal(['title: not_text'])
  })

  it('is refused with one violation for each member', () => {
    expect(violations(() => create({ title: '', description: 1, completed: 'no' }))).to.deep.equal([
      'title: too_short',
      'description: not_text',
      'completed: not_boolean',
    ])
  })

  for (const [what, [fields, violation]] of Object.entries(refused)) {
    it(`is refused with ${what}`, () => {
      expect(violations(() => create({ title: 'Ship', ...fields }))).to.deep.equal([violation])
    })
  }

  for (const [what, fields] of Object.entries(accepted)) {
    it(`keeps ${what} unchanged`, () => expect(create({ title: 'Ship', ...fields })).to.deep.include(fields))
  }
})

describe('An edited task', () => {
  for (const [what, [changes, violation]] of Object.entries(refused)) {
    it(`is refused with ${what}, and stays unchanged`, () => {
      const task = aTask()
      const before = task.snapshot()
      expect(violations(() => edit({ completed: true, title: 'Other', ...changes }, task))).to.deep.equal([violation])
      expect(task.snapshot()).to.equal(before)
    })
  }

  for (const [what, changes] of Object.entries(accepted)) {
    it(`accepts ${what}, and keeps the rest`, () => {
      const task = aTask({ title: 'Before', description: 'before' })
      edit(changes, task)
      expect(task.snapshot()).to.deep.equal({
        ...aTask({ title: 'Before', description: 'before' }).snapshot(),
        ...changes,
        ...('completed' in changes && { completedAt: NOW }),
        updatedAt: NOW,
      })
    })
  }

  it('stays unchanged, including its `updatedAt`, if no field is to change', () => {
    const task = aTask()
    const before = task.snapshot()
    const readOnly = { id: 9, ownerId: 9, revision: 9, completedAt: NOW, createdAt: NOW, updatedAt: NOW }
    for (const changes of [{}, { title: undefined }, readOnly]) {
      edit(changes, task)
      expect(task.snapshot()).to.equal(before)
    }
  })

  it('keeps its id, its owner, its revision and its creation whatever is sent', () => {
    const given = { id: 3, ownerId: 4, revision: 5 }
    const task = aTask(given)
    const times = { createdAt: NOW, updatedAt: new Date(0), completedAt: NOW }
    edit({ title: 'New', id: 9, ownerId: 9, revision: 9, ...times, extra: 1 }, task)
    expect(task.snapshot()).to.deep.equal({ ...aTask(given).snapshot(), title: 'New', updatedAt: NOW })
  })

  it('ignores fields named like members of every object', () => {
    const task = aTask()
    const before = task.snapshot()
    edit(JSON.parse('{"__proto__": {"title": 1}, "constructor": 1, "toString": 1}'), task)
    expect(task.snapshot()).to.equal(before)
  })

  it('moves the time of its last change even if a value stays the same', () => {
    const task = aTask({ completed: true })
    edit({ completed: true }, task)
    expect(task.snapshot().updatedAt).to.deep.equal(NOW)
  })

  it('moves the time of its last change strictly forward for any clock (property-based)', () => {
    const times = fc.array(fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('2100-01-01') }), {
      minLength: 1,
      maxLength: 5,
    })
    fc.assert(
      fc.property(times, (clock) => {
        const task = aTask()
        for (const now of clock) {
          const before = task.snapshot().updatedAt.getTime()
          task.edit({ completed: true }, now)
          const after = task.snapshot().updatedAt.getTime()
          expect(after).to.equal(Math.max(before + 1, now.getTime()))
        }
      }),
    )
  })

  it('has the last value of every field (property-based)', () => {
    const changes = fc.record(
      {
        title: fc.string({ minLength: 1, maxLength: 20 }).map((text) => `${text}.`),
        description: fc.option(fc.string()),
        completed: fc.boolean(),
        due: fc.constantFrom(null, '2026-01-31', '2026-01-31T09:30:00Z'),
        priority: fc.constantFrom(...PRIORITIES),
        tags: fc.subarray(['a', 'b', 'c']),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.array(changes, { maxLength: 6 }), (edits) => {
        const task = aTask()
        for (const one of edits) task.edit(one, NOW)
        const { updatedAt: _, completedAt: __, ...fields } = task.snapshot()
        const { updatedAt: ___, completedAt: ____, ...expected } = Object.assign({ ...aTask().snapshot() }, ...edits)
        expect(fields).to.deep.equal(expected)
      }),
    )
  })
})

describe('A task', () => {
  const state = aTask().snapshot()

  it('shows its state in JSON', () => {
    expect(JSON.stringify({ task: aTask() })).to.equal(JSON.stringify({ task: state }))
  })

  it('shows its state to console.log', () => {
    expect(inspect(aTask({ title: 'Ship it' }))).to.match(/^Task \{.*title: 'Ship it'/s)
  })

  it('equals a task of the same state and no other', () => {
    expect(aTask()).to.deep.equal(aTask())
    expect(aTask({ title: 'Other' })).to.not.deep.equal(aTask())
  })
})

describe('The time at which a task was completed', () => {
  const LATER = new Date('2026-03-01T00:00:00.000Z')
  const completedAt = (task: Task) => task.snapshot().completedAt

  it('is that of its creation for a task that is created completed, and null for an open one', () => {
    expect(create({ title: 'Ship', completed: true }).completedAt).to.equal(NOW)
    expect(create({ title: 'Ship', completed: false }).completedAt).to.equal(null)
  })

  it('is set when the task is completed, kept when it is completed again, and cleared when it is reopened', () => {
    const task = aTask()
    task.edit({ title: 'New' }, new Date(NOW.getTime() - 1))
    expect(completedAt(task)).to.equal(null)
    task.edit({ completed: true }, NOW)
    expect(completedAt(task)).to.deep.equal(NOW)
    task.edit({ completed: true }, LATER)
    task.edit({ title: 'Newer' }, LATER)
    expect(completedAt(task)).to.deep.equal(NOW)
    task.edit({ completed: false }, LATER)
    expect(completedAt(task)).to.equal(null)
    task.edit({ completed: true }, LATER)
    expect(completedAt(task)).to.deep.equal(task.snapshot().updatedAt)
  })
})

describe('The tags of a task', () => {
  const given = [' home ', 'work', 'home', '\u3000work\n', 'Home']
  const kept = ['home', 'work', 'Home']

  it('are trimmed and kept once each, in the order given', () => {
    expect(create({ title: 'Ship', tags: given }).tags).to.deep.equal(kept)
    const task = aTask()
    edit({ tags: given }, task)
    expect(task.snapshot().tags).to.deep.equal(kept)
  })

  it('may have blanks around 50 characters', () => {
    expect(create({ title: 'Ship', tags: [`  ${'a'.repeat(50)}  `] }).tags).to.deep.equal(['a'.repeat(50)])
  })

  it('do not change with the list that was given', () => {
    const tags = ['a']
    const draft = create({ title: 'Ship', tags })
    tags.push('b')
    expect(draft.tags).to.deep.equal(['a'])
  })
})

describe('A precondition', () => {
  const holds: readonly Precondition[] = [
    {},
    { match: 'any' },
    { match: [7] },
    { match: [6, 7] },
    { noneMatch: [] },
    { noneMatch: [6, 8] },
    { match: [7], noneMatch: [6] },
  ]
  for (const precondition of holds) {
    it(`holds for revision 7: ${JSON.stringify(precondition)}`, () => aTask({ revision: 7 }).expect(precondition))
  }

  const fails: readonly Precondition[] = [
    { match: [] },
    { match: [6] },
    { noneMatch: 'any' },
    { noneMatch: [6, 7] },
    { match: [7], noneMatch: [7] },
    { match: 'any', noneMatch: 'any' },
  ]
  for (const precondition of fails) {
    it(`does not hold for revision 7, and names it: ${JSON.stringify(precondition)}`, () => {
      expect(() => aTask({ revision: 7 }).expect(precondition))
        .to.throw(RevisionMismatch)
        .with.property('revision', 7)
    })
  }

  const satisfiable: readonly [Precondition, boolean][] = [
    [{ match: [6] }, true],
    [{ noneMatch: [7] }, true],
    [{ match: [] }, false],
    [{ noneMatch: 'any' }, false],
  ]
  for (const [precondition, possible] of satisfiable) {
    it(`can${possible ? '' : 'not'} be met by another revision: ${JSON.stringify(precondition)}`, () => {
      expect(() => aTask({ revision: 7 }).expect(precondition))
        .to.throw(RevisionMismatch)
        .with.property('satisfiable', possible)
    })
  }
})

describe('A restored task', () => {
  it('is read as stored, even if a rule was tightened later', () => {
    const stored = { ...aTask().snapshot(), title: 'a'.repeat(300), description: '\0' }
    expect(Task.restore(stored).snapshot()).to.equal(stored)
  })

  it('can be edited in one field while another breaks a current rule', () => {
    const task = aTask({ title: '' })
    task.edit({ completed: true }, NOW)
    expect(task.snapshot()).to.include({ title: '', completed: true })
  })

  it('returns the same snapshot until it changes, and never mutates one', () => {
    const task = aTask()
    const before = task.snapshot()
    expect(task.snapshot()).to.equal(before)
    task.edit({ title: 'Other' }, NOW)
    expect(task.snapshot()).to.not.equal(before)
    expect(before.title).to.equal('Ship')
  })
})
