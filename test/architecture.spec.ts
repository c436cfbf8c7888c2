import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { expect } from 'chai'

const ROOT = resolve(import.meta.dirname, '..')

/** Imports that each file may and may not have. The files need not exist, because the rule compares text. */
const rules: Readonly<Record<string, { readonly allowed: readonly string[]; readonly forbidden: readonly string[] }>> =
  {
    'src/domain/x.ts': {
      allowed: ['./errors.ts'],
      forbidden: [
        ...['./tasks/task.ts', './accounts/user.ts', '../config.ts', './../config.ts', '#src/config.ts'],
        ...['../adapters/http/app.ts', 'node:fs', 'fs', 'valibot', 'koa', '@mikro-orm/core', '@mikro-orm/core/deep'],
        'tsyringe',
      ],
    },
    'src/domain/tasks/x.ts': {
      allowed: ['./task.ts', '../rules.ts'],
      forbidden: [
        ...['../accounts/user.ts', '../../config.ts', '../../adapters/http/app.ts', '../../composition-root.ts'],
        ...['node:crypto', 'valibot'],
      ],
    },
    'src/domain/accounts/x.ts': {
      allowed: ['./user.ts', '../tasks/ports.ts', '../rules.ts'],
      forbidden: ['../../config.ts', '../../adapters/http/app.ts', '../../composition-root.ts', 'node:crypto', 'koa'],
    },
    'src/adapters/http/x.ts': {
      allowed: [
        ...['./middleware.ts', './routes/tasks.ts', './docs/openapi.ts', './endpoint/problems.ts', '../../config.ts'],
        ...['../../domain/errors.ts', '../../domain/tasks/manage-tasks.ts', '../../log.ts', '../../operator-error.ts'],
        ...['node:crypto', 'koa', '@koa/cors', '@koa/router', 'pino'],
      ],
      forbidden: [
        ...['../mikro-orm/options.ts', '../in-memory/in-memory-task-repository.ts', '../security/jwt-token-service.ts'],
        ...['./../cli/migrate.ts', '../cli/migrate.ts', '../../main.ts', '../../composition-root.ts'],
        ...['#src/adapters/mikro-orm/options.ts', '@mikro-orm/core', 'kysely', 'pg', 'better-sqlite3'],
        ...['bcrypt', 'jsonwebtoken', 'tsyringe', 'koa-bodyparser', 'valibot'],
      ],
    },
    'src/adapters/http/endpoint/x.ts': {
      allowed: [
        ...['./problems.ts', '../../../domain/rules.ts', '../../../domain/accounts/user.ts', 'node:http'],
        ...['koa', 'koa-bodyparser', '@koa/router', 'valibot'],
      ],
      forbidden: [
        ...['../routes/tasks.ts', '../docs/openapi.ts', '../app.ts', '../middleware.ts', '../../../config.ts'],
        ...['../../security/jwt-token-service.ts', 'pino', 'redoc', '@valibot/to-json-schema', 'kysely', 'tsyringe'],
      ],
    },
    'src/adapters/http/routes/x.ts': {
      allowed: ['./cursor.ts', '../endpoint/endpoint.ts', '../../../domain/tasks/manage-tasks.ts', 'valibot'],
      forbidden: [
        ...['../docs/openapi.ts', '../app.ts', '../../../config.ts', '../../mikro-orm/database.ts'],
        ...['koa', '@koa/router', 'kysely', 'tsyringe'],
      ],
    },
    'src/adapters/http/docs/x.ts': {
      allowed: [
        ...['./openapi.ts', '../endpoint/endpoint.ts', 'node:fs', 'koa', '@koa/router'],
        ...['redoc', 'swagger-ui-dist', '@valibot/to-json-schema'],
      ],
      forbidden: ['../routes/tasks.ts', '../app.ts', '../../../config.ts', 'tsyringe'],
    },
    'src/adapters/mikro-orm/x.ts': {
      allowed: [
        ...['./records.ts', './migrations/first.ts', './sqlite/sqlite-store.ts', './postgresql/postgresql-store.ts'],
        ...['./repositories/mikro-orm-task-repository.ts', '../../domain/tasks/ports.ts', '../../database-target.ts'],
        ...['../../log.ts', '../../once-per-turn.ts', '../../operator-error.ts', 'node:path'],
        ...['@mikro-orm/core', '@mikro-orm/sqlite', 'kysely', 'better-sqlite3', 'pg'],
      ],
      forbidden: [
        ...['../in-memory/in-memory-task-repository.ts', '../http/problems.ts', '../../main.ts'],
        ...['koa', '@koa/cors', 'valibot', 'bcrypt', 'jsonwebtoken', 'tsyringe'],
      ],
    },
    'src/adapters/mikro-orm/repositories/x.ts': {
      allowed: ['../store.ts', '../records.ts', '../../../domain/tasks/ports.ts', 'kysely', 'lru-cache'],
      forbidden: [
        ...['../sqlite/sqlite-store.ts', '../postgresql/postgresql-store.ts', '../../../config.ts', 'node:fs'],
        ...['better-sqlite3', 'pg', '@mikro-orm/core', 'tsyringe'],
      ],
    },
    'src/adapters/mikro-orm/sqlite/x.ts': {
      allowed: [
        '../store.ts',
        '../group-commit.ts',
        '../../../domain/errors.ts',
        '../../../log.ts',
        'node:fs',
        'better-sqlite3',
        'kysely',
        'lru-cache',
      ],
      forbidden: ['../postgresql/postgresql-store.ts', '../repositories/x.ts', 'pg', '@mikro-orm/postgresql', 'koa'],
    },
    'src/adapters/mikro-orm/postgresql/x.ts': {
      allowed: [
        '../store.ts',
        '../group-commit.ts',
        '../../../domain/errors.ts',
        '../../../once-per-turn.ts',
        'pg',
        '@mikro-orm/postgresql',
        'kysely',
        'lru-cache',
      ],
      forbidden: ['../sqlite/sqlite-store.ts', '../repositories/x.ts', 'better-sqlite3', '@mikro-orm/sqlite', 'koa'],
    },
    'src/adapters/mikro-orm/migrations/x.ts': {
      allowed: ['../options.ts', '../../../domain/tasks/task-filter.ts', '../../../idna.ts', '@mikro-orm/migrations'],
      forbidden: ['../../http/problems.ts', '../../../config.ts', 'koa', 'bcrypt', 'tsyringe'],
    },
    'src/adapters/in-memory/x.ts': {
      allowed: ['./in-memory-user-repository.ts', '../../domain/tasks/ports.ts', '../../domain/errors.ts'],
      forbidden: [
        ...['../mikro-orm/records.ts', '../../config.ts', 'koa', '@mikro-orm/core', 'kysely', 'bcrypt', 'tsyringe'],
      ],
    },
    'src/adapters/security/x.ts': {
      allowed: [
        ...['./jwt-token-service.ts', '../../domain/accounts/ports.ts', 'node:crypto', 'bcrypt', 'jsonwebtoken'],
        ...['p-queue', 'lru-cache', '@zxcvbn-ts/language-common'],
      ],
      forbidden: ['../http/problems.ts', '../../config.ts', 'koa', '@mikro-orm/core', 'pg', 'valibot', 'tsyringe'],
    },
    'src/adapters/audit/x.ts': {
      allowed: ['./log-audit.ts', '../../domain/accounts/ports.ts', '../../log.ts'],
      forbidden: ['../http/access-log.ts', '../security/jwt-token-service.ts', '../../config.ts', 'pino', 'tsyringe'],
    },
    'src/adapters/change-signal/x.ts': {
      allowed: ['./polling-change-signal.ts', '../../domain/tasks/ports.ts', 'node:events'],
      forbidden: ['../http/app.ts', '../mikro-orm/database.ts', '../../config.ts', 'koa', 'pg', 'tsyringe'],
    },
    'src/adapters/rate-limits/x.ts': {
      allowed: ['./rate-limits.ts', '../../domain/accounts/ports.ts', 'node:crypto', 'rate-limiter-flexible'],
      forbidden: ['../http/limits.ts', '../mikro-orm/database.ts', '../../config.ts', 'koa', 'pg', 'tsyringe'],
    },
    'src/adapters/metrics/x.ts': {
      allowed: ['./prometheus.ts', '../../operator-error.ts', 'node:http', 'prom-client'],
      forbidden: ['../http/observe.ts', '../mikro-orm/database.ts', '../../config.ts', 'koa', 'pino', 'tsyringe'],
    },
    'src/adapters/cli/x.ts': {
      allowed: [
        '../mikro-orm/options.ts',
        '../../database-target.ts',
        '../../domain/accounts/ports.ts',
        '../../log.ts',
        'node:process',
      ],
      forbidden: ['../security/jwt-token-service.ts', '../../main.ts', 'koa', '@mikro-orm/core', 'kysely', 'tsyringe'],
    },
    'src/env-file.ts': {
      allowed: ['node:buffer'],
      forbidden: ['./config.ts', './log.ts', 'valibot', 'dotenv'],
    },
    'src/config.ts': {
      allowed: ['./database-target.ts', './env-file.ts', './operator-error.ts', 'node:crypto', 'valibot'],
      forbidden: ['./composition-root.ts', './adapters/http/app.ts', 'koa', 'pg', 'tsyringe'],
    },
    'src/database-target.ts': {
      allowed: ['node:url', 'pg'],
      forbidden: ['./config.ts', './adapters/mikro-orm/options.ts', 'koa', 'valibot', 'tsyringe'],
    },
    'src/composition-root.ts': {
      allowed: [
        ...['tsyringe', 'reflect-metadata', './adapters/http/app.ts', './domain/tasks/ports.ts', './log.ts'],
        './idna.ts',
      ],
      forbidden: ['koa', 'bcrypt', 'jsonwebtoken', '@mikro-orm/core', 'kysely', 'pg', 'pino', './service.ts'],
    },
    'src/main.ts': {
      allowed: ['./service.ts', 'node:module'],
      forbidden: ['koa', 'tsyringe', '@mikro-orm/core'],
    },
    'src/service.ts': {
      allowed: ['./composition-root.ts', './config.ts', './log.ts', './adapters/http/app.ts', 'node:process'],
      forbidden: ['pino', 'koa', 'tsyringe', '@mikro-orm/core', 'kysely', 'bcrypt', 'jsonwebtoken'],
    },
    'src/operator-error.ts': {
      allowed: ['node:util'],
      forbidden: ['./config.ts', './log.ts', 'pino'],
    },
    'src/idna.ts': {
      allowed: ['node:url'],
      forbidden: ['./config.ts', './log.ts', './adapters/mikro-orm/options.ts'],
    },
    'src/line-writer.ts': {
      allowed: ['node:fs'],
      forbidden: ['./config.ts', './log.ts', 'pino'],
    },
    'src/once-per-turn.ts': {
      allowed: ['node:timers'],
      forbidden: ['./log.ts', './adapters/mikro-orm/group-commit.ts', 'pino'],
    },
    'src/log.ts': {
      allowed: ['./config.ts', './line-writer.ts', './once-per-turn.ts', 'node:util', 'pino', 'pino-pretty'],
      forbidden: ['./composition-root.ts', './adapters/http/access-log.ts', 'koa', 'tsyringe'],
    },
    'src/workers.ts': {
      allowed: ['./config.ts', './log.ts', './adapters/http/server.ts', 'node:cluster', 'node:timers/promises'],
      forbidden: ['./composition-root.ts', './adapters/mikro-orm/database.ts', 'koa', 'pino', 'tsyringe'],
    },
    'mikro-orm.config.ts': {
      allowed: ['./src/config.ts', './src/operator-error.ts', './src/adapters/mikro-orm/options.ts', '@mikro-orm/core'],
      forbidden: ['./src/domain/errors.ts', './src/adapters/http/app.ts', 'koa', 'tsyringe'],
    },
    'test/http/x.spec.ts': {
      allowed: ['#src/adapters/http/app.ts', '#src/composition-root.ts', 'jsonwebtoken', 'pg', 'chai'],
      forbidden: ['tsyringe', 'reflect-metadata'],
    },
  }

