import { expect } from 'chai'
import fc from 'fast-check'
import { normalizeEmail, User } from '#src/domain/accounts/user.ts'
import { noIdna } from '#test/builders.ts'
import { readsOf } from '#test/text-readers.ts'
import { anyText } from './texts.ts'
import { violations } from './violations.ts'

const register = (email: unknown) => User.create(email as string, 'hash', new Date(0), noIdna)
const isAccepted = (email: unknown) => violations(() => register(email)).length === 0

const ATEXT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~"
/** Some have no composed capital, several small forms, or more than one UTF-16 unit. */
const LETTERS = 'J\u030cH\u0331T\u0308abcxyzABCXYZ0189éßñжФאあ漢한𝒳𐐀ΣİK'

const oneOf = (characters: string) => fc.constantFrom(...Array.from(characters))
const run = (characters: string, maxLength: number) => fc.string({ unit: oneOf(characters), minLength: 1, maxLength })
const dotted = (part: fc.Arbitrary<string>, minLength: number) =>
  fc.array(part, { minLength, maxLength: 4 }).map((parts) => parts.join('.'))

const localPart = dotted(run(ATEXT + LETTERS, 8), 1)
const label = fc.array(run(LETTERS, 5), { minLength: 1, maxLength: 3 }).map((parts) => parts.join('-'))
const domain = dotted(label, 2)
const address = fc.tuple(localPart, domain).map(([local, host]) => `${local}@${host}`)
const blanks = fc.string({ unit: oneOf(' \t\r\n\u00a0\u3000\ufeff'), maxLength: 3 })

describe('An e-mail address', () => {
  const accepted = {
    plain: 'jane@example.com',
    'with an apostrophe and a plus': "o'neil+tag@example.com",
    'with every character of RFC 5322 atext': "!#$%&'*+-/=?^_`{|}~@example.com",
    'with dots in the local part': 'a.b.c.d@example.com',
    'of one letter everywhere': 'a@b.c',
    'with digits alone': '1@2.3',
    'with hyphens inside labels': 'a@b-c.d--e.f',
    'with an ASCII-compatible label': 'a@xn--bcher-kva.example',
    'with a hyphen at both ends of the local part': '-a-@example.com',
    'with many labels': 'a@a.b.c.d.e.f.g.h',
    'with letters of another script': 'иван@пример.рф',
    'with marks that have no composed form': 'q\u0307@x\u0323.example',
    'with astral letters': '𝒳@𐐨.example',
    'with an emoji in the local part': '🙂@example.com',
  }
  for (const [form, email] of Object.entries(accepted)) {
    it(`is accepted ${form}`, () => expect(violations(() => register(email))).to.deep.equal([]))
  }

  const refused = {
    'without @': 'jane.example.com',
    'with two @': 'jane@home@example.com',
    'without local part': '@example.com',
    'without domain': 'jane@',
    'with one label only': 'jane@localhost',
    'with an empty label': 'jane@example..com',
    'with a leading dot in the domain': 'jane@.example.com',
    'with a trailing dot in the domain': 'jane@example.com.',
    'with a leading dot in the local part': '.jane@example.com',
    'with a trailing dot in the local part': 'jane.@example.com',
    'with two dots in the local part': 'ja..ne@example.com',
    'with a label that begins with a hyphen': 'jane@-example.com',
    'with a label that ends with a hyphen': 'jane@example-.com',
    'with a last label that begins with a hyphen': 'jane@example.-com',
    'with a last label that ends with a hyphen': 'jane@example.com-',
    'with a label that is a hyphen': 'jane@-.com',
    'with an underscore in the domain': 'jane@exa_mple.com',
    'with a blank inside': 'ja ne@example.com',
    'with a blank in the domain': 'jane@exam ple.com',
    'with a no-break space inside': 'ja\u00a0ne@example.com',
    'with a line break inside': 'jane@example.com\r\nbcc:x@example.com',
    'with a line break and another line that is an address': 'x\njane@example.com',
    'with a control character': 'ja\u0007ne@example.com',
    'with an invisible format character': 'ja\u200bne@example.com',
    'with a right-to-left override': 'jane\u202e@example.com',
    'with a quoted local part': '"jane doe"@example.com',
    'with a comment': 'jane(work)@example.com',
    'with a display name': 'Jane <jane@example.com>',
    'with an address literal': 'jane@[127.0.0.1]',
    'with a comma': 'jane,doe@example.com',
    'with a backslash': 'jane\\@example.com',
    'with an emoji in the domain': 'jane@🙂.example',
    'that is shorter than any address': '@.',
  }
  for (const [form, email] of Object.entries(refused)) {
    it(`is refused ${form}`, () => expect(isAccepted(email)).to.equal(false))
  }

  it('is refused with the code of the rule it breaks', () => {
    expect(violations(() => register('jane@localhost'))).to.deep.equal(['email: not_an_email'])
    expect(violations(() => register(''))).to.deep.equal(['email: too_short'])
    expect(violations(() => register('   '))).to.deep.equal(['email: too_short'])
    expect(violations(() => register('jane\0@example.com'))).to.deep.equal(['email: malformed_text'])
    expect(violations(() => register('jane\ud800@example.com'))).to.deep.equal(['email: malformed_text'])
    for (const value of [undefined, null, 1, {}, ['jane@example.com']])
      expect(violations(() => register(value))).to.deep.equal(['email: not_text'])
  })

  it('is accepted if it is a dot-atom, @ and two or more dotted labels (property-based)', () => {
    fc.assert(fc.property(address, (email) => isAccepted(email)))
  })

  it('is refused with any character that ends an atom (property-based)', () => {
    const separators = oneOf('()<>[]:;,\\" \t\u0000\u007f\u0085\u00a0\u2028\u200d\ud800')
    fc.assert(
      fc.property(localPart, separators, localPart, domain, (before, separator, after, host) => {
        expect(isAccepted(`${before}${separator}${after}@${host}`)).to.equal(false)
      }),
    )
  })

  it('is refused if a label begins or ends with a hyphen (property-based)', () => {
    fc.assert(
      fc.property(
        localPart,
        fc.array(label, { minLength: 2, maxLength: 4 }),
        fc.nat(),
        fc.boolean(),
        (local, labels, at, front) => {
          const index = at % labels.length
          const bad = labels.with(index, front ? `-${labels[index]}` : `${labels[index]}-`)
          expect(isAccepted(`${local}@${bad.join('.')}`)).to.equal(false)
        },
      ),
    )
  })

  const long = (length: number, letter = 'a') => `${letter.repeat(length - 12)}@example.com`

  it('has at most 320 characters', () => {
    expect(isAccepted(long(320))).to.equal(true)
    expect(violations(() => register(long(321)))).to.deep.equal(['email: too_long'])
  })

  it('is measured in code points, after normalisation', () => {
    expect(isAccepted(long(320, '𐐀'))).to.equal(true)
    expect(violations(() => register(long(321, '𐐀')))).to.deep.equal(['email: too_long'])
    expect(isAccepted(`  ${long(320, 'e\u0301')}\n`)).to.equal(true)
    expect(violations(() => register(long(321, 'e\u0301')))).to.deep.equal(['email: too_long'])
  })

  it('is accepted at full length in decomposed form, between some blanks', () => {
    for (const letter of ['\u1f82', '\u{16126}', '\u4e3d']) {
      const raw = long(320, letter).normalize('NFD')
      expect(isAccepted(`${' '.repeat(60)}${raw}${' '.repeat(60)}`)).to.equal(true)
    }
    expect(isAccepted(long(320, '\u{2f800}'))).to.equal(true)
  })

  it('is neither normalised nor matched if it is longer than any accepted address', async () => {
    const attacks = ['\u0301\u0323', ' ', 'a', 'a@'].map(
      (part) => (length: number) => part.repeat(length / part.length),
    )
    for (const attack of attacks) {
      const refused = () => expect(violations(() => register(attack(8_000)))).to.deep.equal(['email: too_long'])
      const { normalize, regularExpression } = await readsOf(refused)
      expect({ normalize, regularExpression }).to.deep.equal({ normalize: 0, regularExpression: 0 })
    }
  })

  it('is checked in linear time, even if it is made to cause backtracking', () => {
    for (const email of ['a'.repeat(319), `${'a.'.repeat(158)}@`, `a@${'a-'.repeat(158)}`, `a@${'a.'.repeat(158)}`]) {
      expect(isAccepted(email)).to.equal(false)
    }
    expect(isAccepted('a'.repeat(1_000_000))).to.equal(false)
  })
})

