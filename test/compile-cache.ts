import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

/** Each of Mocha's processes would otherwise strip the types of every file and compile it. */
enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/node'))
