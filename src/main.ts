import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// A quarter of a start is spent on compiling. What comes of it is kept beside the code that it comes from, which nobody can
// write to who can't change that as well. Where the service can't either, as in the image, each start compiles anew.
enableCompileCache({ directory: join(import.meta.dirname, '../node_modules/.cache/node') })

await import('./service.ts')
