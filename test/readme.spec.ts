import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { expect } from 'chai'
import { statusOfCode } from '#src/adapters/http/endpoint/problems.ts'
import { startService } from '#src/composition-root.ts'
import { readConfig, variablesSchema } from '#src/config.ts'
import { SCOPES } from '#src/domain/accounts/caller.ts'
import { createLog } from '#src/log.ts'

const ROOT = resolve(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const readme = read('README.md')
const api = read('.github/API.md')
const operating = read('.github/OPERATING.md')

/** Sorted, as the names that are compared with these, so that a failure shows only the difference. */
const VARIABLES = Object.keys(variablesSchema(false).entries).sort()
/** Set because the default is random on each read. */
const SECRET_KEY = 'a-secret-for-the-specs'

describe('OPERATING.md', () => {
  it('lists every configuration variable once, with its default', () => {
    const rows = table(operating, 'Configuration').map(([name, value]) => [plain(name), plain(value)])
    const defaults: Record<string, string> = Object.fromEntries(rows)
    expect(rows.map(([name]) => name).sort()).to.deep.equal(VARIABLES)
    for (const [name, value] of Object.entries(defaults)) {
      if (name === 'SECRET_KEY') expect(value).to.equal('')
      else expect(readConfig({ [name]: value, SECRET_KEY }), name).to.deep.equal(readConfig({ SECRET_KEY }))
    }
  })
})

describe('OPERATING.md’s audit log', () => {
  it('lists every event once', () => {
    const [, union = ''] = /^export type AuditEventName =\n(.*?)\n\n/ms.exec(read('src/domain/accounts/ports.ts')) ?? []
    const events = [...union.matchAll(/'(\w+)'/g)].map(([, event]) => event)
    const rows = table(operating, 'Users and admins').filter(([names = '']) => /^`\w+`(?:, `\w+`)*$/.test(names))
    expect(rows.flatMap(([names = '']) => plain(names).split(', '))).to.have.members(events)
  })
})

describe('API.md', () => {
  it('lists every scope of API tokens', () => {
    expect(table(api, 'Accounts').map(([scope]) => plain(scope))).to.deep.equal(SCOPES)
  })

  it('lists every error code with its status', () => {
    const codes = table(api, 'Errors').map(([status, code]) => [plain(code), Number(status)])
    expect(Object.fromEntries(codes)).to.deep.equal(statusOfCode)
    expect(codes).to.have.lengthOf(Object.keys(statusOfCode).length)
  })

  it('lists every documented route', async () => {
    const config = readConfig({ ENVIRONMENT: 'test', DATABASE_URL: 'memory:', PORT: '0', LOG_LEVEL: 'silent' })
    const service = await startService(config, createLog(config))
    const { paths } = (await (await fetch(`${service.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { security: unknown[] }>>
    }
    await service.close()
    const documented = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { security }]) => [
        `${method.toUpperCase()} ${path}`,
        security.length > 0 ? 'yes' : '',
      ]),
    )
    const pages = ['GET /openapi.json, /docs, /redoc', '']
    const listed = table(api, 'Routes').map(([route, token]) => [plain(route), token])
    expect(listed.sort()).to.deep.equal([...documented, pages].sort())
  })
})

describe('The README', () => {
  it('has at most 150 lines', () => {
    expect(readme.trimEnd().split('\n').length).to.be.at.most(150)
  })

  it('names only files that exist', () => {
    const [, tree = ''] = /```text\n(src\/\n.*?)```/s.exec(readme) ?? []
    const folders: string[] = []
    const named = tree.split('\n').flatMap((line) => {
      const [, indent = '', names = ''] = /^( *)(.*?)(?: {2}|$)/.exec(line) ?? []
      folders.length = indent.length / 2
      const paths = names.split(', ').map((name) => join(...folders, name))
      folders.push(names)
      return names === '' ? [] : paths
    })
    expect(named).to.include('src/adapters/mikro-orm/')
    for (const path of named) expect(existsSync(join(ROOT, path)), path).to.equal(true)
  })
})

describe('The pages', () => {
  const pages = ['README.md', ...readdirSync(join(ROOT, '.github')).map((file) => `.github/${file}`)]
    .filter((file) => file.endsWith('.md'))
    .map((file) => ({ file, text: read(file) }))

  it('link to and mention only files that exist', () => {
    for (const { file, text } of pages) {
      const linked = [...text.matchAll(/\]\(([^#:)]+)\)/g)].map(([, path = '']) => join(dirname(file), path))
      const mentioned = [...text.matchAll(/`((?:src|test)\/[\w./-]+)`/g)].map(([, path = '']) => path)
      for (const path of [...linked, ...mentioned]) {
        expect(existsSync(join(ROOT, path)), `${file}: ${path}`).to.equal(true)
      }
    }
  })

  it('name only scripts that exist', () => {
    const { scripts } = JSON.parse(read('package.json'))
    const text = pages.map((page) => page.text).join('\n')
    const named = [...text.matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name)
    expect(scripts).to.include.all.keys(named)
  })
})

describe('.env.example', () => {
  const example = parseEnv(read('.env.example'))

  it('names every variable and gives the default of each', () => {
    const { SECRET_KEY: placeholder = '', ...others } = example
    expect(Object.keys(example).sort()).to.deep.equal(VARIABLES)
    expect(placeholder).to.equal('change-me-to-a-long-random-string')
    expect(readConfig({ ...others, SECRET_KEY })).to.deep.equal(readConfig({ SECRET_KEY }))
  })

  it('configures a development service unchanged, and is refused in production', () => {
    expect(readConfig(example).http.environment).to.equal('development')
    expect(() => readConfig({ ...example, ENVIRONMENT: 'production' })).to.throw('SECRET_KEY')
  })
})

/** The rows of the tables in a section, without header rows. */
function table(page: string, heading: string): readonly (readonly string[])[] {
  const [, section = ''] = new RegExp(`^## ${heading}\\n(.*?)^## `, 'ms').exec(page) ?? []
  const tables = section.split(/\n(?!\|)/).filter((part) => part.includes('\n|'))
  const rows = tables.flatMap((part) =>
    part
      .split('\n')
      .filter((line) => line.startsWith('|'))
      .slice(2),
  )
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

const plain = (cell = '') => cell.replaceAll('`', '')
