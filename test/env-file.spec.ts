import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { expect } from 'chai'
import fc from 'fast-check'
import { EnvFileError, parseEnvFile } from '#src/env-file.ts'

const parse = (text: string | Uint8Array) => parseEnvFile(Buffer.from(text))

function refusal(text: string | Uint8Array): string {
  try {
    parse(text)
  } catch (error) {
    if (error instanceof EnvFileError) return error.message
    throw error
  }
  throw new Error(`accepted: ${JSON.stringify(String(text))}`)
}

describe('A .env file', () => {
  it('is parsed as by Node’s parseEnv, unless parseEnv drops something', () => {
    const text = [
      ...['# a comment', '  # another', '', ' \t ', 'PLAIN=x', ' SPACED = x y ', 'export EXPORTED=1', 'export=2'],
      ...['EMPTY=', 'EMPTY_QUOTED=""', `DOUBLE="a 'b' # c"`, `SINGLE='a "b" \\n'`, 'BACKTICK=`it\'s "x"`'],
      ...['ESCAPED="a\\nb\\tc"', 'MULTILINE="a', '# b', 'C=d', '"', "TRAILING='x' # comment", 'GLUED="x"#comment'],
      ...["APOSTROPHE=it's", 'COMMENTED=x # comment', 'TAB=x\t# comment', 'EMPTY_COMMENTED= # comment'],
      ...['TWICE=1', 'TWICE=2', 'with.dots-and-hyphens=1', 'URL=postgresql://u:p%40@h:5432/tasks?sslmode=require&a=b'],
    ].join('\n')
    expect(parse(text)).to.deep.equal({ ...parseEnv(text) })
    expect(parse(`${text}\n`)).to.deep.equal({ ...parseEnv(text) })
  })

  it('gives the same values with Windows line ends and after a byte order mark', () => {
    const text = 'A=x\nB="1\n2"\n# c\n\nC=y # z\n'
    for (const variant of [text.replaceAll('\n', '\r\n'), `\uFEFF${text}`])
      expect(parse(variant)).to.deep.equal({ A: 'x', B: '1\n2', C: 'y' })
  })

  it('named .env.example is parsed as by parseEnv', () => {
    const example = readFileSync(join(import.meta.dirname, '../.env.example'))
    expect(parse(example)).to.deep.equal({ ...parseEnv(example.toString()) })
  })

  it('keeps a # after a non-blank, as Compose does; after a blank it begins a comment', () => {
    const lines = { 'a#b': 'a#b', '#a': '#a', 'a#b #c': 'a#b', 'a # b#c': 'a', ' #a': '', '\t#a': '', 'a\t#b': 'a' }
    for (const [line, value] of Object.entries(lines)) expect(parse(`A=${line}`), line).to.deep.equal({ A: value })
    expect(parseEnv('A=a#b')).to.deep.equal({ A: 'a' })
  })

  it('does not continue an empty value on the next line, as Node does', () => {
    expect(parse('A=  \nB=1')).to.deep.equal({ A: '', B: '1' })
    expect(parseEnv('A=  \nB=1')).to.not.have.property('B')
  })

  const wrong: Readonly<Record<string, string>> = {
    'a name without a value': 'SECRET_KEY',
    'a colon': 'SECRET_KEY: Qx7z',
    'a name with a blank': 'SECRET KEY=Qx7z',
    'no name': '=Qx7z',
    'a sentence': 'The secret is Qx7z.',
    'a quote that is not closed': 'SECRET_KEY="Qx7z\nA=1',
    'text after a closing quote': `SECRET_KEY='Qx7z'Qx7z`,
    'a quote that a later one closes': `SECRET_KEY="Qx7z\nA="1"`,
    'an escaped quote': 'SECRET_KEY="Qx\\"7z"',
  }
  for (const [name, line] of Object.entries(wrong)) {
    it(`is refused for ${name}; the message has the line number but not its text`, () => {
      for (const [before, number] of [
        ['', 1],
        ['A=1\r\n\r\n', 3],
        ['A="\n\n"\n# b\n', 5],
      ] as const) {
        expect(refusal(before + line))
          .to.match(new RegExp(`^line ${number}: .+$`))
          .and.not.match(/Qx|SECRET|7z/)
      }
    })
  }

  it('is refused if it is not UTF-8', () => {
    const utf16 = Buffer.from('A=1\nB=2\n', 'utf16le')
    const bigEndian = Buffer.from(utf16).swap16()
    const notUtf8 = [
      ...[Buffer.from([0xff, 0xfe, ...utf16]), Buffer.from([0xfe, 0xff, ...bigEndian]), utf16, bigEndian],
      ...[Buffer.from('A=caf\xe9', 'latin1'), Buffer.from([...Buffer.from('A='), 0xed, 0xa0, 0x80]), 'A=x\0y'],
    ]
    for (const bytes of notUtf8) expect(refusal(bytes)).to.match(/^line 1: .*UTF-8/)
    expect(refusal(Buffer.from('A=1\nB=2\nC=caf\xe9\n', 'latin1'))).to.match(/^line 3: .*UTF-8/)
  })

  it('is parsed as by parseEnv, or refused (property-based)', () => {
    const piece = fc.constantFrom('A', 'b', '=', '"', "'", '`', ' ', '\t', '\n', '\\n', 'export ', 'é')
    // parseEnv misreads empty values that follow a blank or belong to an `export`.
    const text = fc
      .array(piece, { maxLength: 20 })
      .map((pieces) => pieces.join(''))
      .filter((text) => !/=[ \t]+(?:\n|$)|export [^\n]*=(?:\n|$)/.test(text))
    fc.assert(
      fc.property(text, (text) => {
        try {
          expect(parse(text)).to.deep.equal({ ...parseEnv(text) })
        } catch (error) {
          if (!(error instanceof EnvFileError)) throw error
          expect(error.message).to.match(/^line \d+: [^\n]+$/)
        }
      }),
      { numRuns: 2_000 },
    )
  })

  it('returns every quoted value as written (property-based)', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((value) => !/['\r\0]/.test(value) && value.isWellFormed())
    fc.assert(
      fc.property(text, (value) => {
        expect(parse(`A='${value}'`)).to.deep.equal({ A: value })
      }),
    )
  })
})
