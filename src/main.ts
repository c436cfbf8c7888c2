import { enableCompileCache } from 'node:module'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'

// V8 watches which objects live long while the service warms up, and may take some that every request makes for such. Those
// would be put among the old objects from then on, where they keep the rest of their request alive: so the guess looks
// right for ever, and a fifth of the time goes into garbage. Said before the cache is chosen, whose name depends on it.
setFlagsFromString('--no-allocation-site-pretenuring')

// A quarter of a start is spent on compiling. What comes of it is kept beside the code that it comes from, which nobody can
// write to who can't change that as well. Where the service can't either, as in the image, each start compiles anew.
enableCompileCache({ directory: join(import.meta.dirname, '../node_modules/.cache/node') })

await import('./service.ts')
