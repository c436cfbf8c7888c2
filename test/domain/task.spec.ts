import { inspect } from 'node:util'
import { expect } from 'chai'
import fc from 'fast-check'
import { type NewTask, Task, type TaskChanges } from '#src/domain/tasks/task.ts'
import { aTask, aTaskDraft } from '#test/builders.ts'
import { violations } from './violations.ts'

const NOW = new Date('2026-02-01T00:00:00.000Z')
const ASTRAL = '🙂'

/** What a caller may send in spite of the types. */
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
} as const

describe('A new task', () => {
  it('is not completed and has no description by default', () => {
    const task = create({ title: 'Ship' })
    expect(task).to.include({ description: null, completed: false })
    expect(task).to.deep.equal(aTaskDraft({ title: 'Ship', ownerId: 7, createdAt: NOW, updatedAt: NOW }))
  })

  it('ignores an id, an owner and times from the caller', () => {
    const sent = { title: 'Ship', id: 99, ownerId: 99, createdAt: new Date(0), updatedAt: new Date(0), extra: 1 }
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
    it(`keeps ${what} unchanged`, () => expect(create({ title: 'Ship', ...fields })).to.include(fields))
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
        updatedAt: NOW,
      })
    })
  }

  it('stays unchanged, including its `updatedAt`, if no field is to change', () => {
    const task = aTask()
    const before = task.snapshot()
    for (const changes of [{}, { title: undefined }, { id: 9, ownerId: 9, createdAt: NOW, updatedAt: NOW }]) {
      edit(changes, task)
      expect(task.snapshot()).to.equal(before)
    }
  })

  it('keeps its id, its owner and its time of creation for any input', () => {
    const task = aTask({ id: 3, ownerId: 4 })
    edit({ title: 'New', id: 9, ownerId: 9, createdAt: NOW, updatedAt: new Date(0), extra: 1 }, task)
    expect(task.snapshot()).to.deep.equal({ ...aTask({ id: 3, ownerId: 4 }).snapshot(), title: 'New', updatedAt: NOW })
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
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.array(changes, { maxLength: 6 }), (edits) => {
        const task = aTask()
        for (const one of edits) task.edit(one, NOW)
        const { updatedAt: _, ...fields } = task.snapshot()
        const { updatedAt: __, ...expected } = Object.assign({ ...aTask().snapshot() }, ...edits)
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
