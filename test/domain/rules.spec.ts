import { expect } from 'chai'
import fc from 'fast-check'
import { emailRule } from '#src/domain/accounts/user.ts'
import { InvalidInput } from '#src/domain/errors.ts'
import {
  all,
  boolean,
  enforce,
  listOf,
  notBlank,
  nullable,
  oneOf,
  optional,
  type Rule,
  text,
  wellFormed,
  wholeNumber,
} from '#src/domain/rules.ts'
import { anyText } from './texts.ts'
import { violations } from './violations.ts'

const ASTRAL = '🙂'
const LONE_SURROGATES = ['\ud800', '\udfff', 'a\udc00b', '\udc00\ud800', `${ASTRAL}\ud83d`]
const NO_TEXT = [undefined, null, 0, 1, true, [], ['text'], {}, { length: 3 }, Symbol('text')]

const codeOf = (rule: Rule, value: unknown) => rule(value)?.code

describe('A rule for text', () => {
  const rule = text({ min: 2, max: 5 })

  it('counts code points: an astral character is one, though it is two UTF-16 units', () => {
    expect(codeOf(rule, ASTRAL)).to.equal('too_short')
    expect(codeOf(rule, ASTRAL.repeat(2))).to.equal(undefined)
    expect(codeOf(rule, ASTRAL.repeat(5))).to.equal(undefined)
    expect(codeOf(rule, ASTRAL.repeat(6))).to.equal('too_long')
  })

  it('counts a letter and its combining mark as two characters', () => {
    expect(codeOf(rule, 'e\u0301')).to.equal(undefined)
    expect(codeOf(rule, 'e\u0301'.repeat(3))).to.equal('too_long')
  })

  it('accepts exactly the well-formed texts within both limits (property-based)', () => {
    fc.assert(
      fc.property(anyText({ maxLength: 8 }), (value) => {
        const length = Array.from(value).length
        const broken = [
          // Text with more UTF-16 units than five characters can have is rejected before its characters are read.
          value.length > 10 && 'too_long',
          value.includes('\0') && 'malformed_text',
          length < 2 && 'too_short',
          length > 5 && 'too_long',
        ]
        const expected = broken.find(Boolean) || undefined
        expect(codeOf(rule, value)).to.equal(expected)
      }),
    )
  })

  it('refuses NUL at any position', () => {
    for (const value of ['\0', 'a\0', '\0abc', 'a\0b']) expect(codeOf(rule, value)).to.equal('malformed_text')
  })

  it('refuses every lone surrogate', () => {
    for (const value of LONE_SURROGATES) {
      expect(codeOf(wellFormed, value)).to.equal('malformed_text')
      expect(codeOf(rule, value)).to.equal('malformed_text')
    }
  })

  it('refuses values of other types', () => {
    for (const value of NO_TEXT) expect(codeOf(rule, value)).to.equal('not_text')
  })
})

describe('The rule against blank text', () => {
  it('refuses text that has only white space of any script', () => {
    for (const value of ['', ' ', '\t\r\n', '\u00a0', '\u2003\u3000', '\ufeff'])
      expect(codeOf(notBlank, value)).to.equal('blank')
  })

  it('accepts text with any other character', () => {
    for (const value of ['a', ' a ', '\u3000.']) expect(codeOf(notBlank, value)).to.equal(undefined)
  })

  it('leaves values of other types to other rules', () => {
    for (const value of NO_TEXT) expect(codeOf(notBlank, value)).to.equal(undefined)
  })
})

describe('The rule for a boolean', () => {
  it('accepts true and false, and nothing that merely looks like them', () => {
    for (const value of [true, false]) expect(codeOf(boolean, value)).to.equal(undefined)
    for (const value of ['true', 'false', 0, 1, null, undefined, '', [], {}])
      expect(codeOf(boolean, value)).to.equal('not_boolean')
  })
})

describe('The rule for a whole number', () => {
  it('includes both limits', () => {
    const rule = wholeNumber(1, 200)
    for (const value of [1, 2, 199, 200]) expect(codeOf(rule, value)).to.equal(undefined)
    for (const value of [0, -1, 201]) expect(codeOf(rule, value)).to.equal('out_of_range')
  })

  it('refuses fractions, inexact numbers and values of other types', () => {
    const rule = wholeNumber(0, Number.MAX_VALUE)
    for (const value of [0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '1', 1n, null, undefined, [1]])
      expect(codeOf(rule, value)).to.equal('out_of_range')
    expect(codeOf(rule, Number.MAX_SAFE_INTEGER)).to.equal(undefined)
  })
})