/** Ways to load a module that the import rules cannot check. */
const invisible = [
  "export type Hidden = import('koa').Context",
  'export const computed = (name: string) => import(name)',
  'export const template = import(`koa`)',
  "export const required = require('koa')",
  "export const made = createRequire(import.meta.url)('koa')",
  'export class Decorated { @traced verb() {} }',
]

/** The part of Biome's JSON report that these specs read. */
interface Report {
  readonly diagnostics: readonly {
    readonly category: string
    readonly location: { readonly path: string; readonly start: { readonly line: number } }
  }[]
}

describe('The import rules', () => {
  let copy: string

  before(() => {
    copy = mkdtempSync(join(tmpdir(), 'architecture-'))
    for (const file of ['biome.json', 'package.json', 'test/visible-imports.grit'])
      cpSync(join(ROOT, file), join(copy, file))
  })

  after(() => rmSync(copy, { recursive: true }))

  /**
   * Lints files with these contents beside a copy of the configuration, so that the source stays untouched.
   *
   * @returns `file: line` for each line that is refused
   */
  function refused(files: Readonly<Record<string, readonly string[]>>): string[] {
    for (const [file, lines] of Object.entries(files)) {
      mkdirSync(join(copy, dirname(file)), { recursive: true })
      writeFileSync(join(copy, file), lines.join('\n'))
    }
    const biome = join(ROOT, 'node_modules/@biomejs/biome/bin/biome')
    const command = [biome, 'lint', '--vcs-enabled=false', '--max-diagnostics=none', '--reporter=json']
    const { stdout } = spawnSync(process.execPath, [...command, ...Object.keys(files)], { cwd: copy, encoding: 'utf8' })
    const { diagnostics }: Report = JSON.parse(stdout)
    return diagnostics
      .filter(({ category }) => category === 'lint/style/noRestrictedImports' || category === 'plugin')
      .map(({ location: { path, start } }) => `${path}: ${files[path]?.[start.line - 1]}`)
  }

  const imports = (name: string) => [`import '${name}'`, `import type { X } from '${name}'`, `export * from '${name}'`]

  describe('decide what each file may import:', () => {
    let found: string[]

    before(() => {
      const probes = Object.entries(rules).map(([file, { allowed, forbidden }]) => [
        file,
        [...allowed, ...forbidden].flatMap(imports),
      ])
      found = refused(Object.fromEntries(probes))
    })

    for (const [file, { forbidden }] of Object.entries(rules)) {
      it(file, () => {
        expect(found.filter((line) => line.startsWith(`${file}: `))).to.have.members(
          forbidden.flatMap(imports).map((line) => `${file}: ${line}`),
        )
      })
    }
  })

  it('refuse imports that they cannot check, and decorators', () => {
    const file = 'src/adapters/http/y.ts'
    expect(refused({ [file]: invisible })).to.have.members(invisible.map((line) => `${file}: ${line}`))
  })

  it('cover every folder: a new one may import nothing until it has a rule', () => {
    const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    const folders = files.filter((file) => file.endsWith('.ts')).map((file) => dirname(join('src', file)))
    const probed = new Set(Object.keys(rules).map(dirname))
    expect(folders.filter((folder) => !probed.has(folder))).to.deep.equal([])
    const probes = [...new Set([...folders, 'src/adapters/new'])].map((folder) => join(folder, 'z.ts'))
    const lines = imports('a-package-that-no-rule-names')
    const found = refused(Object.fromEntries(probes.map((probe) => [probe, lines])))
    expect(found).to.have.members(probes.flatMap((probe) => lines.map((line) => `${probe}: ${line}`)))
  })
})

