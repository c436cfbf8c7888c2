import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { expect } from 'chai'
import { statusOfCode } from '#src/adapters/http/endpoint/problems.ts'
import { startService } from '#src/composition-root.ts'
import { readConfig, variablesOf } from '#src/config.ts'
import { createLog } from '#src/log.ts'

const ROOT = resolve(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const readme = read('README.md')

const VARIABLES = Object.keys(variablesOf(false).entries)
/** Random at each reading, unless it is set. */
const SECRET_KEY = 'a-secret-for-the-specs'

describe('The README', () => {
  it('lists every variable of the configuration, and its default', () => {
    const defaults = Object.fromEntries(table('Configuration').map(([name, value]) => [plain(name), plain(value)]))
    expect(Object.keys(defaults)).to.deep.equal(VARIABLES)
    for (const [name, value] of Object.entries(defaults)) {
      if (name === 'SECRET_KEY') expect(value).to.equal('')
      else expect(readConfig({ [name]: value, SECRET_KEY }), name).to.deep.equal(readConfig({ SECRET_KEY }))
    }
  })

  it('lists every code of an error, and its status', () => {
    const codes = table('Errors').map(([status, code]) => [plain(code), Number(status)])
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
    expect(table('Routes').map(([route, token]) => [plain(route), token])).to.have.deep.members([...documented, pages])
  })

  it('names no file that there is not', () => {
    const [, tree = ''] = /```text\n(src\/\n.*?)```/s.exec(readme) ?? []
    const folders: string[] = []
    const named = tree.split('\n').flatMap((line) => {
      const [, indent = '', names = ''] = /^( *)(.*?)(?: {2}|$)/.exec(line) ?? []
      folders.length = indent.length / 2
      const paths = names.split(', ').map((name) => join(...folders, name))
      folders.push(names)
      return names === '' ? [] : paths
    })
    const linked = [...readme.matchAll(/\]\(([^#:)]+)\)/g)].map(([, path = '']) => path)
    const mentioned = [...readme.matchAll(/`((?:src|test)\/[\w./-]+)`/g)].map(([, path = '']) => path)
    expect(named).to.include('src/adapters/mikro-orm/')
    for (const path of [...named, ...linked, ...mentioned]) expect(existsSync(join(ROOT, path)), path).to.equal(true)
  })

  it('names no script that there is not', () => {
    const { scripts } = JSON.parse(read('package.json'))
    const guides = readme + read('.github/CONTRIBUTING.md')
    const named = [...guides.matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name)
    expect(scripts).to.include.all.keys(named)
  })
})

describe('.env.example', () => {
  const example = parseEnv(read('.env.example'))

  it('names every variable and gives the default of each', () => {
    const { SECRET_KEY: placeholder = '', ...others } = example
    expect(Object.keys(example)).to.have.members(VARIABLES)
    expect(placeholder).to.equal('change-me-to-a-long-random-string')
    expect(readConfig({ ...others, SECRET_KEY })).to.deep.equal(readConfig({ SECRET_KEY }))
  })

  it('makes a service for development as it is, and none for production', () => {
    expect(readConfig(example).environment).to.equal('development')
    expect(() => readConfig({ ...example, ENVIRONMENT: 'production' })).to.throw('SECRET_KEY')
  })
})

/** The rows of the table below a heading, without its head. */
function table(heading: string): readonly (readonly string[])[] {
  const [, section = ''] = new RegExp(`^## ${heading}\\n(.*?)^## `, 'ms').exec(readme) ?? []
  const rows = section.split('\n').filter((line) => line.startsWith('|'))
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

const plain = (cell = '') => cell.replaceAll('`', '')