describe('The detail of a violation', () => {
  const details: Readonly<Record<string, readonly [Rule, unknown]>> = {
    'must be a string': [wellFormed, 1],
    'must be a string or null': [nullable(wellFormed), 1],
    'must not contain NUL or lone surrogates': [wellFormed, '\0'],
    'must have at least 1 character': [text({ min: 1, max: 9 }), ''],
    'must have at least 2 characters': [text({ min: 2, max: 9 }), 'a'],
    'must have at most 1 character': [text({ min: 0, max: 1 }), 'abc'],
    'must have at most 3 characters': [text({ min: 0, max: 3 }), 'abcd'],
    'must not be blank': [notBlank, ' '],
    'must be true or false': [boolean, 1],
    'must be a whole number from 0 to 9': [wholeNumber(0, 9), 10],
    'must be an e-mail address': [emailRule, 'jane'],
  }
  for (const [detail, [rule, value]] of Object.entries(details)) {
    it(`says that the value ${detail}`, () => expect(rule(value)?.detail).to.equal(detail))
  }
})

describe('The rule for one of several values', () => {
  it('accepts these values and nothing else', () => {
    const rule = oneOf(['low', 'high'])
    for (const value of ['low', 'high']) expect(codeOf(rule, value)).to.equal(undefined)
    for (const value of ['', 'Low', 'constructor', 0, null, undefined, ['low'], {}])
      expect(codeOf(rule, value)).to.equal('unknown_value')
  })
})

describe('The rule for a list', () => {
  const rule = listOf(text({ min: 1, max: 2 }), 3)

  it('accepts at most the given number of elements, each of which follows its rule', () => {
    for (const value of [[], ['a'], ['a', 'bb', 'a']]) expect(codeOf(rule, value)).to.equal(undefined)
    expect(codeOf(rule, ['a', 'a', 'a', 'a'])).to.equal('too_many')
    expect(rule(['a', 'ccc', 1])).to.deep.equal({
      code: 'too_long',
      detail: 'each element must have at most 2 characters',
    })
  })

  it('reads no element of a list that is too long', () => {
    const unread = listOf(() => expect.fail('an element is read'), 2)
    expect(codeOf(unread, new Array(1_000).fill('a'))).to.equal('too_many')
  })

  it('refuses everything that is not a list', () => {
    for (const value of [undefined, null, 'ab', 0, {}, { length: 0 }, new Set(['a'])])
      expect(codeOf(rule, value)).to.equal('not_a_list')
  })
})

describe('Combined rules', () => {
  it('accept null for a nullable value, and nothing else', () => {
    expect(codeOf(nullable(boolean), null)).to.equal(undefined)
    expect(codeOf(nullable(boolean), undefined)).to.equal('not_boolean')
    expect(codeOf(nullable(boolean), 'x')).to.equal('not_boolean')
  })

  it('accept undefined for an optional value, and nothing else', () => {
    expect(codeOf(optional(boolean), undefined)).to.equal(undefined)
    expect(codeOf(optional(boolean), null)).to.equal('not_boolean')
  })

  it('report the first violation', () => {
    expect(codeOf(all(text({ min: 1, max: 2 }), notBlank), '   ')).to.equal('too_long')
    expect(codeOf(all(text({ min: 1, max: 3 }), notBlank), '   ')).to.equal('blank')
  })

  it('report one violation for each member, in the order of the rules', () => {
    const rules = { name: text({ min: 1, max: 3 }), done: boolean, count: wholeNumber(0, 9) }
    expect(violations(() => enforce(rules, { count: 10, done: 'yes', name: 'a' }))).to.deep.equal([
      'done: not_boolean',
      'count: out_of_range',
    ])
    expect(violations(() => enforce(rules, { count: 1, done: true, name: 'a' }))).to.deep.equal([])
  })

  it('never repeat the value in a message', () => {
    const rules: readonly Rule[] = [text({ min: 90, max: 99 }), text({ min: 0, max: 3 }), boolean, wholeNumber(0, 9)]
    for (const rule of rules) {
      for (const value of ['qx7z', '\0qx7z', 'qx7z\ud800'])
        expect(rule(value)?.detail).to.be.a('string').not.include('qx7z')
    }
    const refused = new InvalidInput([{ member: 'name', code: 'too_long', detail: 'must be shorter' }])
    expect(refused.message).to.equal('One or more values break a rule.')
  })
})