describe('DEPENDENCIES.md', () => {
  it('names every package in package.json, and no other', () => {
    const { dependencies, optionalDependencies, devDependencies } = JSON.parse(read('package.json'))
    const clients = JSON.parse(read('test/clients/package.json'))
    const rows = read('.github/DEPENDENCIES.md').matchAll(/^\| (`.*?) \|/gm)
    const named = [...rows].flatMap(([, cell = '']) => cell.split(', ').map((name) => name.replaceAll('`', '')))
    expect(new Set(named)).to.have.property('size', named.length)
    expect(named).to.have.members(
      Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies, ...clients.devDependencies }),
    )
  })
})

for (const folder of ['.', 'test/clients']) {
  describe(`The lockfile in ${folder}`, () => {
    it('has no package with an install script, unless package.json allows or denies it by name', () => {
      const { packages } = JSON.parse(read(join(folder, 'package-lock.json'))) as {
        packages: Record<string, { hasInstallScript?: boolean }>
      }
      const names = Object.entries(packages).flatMap(([path, { hasInstallScript }]) =>
        hasInstallScript ? [path.split('node_modules/').at(-1)] : [],
      )
      const { allowScripts = {} } = JSON.parse(read(join(folder, 'package.json')))
      expect(Object.keys(allowScripts)).to.have.members([...new Set(names)])
      expect(read(join(folder, '.npmrc'))).to.match(/^ignore-scripts=true$/m)
    })
  })
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}
