import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

/** Each of Mocha's processes would otherwise strip the types of every file and compile it. Coverage must compile everything. */
if (!process.env.NODE_V8_COVERAGE) enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/node'))