describe('A normalised e-mail address', () => {
  it('comes from at most 6 UTF-16 code units for each character, as the limit of raw texts assumes', () => {
    let maxUnits = 0
    for (let point = 0; point <= 0x10ffff; point++) {
      const character = String.fromCodePoint(point)
      if (character.normalize('NFC') === character) maxUnits = Math.max(maxUnits, character.normalize('NFD').length)
    }
    expect(maxUnits).to.equal(6)
  })

  it('is trimmed and NFC, with its domain in lower case and its local part unchanged', () => {
    expect(normalizeEmail(' \tJane.DOE@Example.COM\r\n')).to.equal('Jane.DOE@example.com')
    expect(normalizeEmail('Jose\u0301@CAFE\u0301.example')).to.equal('Jos\u00e9@caf\u00e9.example')
    expect(normalizeEmail('ИВАН@ПРИМЕР.РФ')).to.equal('ИВАН@пример.рф')
    expect(normalizeEmail('a@\u212aELVIN.example')).to.equal('a@kelvin.example')
    // Unicode has a composed small j with caron, but no capital.
    expect(normalizeEmail('a@J\u030c.example')).to.equal('a@\u01f0.example')
  })

  it('is the address of a new user', () => {
    expect(register(' Jane@EXAMPLE.com ').email).to.equal('Jane@example.com')
  })

  it('does not change when normalised again (property-based)', () => {
    const halves = fc.tuple(anyText(), anyText()).map((parts) => parts.join('@'))
    fc.assert(
      fc.property(fc.oneof(address, anyText(), halves), (email) => {
        const once = normalizeEmail(email)
        expect(normalizeEmail(once)).to.equal(once)
      }),
    )
  })

  it('does not depend on blanks, composition and the case of the domain (property-based)', () => {
    fc.assert(
      fc.property(localPart, domain, blanks, blanks, (local, host, before, after) => {
        const normal = normalizeEmail(`${local}@${host}`)
        const lower = host.toLowerCase()
        expect(normalizeEmail(`${before}${local}@${lower}${after}`)).to.equal(normal)
        expect(normalizeEmail(`${local}@${host}`.normalize('NFD'))).to.equal(normal)
      }),
    )
  })

  it('is accepted if and only if the address as written is (property-based)', () => {
    fc.assert(
      fc.property(fc.oneof(address, fc.string({ unit: oneOf('aA1.@- é_'), maxLength: 12 })), (email) => {
        expect(isAccepted(normalizeEmail(email))).to.equal(isAccepted(email))
      }),
    )
  })

  it('differs for local parts that differ only in case', () => {
    expect(normalizeEmail('Jane@example.com')).to.not.equal(normalizeEmail('jane@example.com'))
  })
})
