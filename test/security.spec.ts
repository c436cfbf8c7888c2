import { existsSync, globSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect } from 'chai'

const ROOT = resolve(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')

/** Every requirement of level 1 in OWASP ASVS 5.0.0. */
const LEVEL_1 =
  `1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.3.1 1.3.2 1.5.1 2.1.1 2.2.1 2.2.2 2.3.1 3.2.1 3.2.2 3.3.1 3.4.1 3.4.2 3.5.1 3.5.2
  3.5.3 4.1.1 4.4.1 5.2.1 5.2.2 5.3.1 5.3.2 6.1.1 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.6 6.2.7 6.2.8 6.3.1 6.3.2 6.4.1 6.4.2 7.2.1
  7.2.2 7.2.3 7.2.4 7.4.1 7.4.2 8.1.1 8.2.1 8.2.2 8.3.1 9.1.1 9.1.2 9.1.3 9.2.1 10.4.1 10.4.2 10.4.3 10.4.4 10.4.5 11.3.1 11.3.2
  11.4.1 12.1.1 12.2.1 12.2.2 13.4.1 14.2.1 14.3.1 15.1.1 15.2.1 15.3.1`.split(/\s+/)

describe('The ASVS table of SECURITY.md', () => {
  const rows = read('.github/SECURITY.md')
    .split('\n')
    .filter((line) => /^\| \d/.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )

  it('has every requirement of level 1 once, in order', () => {
    expect(rows.map(([id]) => id)).to.deep.equal(LEVEL_1)
  })

  it('names files that exist, and specs by their titles', () => {
    for (const [id, , where = '', specs = ''] of rows) {
      const files = [...`${where} ${specs}`.matchAll(/`([\w.][\w.-]*\/[\w./-]+)`/g)].map(([, file = '']) => file)
      for (const file of files) expect(existsSync(join(ROOT, file)), `${id}: ${file}`).to.equal(true)
      for (const [, file = '', titles = ''] of specs.matchAll(/`([^`]+)`: ((?:“[^”]+”(?:, )?)+)/g)) {
        for (const [, title] of titles.matchAll(/“([^”]+)”/g)) expect(titlesIn(file), id).to.include(title)
      }
    }
  })

  it('gives the reason for every requirement without a spec', () => {
    for (const [id, , where, specs] of rows) {
      if (specs === '') expect(where, id).to.match(/^(?:Not applicable|Operator|Page|Gap): /)
    }
  })
})

describe('The source', () => {
  const source = globSync('src/**/*.{ts,cjs}', { cwd: ROOT }).map((file) => ({ file, text: read(file) }))

  it('starts no command and evaluates no text as code', () => {
    for (const { file, text } of source) {
      expect(text, file).to.not.match(/child_process|node:vm|\beval\(|new Function\b/)
    }
  })

  it('uses no hash function but SHA-2', () => {
    const algorithms = source.flatMap(({ text }) =>
      [...text.matchAll(/\b(?:createHash|createHmac|hash|pbkdf2Sync|hkdfSync)\('(\w+)'/g)].map(([, name]) => name),
    )
    expect(algorithms).to.include('sha256')
    for (const name of algorithms) expect(name).to.match(/^sha(?:256|384|512)$/)
  })

  it('has no source control metadata in the image', () => {
    const [first, ...exceptions] = read('.dockerignore').trim().split('\n')
    expect(first).to.equal('*')
    expect(exceptions).to.have.members(['!package.json', '!package-lock.json', '!.npmrc', '!LICENSE', '!src'])
  })
})

/** The titles of the tests in a file, with `…` for values. */
function titlesIn(file: string): readonly string[] {
  return [...read(file).matchAll(/\bit\(\s*(['"`])(.+?)\1, /g)].map(([, , title = '']) =>
    title.replaceAll(/\$\{[^}]*\}/g, '…'),
  )
}
